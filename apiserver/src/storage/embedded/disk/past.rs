//! History as the file has it: entries, pages and events as of a revision, versions of a key, what is gone.
//!
//! All functions run inside [`snapshot`], which holds the file still and refuses what is compacted.

use super::*;

/// Events one watch may read back from the disk; whoever is further behind lists again, which is
/// cheaper for both sides.
const MAX_REPLAY_EVENTS: usize = 10_000;

/// Bytes one watch may read back from the disk.
const MAX_REPLAY_BYTES: usize = 64 << 20;

/// A key's entry at a revision.
pub(in super::super) fn entry_at(
    connection: &Connection,
    key: &str,
    at: Revision,
) -> Result<Option<Arc<Entry>>, StoreError> {
    before(connection, key, id_ceiling(at) + 1)
}

/// A key's newest version with an id below `id`.
fn before(connection: &Connection, key: &str, id: i64) -> Result<Option<Arc<Entry>>, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT id FROM keys WHERE key = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1")
        .and_then(|mut statement| statement.query_row(params![key, id], |row| row.get(0)).optional())
        .map_err(failed("find a revision"))?;
    found.map_or(Ok(None), |id| row_by_id(connection, key, id).map(|found| found.entry))
}

/// A page of entries at a revision.
pub(in super::super) fn page_at(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    at: Revision,
) -> Result<Page, StoreError> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut page = Page { entries: Vec::new(), revision: at, remaining: 0 };
    each_newest(connection, prefix, after, id_ceiling(at), |key, id| {
        if page.entries.len() < limit {
            page.entries.extend(row_by_id(connection, key, id)?.entry);
        } else {
            page.remaining += 1;
        }
        Ok(())
    })?;
    Ok(page)
}

/// Events of a prefix after one revision up to and including another.
pub(in super::super) fn events_between(
    connection: &Connection,
    prefix: &str,
    after: Revision,
    upto: Revision,
) -> Result<Vec<Event>, StoreError> {
    let act = "replay events";
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM revisions
             WHERE id > ?1 AND id <= ?2 AND key >= ?3 AND key < ?4 ORDER BY id"
        ))
        .map_err(failed(act))?;
    let mut rows = statement
        .query(params![id_ceiling(after), id_ceiling(upto), prefix, end_of(prefix)])
        .map_err(failed(act))?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(next) = rows.next().map_err(failed(act))? {
        let found = row(next)?;
        let previous = before(connection, &found.key, found.id)?;
        let event = Event { revision: revision_of(found.id), entry: found.entry, previous };
        bytes += crate::storage::mailbox::weight(&event);
        events.push(event);
        if events.len() > MAX_REPLAY_EVENTS || bytes > MAX_REPLAY_BYTES {
            return Err(StoreError::Compacted { asked: after, floor: upto });
        }
    }
    Ok(events)
}

/// The newest revision at which everything was written before `time` (milliseconds since 1970).
///
/// Revisions are in time's order up to changes of the machine's clock, so a binary search will do.
pub(in super::super) fn revision_before(
    connection: &Connection,
    oldest: Revision,
    newest: Revision,
    time: i64,
) -> Result<Revision, StoreError> {
    let (mut low, mut high) = (oldest, newest);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let written: Option<i64> = connection
            .prepare_cached("SELECT time FROM revisions WHERE id >= ?1 ORDER BY id LIMIT 1")
            .and_then(|mut s| s.query_row([id_floor(middle)], |row| row.get(0)).optional())
            .map_err(failed("read the age of a revision"))?;
        if written.is_some_and(|written| written < time) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

/// The revision of the newest row whose time is at most `time`, if one is kept.
pub(in super::super) fn revision_at(connection: &Connection, time: i64) -> Result<Revision, StoreError> {
    let floor = mark(connection, FLOOR)?;
    let newest: Option<i64> = connection
        .query_row("SELECT MAX(id) FROM revisions", [], |row| row.get(0))
        .map_err(failed("find a revision by its time"))?;
    let newest = newest.map_or(floor, revision_of).max(floor);
    // `revision_before` finds rows older than a time; "at or before" is "before the next millisecond".
    let found = revision_before(connection, floor, newest, time.saturating_add(1))?;
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT time FROM revisions WHERE id >= ?1 ORDER BY id LIMIT 1")
        .and_then(|mut s| s.query_row([id_floor(found)], |row| row.get(0)).optional())
        .map_err(failed("find a revision by its time"))?;
    if found == floor && oldest.is_some_and(|oldest| oldest > time) {
        return Err(crate::storage::past::too_early(floor));
    }
    Ok(found)
}

/// The newest versions of a key, oldest first, from the one that stood at the floor on.
pub(in super::super) fn versions(
    connection: &Connection,
    key: &str,
    limit: usize,
) -> Result<Vec<Version>, StoreError> {
    let act = "read the versions of a key";
    let floor = mark(connection, FLOOR)?;
    let ids: Vec<(i64, bool)> = connection
        .prepare_cached("SELECT id, live & 1 FROM keys WHERE key = ?1 ORDER BY id DESC LIMIT ?2")
        .and_then(|mut statement| {
            let rows =
                statement.query_map(params![key, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .map_err(failed(act))?;
    let mut found = Vec::new();
    for (id, live) in ids {
        let before_floor = revision_of(id) <= floor;
        // What was gone at the floor has no history.
        if !before_floor || live {
            found.push(told(connection, row_by_id(connection, key, id)?)?);
        }
        if before_floor {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// The last removals of keys that are gone.
pub(in super::super) fn removals(
    connection: &Connection,
    (prefix, after): (&str, Option<&str>),
    since: Revision,
    limit: usize,
) -> Result<Vec<Version>, StoreError> {
    let act = "list what was removed";
    let mut statement = connection
        .prepare_cached(
            "SELECT key, MAX(id), live FROM keys WHERE key >= ?1 AND key > ?2 AND key < ?3
             GROUP BY key HAVING live & 1 = 0 AND MAX(id) > ?4 ORDER BY key LIMIT ?5",
        )
        .map_err(failed(act))?;
    let since = id_ceiling(since.max(mark(connection, FLOOR)?));
    let bounds = params![prefix, after.unwrap_or_default(), end_of(prefix), since, limit as i64];
    let rows: Vec<(String, i64)> = statement
        .query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(failed(act))?;
    rows.into_iter().map(|(key, id)| told(connection, row_by_id(connection, &key, id)?)).collect()
}

/// A row with its author's name.
fn told(connection: &Connection, found: Stored) -> Result<Version, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT author FROM authors WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([found.author], |row| row.get(0)).optional())
        .map_err(failed("read an author"))?;
    let author = text.and_then(|text| serde_json::from_str(&text).ok()).map(Arc::new);
    let Stored { id, key, time, entry, .. } = found;
    Ok(Version { key, revision: revision_of(id), time: Some(time), author, entry })
}
