//! Events do not stay: each goes an hour after it was last said, or they would fill the disk.
//!
//! Which kinds do, and after how long, is said by their strategies ([`api::strategy::Strategy::lifetime`]). A store
//! that expires keys by itself is told with each write. Entry point: [`run`], which does it for those that do
//! not: a queue of what is due when, kept by a watch. [`due`] is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::{Kind, Status};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Deserialize;

use crate::call::{Server, store_status};

use crate::storage::{Change, Entry, Event, Expect, Operation, Revision, StoreError};

/// What is due within so many seconds goes together, at their end.
const TOGETHER_SECONDS: i64 = 60;
/// Removals in one transaction; etcd takes 128 operations.
const BATCH: usize = 100;
/// Pause before looking again after a failure.
const RETRY: Duration = Duration::from_secs(60);

/// Removes objects that are due, for ever. Built-in kinds alone have a lifetime.
pub(crate) async fn run(server: Arc<Server>) {
    let kinds = server.kinds();
    let short_lived = kinds.iter().filter(|kind| kind.is_stored() && kind.converted().is_none());
    let each = short_lived.filter_map(|kind| Some(keep(&server, kind, kind.strategy.lifetime()?)));
    futures::future::join_all(each).await;
}

async fn keep(server: &Server, kind: &Kind, lifetime: Duration) {
    loop {
        if let Err(status) = follow(server, kind, lifetime).await {
            tracing::warn!(resource = %kind.plural, message = status.message, "old objects could not be removed");
        }
        server.clock.sleep(RETRY).await;
    }
}

/// Ends when the watch does.
async fn follow(server: &Server, kind: &Kind, lifetime: Duration) -> Result<(), Status> {
    let prefix = kind.prefix(None);
    let page = server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let mut queue = Queue::of(lifetime);
    page.entries.iter().for_each(|entry| queue.put(entry));
    // What was written without a lifetime is removed once, at each start.
    remove_due(server, &mut queue).await?;
    if server.store.expires() {
        return std::future::pending().await;
    }
    let mut changes = server.store.watch(&prefix, page.revision).await.map_err(store_status)?;
    loop {
        remove_due(server, &mut queue).await?;
        let wait = queue.first().map(|due| server.clock.sleep(until(due, server.clock.now())));
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => queue.take(change.map_err(store_status)?),
                None => return Ok(()),
            },
            () = async { match wait { Some(wait) => wait.await, None => std::future::pending().await } } => {}
        }
    }
}

/// Time from now to a second since 1970; none if it is past.
fn until(second: i64, now: Timestamp) -> Duration {
    let end = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    Duration::try_from(end.duration_since(now)).unwrap_or_default()
}

/// Removes what is due now. What was said again meanwhile stays: the watch tells of it.
async fn remove_due(server: &Server, queue: &mut Queue) -> Result<(), Status> {
    let due = queue.due(server.clock.now().as_second());
    for batch in due.chunks(BATCH) {
        let remove = |(key, revision): &(Arc<str>, Revision)| Operation {
            key: key.to_string(),
            expect: Expect::Revision(*revision),
            change: Change::Delete,
        };
        let mut batch: Vec<Operation> = batch.iter().map(remove).collect();
        while !batch.is_empty() {
            match server.store.transact(batch.clone()).await {
                Ok(_) => break,
                Err(StoreError::Conflict { key, .. }) => batch.retain(|operation| operation.key != key),
                Err(error) => return Err(store_status(error)),
            }
        }
    }
    Ok(())
}

/// What is due when, in seconds since 1970.
struct Queue {
    lifetime: Duration,
    by_time: BTreeSet<(i64, Arc<str>)>,
    by_key: BTreeMap<Arc<str>, (i64, Revision)>,
}

