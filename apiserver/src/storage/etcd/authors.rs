//! When and by whom etcd's revisions were made: a note under one key of ours, written by every
//! transaction that changes something.
//!
//! Entry points: [`note`] (write), [`sign`] and [`revision_at`] (read). The key's value at revision n is
//! the note of n if it was written by n; etcd keeps and compacts the notes with all else, so they need
//! no care of their own.

use std::sync::Arc;

use etcd_client::TxnOp;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, failed, is_compacted};
use super::value::{Root, revision};
use crate::storage::past::too_early;
use crate::storage::{Author, Entry, Event, Revision, StoreError, Version};

#[derive(Serialize, Deserialize)]
struct Note<A> {
    time: i64,
    author: Option<A>,
}

/// Where the notes stand: our keys begin with a slash.
fn key(root: &Root) -> String {
    format!("gantry.dev/authors{}", root.start)
}

/// Writes the note of a transaction; `time` in milliseconds since 1970.
pub(super) fn note(root: &Root, time: i64, author: Option<&Author>) -> TxnOp {
    // Strings and a number are always JSON.
    TxnOp::put(key(root), serde_json::to_vec(&Note { time, author }).unwrap_or_default(), None)
}

/// The newest note at a revision, and the revision that wrote it.
async fn newest(
    connection: &Connection,
    root: &Root,
    at: Revision,
) -> Result<Option<(Revision, Note<Author>)>, StoreError> {
    match connection.key(&key(root), at).await {
        Ok(found) => Ok(found.and_then(|found| {
            Some((revision(found.mod_revision()), serde_json::from_slice(found.value()).ok()?))
        })),
        Err(error) if is_compacted(&error) => Ok(None),
        Err(error) => Err(failed("read who made a change")(error)),
    }
}

/// A version of which only the revision is known.
pub(super) fn unsigned(key: Arc<str>, revision: Revision, entry: Option<Arc<Entry>>) -> Version {
    Version { key, revision, time: None, author: None, entry }
}

/// What an event made of its key.
pub(super) fn version_of(event: Event) -> Option<Version> {
    let key = event.entry.as_ref().or(event.previous.as_ref()).map(|entry| Arc::clone(&entry.key))?;
    Some(unsigned(key, event.revision, event.entry))
}

/// Fills in when and by whom a version was made, if that was noted.
pub(super) async fn sign(
    connection: &Connection,
    root: &Root,
    version: &mut Version,
) -> Result<(), StoreError> {
    if let Some((written, note)) = newest(connection, root, version.revision).await?
        && written == version.revision
    {
        (version.time, version.author) = (Some(note.time), note.author.map(Arc::new));
    }
    Ok(())
}

/// The newest revision between two that was made at or before a time.
pub(super) async fn revision_at(
    connection: &Connection,
    root: &Root,
    (floor, now): (Revision, Revision),
    time: i64,
) -> Result<Revision, StoreError> {
    let early = |found: Option<(Revision, Note<Author>)>| found.is_none_or(|(_, note)| note.time <= time);
    let (mut low, mut high) = (floor, now);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if early(newest(connection, root, middle).await?) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    match newest(connection, root, low).await? {
        Some((_, note)) if note.time <= time => Ok(low),
        _ => Err(too_early(floor)),
    }
}
