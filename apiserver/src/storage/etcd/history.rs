//! Reads of a past that memory no longer has.
//!
//! Entry points: [`entry_at`], [`page_at`] and [`events_between`].

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{Event as EtcdEvent, KeyValue};

use super::connection::{Connection, failed, is_compacted};
use super::value::{Root, end_of, revision};
use crate::storage::mailbox::weight;
use crate::storage::{Entry, Event, Page, Revision, StoreError};

/// Events one watch may read back; whoever is further behind lists again, which is cheaper for both.
const MAX_REPLAY_EVENTS: usize = 10_000;
/// Bytes one watch may read back.
const MAX_REPLAY_BYTES: usize = 64 << 20;

/// Asks etcd how far back it reaches; for an answer to who asked for too much.
async fn too_old(connection: &Connection, asked: Revision) -> StoreError {
    match connection.floor().await {
        Ok(floor) => StoreError::Compacted { asked, floor },
        Err(error) => failed("read the past")(error),
    }
}

/// A key's entry at a revision.
pub(super) async fn entry_at(
    connection: &Connection,
    root: &Root,
    key: &str,
    at: Revision,
) -> Result<Option<Arc<Entry>>, StoreError> {
    if at == 0 {
        return Ok(None);
    }
    match connection.key(key, at).await {
        Ok(found) => Ok(found.and_then(|found| root.entry(&found))),
        Err(error) if is_compacted(&error) => Err(too_old(connection, at).await),
        Err(error) => Err(failed("read the past")(error)),
    }
}

/// A page of entries at a revision.
pub(super) async fn page_at(
    connection: &Connection,
    root: &Root,
    (prefix, after): (&str, Option<&str>),
    limit: usize,
    at: Revision,
) -> Result<Page, StoreError> {
    let empty = Page { entries: Vec::new(), revision: at, remaining: 0 };
    let Some(prefix) = root.narrow(prefix) else { return Ok(empty) };
    if at == 0 {
        return Ok(empty);
    }
    let start = match after {
        Some(after) if after >= prefix => [after.as_bytes(), &[0]].concat(),
        _ => prefix.as_bytes().to_vec(),
    };
    let end = end_of(prefix);
    if end != [0] && start >= end {
        return Ok(empty);
    }
    match connection.range(start, end, limit.try_into().unwrap_or(i64::MAX), at).await {
        Ok(range) => Ok(Page {
            entries: range.found.iter().filter_map(|found| root.entry(found)).collect(),
            revision: at,
            remaining: range.count.saturating_sub(range.found.len() as u64),
        }),
        Err(error) if is_compacted(&error) => Err(too_old(connection, at).await),
        Err(error) => Err(failed("read the past")(error)),
    }
}

/// What an event of etcd's means for our keys, given what stood there.
pub(super) fn event(
    root: &Root,
    found: &KeyValue,
    previous: impl FnOnce(&str) -> Option<Arc<Entry>>,
) -> Option<Event> {
    let key = root.key(found.key())?;
    // A version counts writes since the key was created: a removal has none.
    let entry = (found.version() > 0).then(|| root.entry(found)).flatten();
    let previous = previous(key);
    let concerns = entry.is_some() || previous.is_some();
    concerns.then(|| Event { revision: revision(found.mod_revision()), entry, previous })
}

/// Our events of a batch in order, and the newest revision in it.
pub(super) fn events(
    root: &Root,
    batch: &[EtcdEvent],
    after: Revision,
    current: impl Fn(&str) -> Option<Arc<Entry>>,
) -> (Vec<Event>, Revision) {
    let (mut ours, mut newest) = (Vec::new(), after);
    let mut pending: BTreeMap<Vec<u8>, Option<Arc<Entry>>> = BTreeMap::new();
    for found in batch.iter().filter_map(EtcdEvent::kv) {
        if revision(found.mod_revision()) <= after {
            continue;
        }
        newest = newest.max(revision(found.mod_revision()));
        let before = |key: &str| match pending.get(found.key()) {
            Some(entry) => entry.clone(),
            None => current(key),
        };
        if let Some(event) = event(root, found, before) {
            pending.insert(found.key().to_vec(), event.entry.clone());
            ours.push(event);
        }
    }
    (ours, newest)
}

/// Events of a prefix after one revision up to and including another.
///
/// All keys are watched: every revision then has an event, so it is known when the last one has come.
pub(super) async fn events_between(
    connection: &Connection,
    root: &Root,
    prefix: &str,
    after: Revision,
    upto: Revision,
) -> Result<Vec<Event>, StoreError> {
    let fail = || failed("replay events");
    if !connection.is_readable(after).await.map_err(fail())? {
        return Err(too_old(connection, after).await);
    }
    let mut stream = connection.watch(after, true).await.map_err(fail())?;
    // Revision 1 is the empty etcd: the one revision without an event.
    let (mut ours, mut bytes, mut seen) = (Vec::new(), 0, after.max(1));
    while seen < upto {
        let Some(message) = stream.message().await.map_err(fail())? else {
            return Err(StoreError::Unavailable("etcd ended a watch".to_owned()));
        };
        if message.canceled() {
            return Err(too_old(connection, after).await);
        }
        for happened in message.events() {
            let Some(found) = happened.kv() else { continue };
            seen = seen.max(revision(found.mod_revision()));
            if revision(found.mod_revision()) > upto || !found.key().starts_with(prefix.as_bytes()) {
                continue;
            }
            let stood = |_: &str| happened.prev_kv().and_then(|previous| root.entry(previous));
            let Some(event) = event(root, found, stood) else { continue };
            bytes += weight(&event);
            ours.push(event);
            if ours.len() > MAX_REPLAY_EVENTS || bytes > MAX_REPLAY_BYTES {
                return Err(StoreError::Compacted { asked: after, floor: upto });
            }
        }
    }
    // If `after` can still be read then nothing after it was forgotten meanwhile.
    if connection.is_readable(after).await.map_err(fail())? {
        Ok(ours)
    } else {
        Err(too_old(connection, after).await)
    }
}