impl Queue {
    fn of(lifetime: Duration) -> Self {
        Self { lifetime, by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// When the next one is due.
    fn first(&self) -> Option<i64> {
        self.by_time.first().map(|(due, _)| *due)
    }

    fn put(&mut self, entry: &Entry) {
        self.forget(&entry.key);
        // The server gives every object a time; what has none was put there by hand.
        let Some(due) = due(&entry.bytes, self.lifetime) else { return };
        let due = due.saturating_add(TOGETHER_SECONDS - 1) / TOGETHER_SECONDS * TOGETHER_SECONDS;
        self.by_time.insert((due, Arc::clone(&entry.key)));
        self.by_key.insert(Arc::clone(&entry.key), (due, entry.mod_revision));
    }

    fn forget(&mut self, key: &Arc<str>) {
        if let Some((due, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(due, Arc::clone(key)));
        }
    }

    fn take(&mut self, change: Event) {
        match (&change.entry, &change.previous) {
            (Some(entry), _) => self.put(entry),
            (None, Some(previous)) => self.forget(&previous.key),
            (None, None) => {}
        }
    }

    /// Takes out what is due, each with the revision that wrote it.
    fn due(&mut self, now: i64) -> Vec<(Arc<str>, Revision)> {
        let mut due = Vec::new();
        while self.first().is_some_and(|first| first <= now) {
            let Some((_, key)) = self.by_time.pop_first() else { break };
            if let Some((_, revision)) = self.by_key.remove(&key) {
                due.push((key, revision));
            }
        }
        due
    }
}

/// The times of a stored event (core form).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    metadata: Metadata,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    creation_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    last_observed_time: Option<String>,
}

/// When a stored object may go, in seconds since 1970: a lifetime after the newest time in it.
fn due(object: &[u8], lifetime: Duration) -> Option<i64> {
    let Times { metadata, last_timestamp, event_time, series } = serde_json::from_slice(object).ok()?;
    let times = [
        metadata.creation_timestamp,
        last_timestamp,
        event_time,
        series.and_then(|series| series.last_observed_time),
    ];
    let newest = times.iter().flatten().filter_map(|text| text.parse::<Timestamp>().ok()).max()?;
    Some(newest.as_second().saturating_add_unsigned(lifetime.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn entry(key: &str, revision: Revision, created: &str) -> Entry {
        let bytes = format!(r#"{{"metadata":{{"creationTimestamp":"{created}"}}}}"#).into();
        Entry { key: key.into(), bytes, create_revision: 1, mod_revision: revision, index: OnceLock::new() }
    }

    #[test]
    fn the_newest_time_counts() {
        let event = br#"{"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "lastTimestamp": "2026-01-01T02:00:00Z", "eventTime": null,
            "series": {"lastObservedTime": "2026-01-01T01:00:00.000000Z"}}"#;
        assert_eq!(
            due(event, HOUR),
            "2026-01-01T03:00:00Z".parse::<Timestamp>().ok().map(Timestamp::as_second)
        );
        assert_eq!(due(b"{}", HOUR), None);
        assert_eq!(due(br#"{"metadata": {}}"#, HOUR), None);
    }

    #[test]
    fn the_first_due_goes_first_and_what_is_said_again_stays() {
        let second = |text: &str| text.parse::<Timestamp>().expect("a time").as_second();
        let mut queue = Queue::of(HOUR);
        queue.put(&entry("/b", 2, "2026-01-01T00:10:00Z"));
        queue.put(&entry("/a", 1, "2026-01-01T00:00:01Z"));
        queue.put(&entry("/c", 3, "2026-01-01T00:00:59Z"));
        // All of a minute go together, at its end.
        assert_eq!(queue.first(), Some(second("2026-01-01T01:01:00Z")));
        assert_eq!(queue.due(second("2026-01-01T01:00:59Z")), []);
        queue.put(&entry("/c", 4, "2026-01-01T00:20:00Z"));
        assert_eq!(queue.due(second("2026-01-01T01:01:00Z")), [("/a".into(), 1)]);
        let gone = Event { revision: 5, entry: None, previous: Some(Arc::new(entry("/b", 2, ""))) };
        queue.take(gone);
        assert_eq!(queue.first(), Some(second("2026-01-01T01:20:00Z")));
        assert_eq!(queue.due(i64::MAX), [("/c".into(), 4)]);
        assert_eq!(queue.first(), None);
    }
}
