//! What is stored of some kinds, kept in memory in the shape a decision needs, so that deciding never reads
//! the store.
//!
//! Entry points: [`Followed::load`] before the server answers, then [`Followed::keep`] as long as it lives.
//! A watch brings changes in the order of their revisions; a watch that ends begins anew with a list.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SelectAll, select_all};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::call::Server;
use crate::storage::{Entry, Event, EventStream, Store, StoreError};

/// Pause before listing again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Something that is made of stored objects, one at a time.
pub(crate) trait Index: Default + Send + Sync + 'static {
    /// An object is there, new or changed; its key says of which kind. What cannot be read is logged and left out.
    fn put(&mut self, entry: &Entry);

    /// The object of a key is gone.
    fn remove(&mut self, key: &str);

    /// The same with no object yet.
    fn emptied(&self) -> Self {
        Self::default()
    }
}

/// An index and the keys it follows.
pub(crate) struct Followed<I> {
    prefixes: Vec<String>,
    index: RwLock<I>,
    /// How often somebody asked for the newest state, and how many of those have it.
    asked: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

impl<I: Index> Followed<I> {
    /// Follows all objects of some kinds, each named by group and plural; empty until [`Self::load`].
    pub(crate) fn new(kinds: &[(&str, &str)]) -> Self {
        Self::over(I::default(), kinds)
    }

    /// The same for an index that knows something beside objects.
    pub(crate) fn over(empty: I, kinds: &[(&str, &str)]) -> Self {
        let prefix = |(group, plural): &(&str, &str)| api::names::storage_prefix(group, plural, None);
        let prefixes = kinds.iter().map(prefix).collect();
        // Nobody waits for what nobody follows yet.
        let (asked, answered) = (watch::Sender::new(0), watch::Sender::new(u64::MAX));
        Self { prefixes, index: RwLock::new(empty), asked, answered }
    }

    /// The index as it is now. Not to be held over an `await`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, I> {
        self.index.read()
    }

    /// Completes when the index shows everything that is committed now: for decisions that must not be
    /// made on the state of a moment ago.
    pub(crate) async fn caught_up(&self) {
        let mut mine = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            mine = *asked;
        });
        // The sender lives as long as `self`.
        let _ended = self.answered.subscribe().wait_for(|answered| *answered >= mine).await.is_err();
    }

    /// Completes when the index shows a write to a key that is committed; at once for a key it does not follow.
    pub(crate) async fn shows(&self, key: &str) {
        if self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            self.caught_up().await;
        }
    }

    /// Makes the index of what is stored; answers with what will happen after that.
    ///
    /// # Errors
    /// When the store cannot be read; the index is then as it was.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<SelectAll<EventStream>, StoreError> {
        let mut index = self.index.read().emptied();
        let mut streams = Vec::new();
        for prefix in &self.prefixes {
            let after = match store.list(prefix, None, 0, None).await {
                Ok(page) => {
                    page.entries.iter().for_each(|entry| index.put(entry));
                    page.revision
                }
                // A lost key must not keep the server from serving everything else.
                Err(StoreError::Sealed(why)) => {
                    tracing::error!(why, prefix, "is left out of decisions until it can be decrypted");
                    store.revision()
                }
                Err(error) => return Err(error),
            };
            streams.push(store.watch(prefix, after).await?);
        }
        *self.index.write() = index;
        self.answered.send_if_modified(|answered| *answered == u64::MAX && std::mem::take(answered) > 0);
        Ok(select_all(streams))
    }

    /// Takes in what happens, for ever. `of` finds this index in the server.
    pub(crate) async fn keep(
        server: Arc<Server>,
        of: fn(&Server) -> &Self,
        mut events: SelectAll<EventStream>,
    ) {
        let followed = of(&server);
        // When nobody follows any more, nobody waits for it.
        let _end = Ended(&followed.answered);
        let mut asked = followed.asked.subscribe();
        // Somebody may have asked before anybody listened.
        asked.mark_changed();
        loop {
            loop {
                tokio::select! {
                    event = events.next() => match event {
                        Some(Ok(event)) => followed.take(&event),
                        _ => break,
                    },
                    Ok(()) = asked.changed() => {
                        let number = *asked.borrow_and_update();
                        // Events are queued before their revision shows, so what is pending now is all.
                        while let Some(Some(Ok(event))) = events.next().now_or_never() {
                            followed.take(&event);
                        }
                        followed.answered.send_replace(number);
                    }
                }
            }
            events = loop {
                match followed.load(&*server.store).await {
                    Ok(events) => break events,
                    Err(StoreError::Closed) => return,
                    Err(error) => tracing::warn!(%error, prefixes = ?followed.prefixes, "cannot be followed"),
                }
                server.clock.sleep(RETRY).await;
            };
        }
    }

    fn take(&self, event: &Event) {
        let mut index = self.index.write();
        match (&event.entry, &event.previous) {
            (Some(entry), _) => index.put(entry),
            (None, Some(previous)) => index.remove(&previous.key),
            (None, None) => {}
        }
    }
}

/// Lets everybody go who waits.
struct Ended<'a>(&'a watch::Sender<u64>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::names::storage_key;
    use bytes::Bytes;

    use super::*;
    use crate::storage::memory::Memory;
    use crate::storage::{Change, Draft, Expect, Operation};

    #[derive(Default)]
    struct Revisions(BTreeMap<String, u64>);

    impl Index for Revisions {
        fn put(&mut self, entry: &Entry) {
            self.0.insert(entry.key.to_string(), entry.mod_revision);
        }

        fn remove(&mut self, key: &str) {
            self.0.remove(key);
        }
    }

    async fn write(store: &dyn Store, key: &str, expect: Expect, keep: bool) {
        let draft = Draft {
            head: Bytes::from_static(br#"{"metadata":{"resourceVersion":""#),
            tail: Bytes::from_static(br#""}}"#),
            lifetime: None,
        };
        let change = if keep { Change::Put(draft) } else { Change::Delete };
        store.transact(vec![Operation { key: key.to_owned(), expect, change }]).await.expect("written");
    }

    #[tokio::test]
    async fn what_was_there_and_what_happens_after_are_seen() {
        let store = Memory::open();
        let [one, two, other] = [("roles", "one"), ("rolebindings", "two"), ("pods", "other")]
            .map(|(plural, name)| storage_key("", plural, Some("a"), name));
        write(&*store, &one, Expect::Absent, true).await;
        let followed = Followed::<Revisions>::new(&[("", "roles"), ("", "rolebindings")]);
        let mut events = followed.load(&*store).await.expect("a list");
        assert_eq!(followed.read().0, BTreeMap::from([(one.clone(), 1)]));
        write(&*store, &two, Expect::Absent, true).await;
        write(&*store, &other, Expect::Absent, true).await;
        write(&*store, &one, Expect::Revision(1), false).await;
        for _ in 0..2 {
            followed.take(&events.next().await.expect("an event").expect("no error"));
        }
        assert_eq!(followed.read().0, BTreeMap::from([(two, 2)]));
    }
}
