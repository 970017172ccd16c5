//! What is stored of some kinds, kept in memory in the shape a decision needs, so that deciding never reads
//! the store.
//!
//! Entry points: [`Followed::load`] before the server answers, then [`Followed::keep`] as long as it lives.
//! A watch brings changes in the order of their revisions; a watch that ends begins anew with a list.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{SelectAll, select_all};
use parking_lot::{RwLock, RwLockReadGuard};

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
}

/// An index and the keys it follows.
pub(crate) struct Followed<I> {
    prefixes: Vec<String>,
    index: RwLock<I>,
}

impl<I: Index> Followed<I> {
    /// Follows all objects of some kinds, each named by group and plural; empty until [`Self::load`].
    pub(crate) fn new(kinds: &[(&str, &str)]) -> Self {
        let prefix = |(group, plural): &(&str, &str)| api::names::storage_prefix(group, plural, None);
        Self { prefixes: kinds.iter().map(prefix).collect(), index: RwLock::default() }
    }

    /// The index as it is now. Not to be held over an `await`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, I> {
        self.index.read()
    }

    /// Makes the index of what is stored; answers with what will happen after that.
    ///
    /// # Errors
    /// When the store cannot be read; the index is then as it was.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<SelectAll<EventStream>, StoreError> {
        let mut index = I::default();
        let mut streams = Vec::new();
        for prefix in &self.prefixes {
            let page = store.list(prefix, None, 0, None).await?;
            page.entries.iter().for_each(|entry| index.put(entry));
            streams.push(store.watch(prefix, page.revision).await?);
        }
        *self.index.write() = index;
        Ok(select_all(streams))
    }

    /// Takes in what happens, for ever. `of` finds this index in the server.
    pub(crate) async fn keep(
        server: Arc<Server>,
        of: fn(&Server) -> &Self,
        mut events: SelectAll<EventStream>,
    ) {
        let followed = of(&server);
        loop {
            while let Some(Ok(event)) = events.next().await {
                followed.take(&event);
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
