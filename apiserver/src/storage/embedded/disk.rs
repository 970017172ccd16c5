//! The SQLite file: its tables, how a version of a key becomes a row, and what is read back.
//!
//! Entry points: [`open_writer`], [`open_reader`], [`load`] (start), [`write`] (commit); `past` reads
//! history and `sweep` forgets it. A row of `revisions` is one version of one key; its id is the revision
//! in the upper bits and the place in the transaction in the lower 16. A removal is a row without value.
//! `keys` finds the versions of a key. `author` is a row of `authors`, of which there are few. Every
//! value carries a checksum that is verified whenever it is read; rows of `keys` carry one too, and the
//! mark [`SUM`] is the sum of them all, so that one that is gone or not what it was is noticed at start.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use super::snapshot;
use crate::encryption::Encryption;
use crate::storage::hub::key_of;
use crate::storage::{Author, Entry, Event, Page, Revision, StoreError, Version};

pub(super) mod past;
pub(super) mod reseal;
pub(super) mod sweep;

/// The layout of the file; raised when an older Gantry could not read what this one writes. Format 1 had
/// no authors, format 2 no checks in its marks, format 3 no encrypted values; they are brought up to date when
/// they are opened.
pub(super) const FORMAT: i64 = 4;

/// `gntr` in the file's header, so that `file` and we can tell it from any other SQLite file.
const APPLICATION_ID: i64 = 0x676e_7472;

/// Bytes of an SQLite file's header; a file that is shorter was cut off.
const HEADER_BYTES: u64 = 100;

/// Bits of a row id that number the operations of one transaction.
const SLOT_BITS: u32 = 16;

/// Different authors that are told apart. Their names come from clients, so their number must end
/// somewhere; what later ones do is kept without a name.
const MAX_AUTHORS: i64 = 100_000;

const SCHEMA: &str = "
    CREATE TABLE revisions (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL,
        time INTEGER NOT NULL, checksum INTEGER NOT NULL, value BLOB, author INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE keys (
        key TEXT NOT NULL, id INTEGER NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (key, id)) WITHOUT ROWID;
    CREATE TABLE marks (name TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO marks VALUES ('floor', 0), ('swept', 0), ('sum', 0);
    CREATE TABLE authors (id INTEGER PRIMARY KEY, author TEXT NOT NULL);";

/// Bits of a stored mark that hold its revision; those above hold a check.
const MARK_BITS: u32 = 44;

/// What makes a file of format 1 one of format 2.
const FROM_FORMAT_1: &str = "
    ALTER TABLE revisions ADD COLUMN author INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE authors (id INTEGER PRIMARY KEY, author TEXT NOT NULL);
    INSERT INTO marks VALUES ('sum', 0);";

/// The columns [`row`] reads, in its order.
const COLUMNS: &str = "id, key, created, time, checksum, value, author";

/// Revisions below it are not readable.
pub(super) const FLOOR: &str = "floor";
/// Up to it superseded versions have been removed.
pub(super) const SWEPT: &str = "swept";
/// The sum of all rows of `keys`, see [`live_mark`].
pub(super) const SUM: &str = "sum";

/// What a store directory shows when it is opened.
pub(super) struct Loaded {
    pub(super) current: BTreeMap<Arc<str>, Arc<Entry>>,
    pub(super) revision: Revision,
    pub(super) floor: Revision,
    pub(super) swept: Revision,
}

/// Tells what an SQLite error means for the store.
pub(super) fn failed(act: &str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let act = act.to_owned();
    move |error| match error.sqlite_error().map(|e| (e.code, e.extended_code)) {
        Some((ErrorCode::DiskFull, _) | (_, rusqlite::ffi::SQLITE_IOERR_SHMSIZE)) => {
            StoreError::Full(format!(
                "{act}: no space is left for the store; nothing was written and reads go on; free some space and try again"
            ))
        }
        Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)) => StoreError::Damaged(format!(
            "{act}: {error}; stop gantry and restore a snapshot into an empty data directory"
        )),
        _ => StoreError::Engine { act, source: error.into() },
    }
}

fn id_floor(revision: Revision) -> i64 {
    (revision << SLOT_BITS).cast_signed()
}

/// The greatest id of a revision.
fn id_ceiling(revision: Revision) -> i64 {
    id_floor(revision) | ((1 << SLOT_BITS) - 1)
}

fn revision_of(id: i64) -> Revision {
    id.cast_unsigned() >> SLOT_BITS
}

/// First string after all keys that start with `prefix`; keys hold no U+10FFFF.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

/// Opens the file for its one writer, makes it if there is none, and refuses one it cannot read.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let act = format!("open {}", path.display());
    match path.metadata() {
        // SQLite would take it for a new file.
        Ok(file) if file.len() < HEADER_BYTES => {
            return Err(StoreError::Damaged(format!(
                "it is only {} bytes long; stop gantry and restore a snapshot into an empty data directory",
                file.len()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(StoreError::Engine { act, source: error.into() }),
    }
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed(&act))?;
    check_format(&connection, path)?;
    // 4 MB of cache for the writer and 2 MB for the reader: current entries are in memory anyway. A log of 16 MB:
    // each page is copied from it into the file once, however often it was changed.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096;
             PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY;",
        )
        .map_err(failed(&act))?;
    bring_up_to_date(&connection)?;
    Ok(connection)
}

/// Makes an empty store, which has its name only when it is whole: an empty file of that name is damage.
fn make(path: &Path) -> Result<(), StoreError> {
    let partial = path.with_extension("db.new");
    let act = format!("make {}", partial.display());
    // One that a killed process left behind.
    let _stale = std::fs::remove_file(&partial);
    let connection = Connection::open(&partial).map_err(failed(&act))?;
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
        ))
        .and_then(|()| check_marks(&connection))
        .and_then(|()| finish_format(&connection))
        .map_err(failed(&act))?;
    connection.close().map_err(|(_, error)| failed(&act)(error))?;
    std::fs::rename(&partial, path)
        .and_then(|()| snapshot::sync_parent(path))
        .map_err(|source| StoreError::Engine { act, source: source.into() })
}

/// Makes a file of an earlier format one of the present format, as a whole or not at all.
pub(super) fn bring_up_to_date(connection: &Connection) -> Result<(), StoreError> {
    let format = pragma(connection, "user_version")?;
    if format == FORMAT {
        return Ok(());
    }
    let steps = || {
        connection.execute_batch("BEGIN IMMEDIATE;")?;
        if format == 1 {
            add_authors(connection)?;
        }
        if format < 3 {
            check_marks(connection)?;
        }
        finish_format(connection)
    };
    steps().map_err(failed("bring the store's file up to date"))
}

/// Checks the marks of a new file, or of one of format 2, within the surrounding transaction.
fn check_marks(connection: &Connection) -> rusqlite::Result<()> {
    for name in [FLOOR, SWEPT] {
        let plain: i64 =
            connection.query_row("SELECT revision FROM marks WHERE name = ?1", [name], |row| row.get(0))?;
        set_mark(connection, name, plain.cast_unsigned())?;
    }
    Ok(())
}

/// Names the present format and ends the transaction.
fn finish_format(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("PRAGMA user_version = {FORMAT}; COMMIT;"))
}

/// Makes a file of format 1 one of format 2 within the surrounding transaction.
fn add_authors(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(FROM_FORMAT_1)?;
    let rows: Vec<(String, i64, bool)> = connection
        .prepare("SELECT key, id, live FROM keys")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut sum = 0_u64;
    for (key, id, live) in rows {
        let mark = live_mark(&key, id, live);
        sum = sum.wrapping_add(mark.cast_unsigned());
        let mut statement =
            connection.prepare_cached("UPDATE keys SET live = ?3 WHERE key = ?1 AND id = ?2")?;
        statement.execute(params![key, id, mark])?;
    }
    add_to_sum(connection, sum)
}

/// Opens the file for history reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(failed(&format!("open {} for reading", path.display())))?;
    connection.execute_batch("PRAGMA cache_size = -2048;").map_err(failed("configure the reader"))?;
    Ok(connection)
}

pub(super) fn check_format(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let (application, format) = (pragma(connection, "application_id")?, pragma(connection, "user_version")?);
    match (application, format) {
        (APPLICATION_ID, 1..=FORMAT) => Ok(()),
        (APPLICATION_ID, other) => Err(StoreError::Version(format!(
            "{} is in store format {other}, this gantry reads format {FORMAT}: start the gantry that wrote it, or choose another data directory",
            path.display()
        ))),
        _ => Err(StoreError::Version(format!(
            "{} is not a Gantry store: choose another data directory",
            path.display()
        ))),
    }
}

/// A pragma that is one number.
pub(super) fn pragma(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(failed(&format!("read the store's {name}")))
}

/// A persisted mark, [`FLOOR`] or [`SWEPT`].
pub(super) fn mark(connection: &Connection, name: &str) -> Result<Revision, StoreError> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT revision FROM marks WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .map_err(failed("read the store's marks"))?;
    let revision = stored.map(|stored| stored.cast_unsigned() & ((1 << MARK_BITS) - 1));
    revision.filter(|revision| Some(checked_mark(name, *revision)) == stored).ok_or_else(|| {
        StoreError::Damaged(format!(
            "the mark {name} in table marks does not match its checksum; stop gantry and restore a snapshot into an empty data directory"
        ))
    })
}

/// Persists a mark, [`FLOOR`] or [`SWEPT`], with the surrounding transaction.
pub(super) fn set_mark(connection: &Connection, name: &str, revision: Revision) -> rusqlite::Result<()> {
    write_mark(connection, name, checked_mark(name, revision))
}

fn write_mark(connection: &Connection, name: &str, stored: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE marks SET revision = ?2 WHERE name = ?1")?
        .execute(params![name, stored])
        .map(drop)
}

/// A mark as it is stored: nothing else tells whether it is what it was.
fn checked_mark(name: &str, revision: Revision) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&revision.to_le_bytes());
    // Some bit of the check is always set, so that no plain number passes for a mark.
    let check = u64::from(hasher.finalize() >> (MARK_BITS - 32 + 1)) | 1;
    (check << MARK_BITS | revision).cast_signed()
}

/// The sum of all rows of `keys`, as it should be.
fn sum_mark(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT revision FROM marks WHERE name = ?1")?;
    let sum: Option<i64> = statement.query_row([SUM], |row| row.get(0)).optional()?;
    // A sum that is gone does not fit, but for one store in 2^64.
    Ok(sum.unwrap_or_default().cast_unsigned())
}

/// What a row's checksum covers; the author only if there is one, as in format 1.
fn checksum(id: i64, created: i64, time: i64, author: i64, key: &str, value: Option<&[u8]>) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&created.to_le_bytes());
    hasher.update(&time.to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&[0, u8::from(value.is_some())]);
    hasher.update(value.unwrap_or_default());
    if author != 0 {
        hasher.update(&author.to_le_bytes());
    }
    i64::from(hasher.finalize())
}

/// What `keys` says of a version: a checksum whose lowest bit tells whether the key exists in it.
fn live_mark(key: &str, id: i64, live: bool) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&[u8::from(live)]);
    i64::from(hasher.finalize()) << 1 | i64::from(live)
}

/// Adds to the sum of all rows of `keys` within the surrounding transaction.
fn add_to_sum(connection: &Connection, more: u64) -> rusqlite::Result<()> {
    // SQLite's own addition would overflow into a floating-point number.
    write_mark(connection, SUM, sum_mark(connection)?.wrapping_add(more).cast_signed())
}

/// The numbers of authors, as the writer knows them.
#[derive(Default)]
pub(super) struct Authors(BTreeMap<Arc<Author>, i64>);

impl Authors {
    /// Those on the disk.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let read = || -> rusqlite::Result<Vec<(i64, String)>> {
            let mut statement = connection.prepare("SELECT id, author FROM authors")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let rows = read().map_err(failed("load the store's authors"))?;
        // One that cannot be read is written again when it is met again.
        let known = rows.into_iter().filter_map(|(id, text)| {
            let author: Author = serde_json::from_str(&text).ok()?;
            Some((Arc::new(author), id))
        });
        Ok(Self(known.collect()))
    }

    /// The number of an author, who is written within the surrounding transaction if new; 0 for nobody.
    fn number(&mut self, connection: &Connection, author: Option<&Arc<Author>>) -> rusqlite::Result<i64> {
        let Some(author) = author else { return Ok(0) };
        if let Some(number) = self.0.get(author) {
            return Ok(*number);
        }
        if self.0.len() as i64 >= MAX_AUTHORS {
            return Ok(0);
        }
        let text = serde_json::to_string(&**author).unwrap_or_default();
        connection.prepare_cached("INSERT INTO authors (author) VALUES (?1)")?.execute([text])?;
        let number = connection.last_insert_rowid();
        self.0.insert(Arc::clone(author), number);
        Ok(number)
    }
}

/// The values of events where they are not stored as they are in memory.
pub(super) fn sealed(events: &[Event], encryption: &Encryption) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let seal = |event: &Event| match &event.entry {
        Some(entry) => Ok(encryption.seal(&entry.key, &entry.bytes)?),
        None => Ok(None),
    };
    events.iter().map(seal).collect()
}

/// Writes events and their encrypted values, each with its author, within the surrounding transaction; `time` is in milliseconds
/// since 1970.
pub(super) fn write(
    connection: &Connection,
    (events, sealed): (&[Event], &[Option<Vec<u8>>]),
    authors: (&[Option<Arc<Author>>], &mut Authors),
    time: i64,
) -> rusqlite::Result<()> {
    let mut revisions =
        connection.prepare_cached("INSERT INTO revisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut keys = connection.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3)")?;
    let (authors, numbers) = authors;
    let (mut revision, mut slot, mut total) = (0, 0, 0_u64);
    for ((event, sealed), author) in events.iter().zip(sealed).zip(authors) {
        slot = if event.revision == revision { slot + 1 } else { 0 };
        revision = event.revision;
        let (id, key) = (id_floor(revision) + slot, key_of(event));
        let clear = event.entry.as_ref().map(|entry| &entry.bytes[..]);
        let value = sealed.as_deref().or(clear);
        let created = event.entry.as_ref().map_or(0, |entry| entry.create_revision).cast_signed();
        let author = numbers.number(connection, author.as_ref())?;
        let sum = checksum(id, created, time, author, key, value);
        revisions.execute(params![id, key, created, time, sum, value, author])?;
        let mark = live_mark(key, id, value.is_some());
        total = total.wrapping_add(mark.cast_unsigned());
        keys.execute(params![key, id, mark])?;
    }
    add_to_sum(connection, total)
}

/// A version of a key as it stands on the disk.
struct Stored {
    id: i64,
    key: Arc<str>,
    time: i64,
    /// A row of `authors`.
    author: i64,
    entry: Option<Arc<Entry>>,
}

/// Reads a row of [`COLUMNS`] and verifies it.
fn row(row: &Row<'_>) -> Result<Stored, StoreError> {
    let read = failed("read a revision");
    let columns = || -> rusqlite::Result<_> {
        let (id, key, created): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (time, sum, value): (i64, i64, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?, row.get(5)?);
        Ok((id, key, created, time, sum, value, row.get(6)?))
    };
    let (id, key, created, time, sum, value, author) = columns().map_err(read)?;
    if checksum(id, created, time, author, &key, value.as_deref()) != sum {
        return Err(damaged(id, &key));
    }
    let key: Arc<str> = key.into();
    let entry = value.map(|bytes| {
        Arc::new(Entry {
            key: Arc::clone(&key),
            bytes: Bytes::from(bytes),
            create_revision: created.cast_unsigned(),
            mod_revision: revision_of(id),
            index: OnceLock::new(),
        })
    });
    Ok(Stored { id, key, time, author, entry })
}

fn damaged(id: i64, key: &str) -> StoreError {
    StoreError::Damaged(format!(
        "revision {} of {key} (row {id} of table revisions) does not match its checksum; stop gantry and restore a snapshot into an empty data directory",
        revision_of(id)
    ))
}

fn row_by_id(connection: &Connection, key: &str, id: i64) -> Result<Stored, StoreError> {
    row_by_number(connection, id)?.ok_or_else(|| damaged(id, key))
}

/// The version of a row id, if there is one.
fn row_by_number(connection: &Connection, id: i64) -> Result<Option<Stored>, StoreError> {
    let act = "read a revision";
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM revisions WHERE id = ?1"))
        .map_err(failed(act))?;
    let mut rows = statement.query([id]).map_err(failed(act))?;
    rows.next().map_err(failed(act))?.map(row).transpose()
}

/// Reads current entries and counters.
pub(super) fn load(connection: &Connection) -> Result<Loaded, StoreError> {
    let act = "load the store";
    let newest: Option<i64> =
        connection.query_row("SELECT MAX(id) FROM revisions", [], |row| row.get(0)).map_err(failed(act))?;
    let (floor, swept) = (mark(connection, FLOOR)?, mark(connection, SWEPT)?);
    let newest_key = check_keys(connection)?;
    let newest_row = newest.unwrap_or_default();
    if newest_row != newest_key {
        return Err(StoreError::Damaged(format!(
            "tables revisions and keys end at different rows ({newest_row} and {newest_key}); stop gantry and restore a snapshot into an empty data directory"
        )));
    }
    let mut current = BTreeMap::new();
    each_newest(connection, "", None, i64::MAX, |key, id| {
        let found = row_by_id(connection, key, id)?;
        let Some(entry) = found.entry else { return Err(damaged(id, key)) };
        current.insert(found.key, entry);
        Ok(())
    })?;
    // Compaction removes removals, so the newest row may be older than the newest revision.
    let revision = revision_of(newest_row).max(floor);
    Ok(Loaded { current, revision, floor, swept })
}

/// Checks every row of `keys`, and that none is missing; the greatest id in it.
fn check_keys(connection: &Connection) -> Result<i64, StoreError> {
    let act = "check the store's keys";
    let mut statement = connection.prepare("SELECT key, id, live FROM keys").map_err(failed(act))?;
    let mut rows = statement.query([]).map_err(failed(act))?;
    let (mut sum, mut newest) = (0_u64, 0);
    while let Some(row) = rows.next().map_err(failed(act))? {
        let (key, id, live): (String, i64, i64) =
            (|| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))().map_err(failed(act))?;
        if live_mark(&key, id, live & 1 == 1) != live {
            return Err(damaged(id, &key));
        }
        sum = sum.wrapping_add(live.cast_unsigned());
        newest = newest.max(id);
    }
    if sum == sum_mark(connection).map_err(failed(act))? {
        return Ok(newest);
    }
    Err(StoreError::Damaged(
        "rows of table keys are missing; stop gantry and restore a snapshot into an empty data directory"
            .to_owned(),
    ))
}

/// What a file holds, every value of which is sound.
pub(super) struct Counted {
    /// The newest revision.
    pub(super) revision: Revision,
    /// Keys that exist.
    pub(super) objects: u64,
    /// Rows.
    pub(super) versions: u64,
}

/// Reads everything and checks it.
pub(super) fn count_checked(connection: &Connection) -> Result<Counted, StoreError> {
    let act = "check the store";
    let mut counted = Counted { revision: mark(connection, FLOOR)?, objects: 0, versions: 0 };
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM revisions ORDER BY id")).map_err(failed(act))?;
    let mut rows = statement.query([]).map_err(failed(act))?;
    while let Some(next) = rows.next().map_err(failed(act))? {
        let found = row(next)?;
        counted.revision = counted.revision.max(revision_of(found.id));
        counted.versions += 1;
    }
    check_keys(connection)?;
    each_newest(connection, "", None, i64::MAX, |_, _| {
        counted.objects += 1;
        Ok(())
    })?;
    Ok(counted)
}

/// Where SQLite finds the file damaged; empty if it does not.
pub(super) fn places(path: &Path) -> String {
    let look = || -> rusqlite::Result<Vec<String>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement = connection.prepare("PRAGMA integrity_check(3)")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    match look() {
        Ok(found) if found.len() == 1 && found.iter().all(|text| text == "ok") => String::new(),
        Ok(found) => found.join("; ").replace('\n', " "),
        Err(_) => "the file's header or its first page (bytes 0 to 4095) cannot be read".to_owned(),
    }
}

/// Calls `visit` with every key of a prefix that is live at an id, in key order, and that version's id.
fn each_newest(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    at: i64,
    mut visit: impl FnMut(&str, i64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let act = "list keys";
    // SQLite takes the other columns of a group from the row that has the maximum.
    let mut statement = connection
        .prepare_cached(
            "SELECT key, MAX(id), live FROM keys WHERE key >= ?1 AND key > ?2 AND key < ?3 AND id <= ?4 GROUP BY key",
        )
        .map_err(failed(act))?;
    let mut rows = statement
        .query(params![prefix, after.unwrap_or_default(), end_of(prefix), at])
        .map_err(failed(act))?;
    while let Some(row) = rows.next().map_err(failed(act))? {
        let (key, id, live): (String, i64, i64) =
            (|| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))().map_err(failed(act))?;
        if live & 1 == 1 {
            visit(&key, id)?;
        }
    }
    Ok(())
}

/// Runs a read in one snapshot of the file, in which `at` must still be readable.
pub(super) fn snapshot<T>(
    connection: &Connection,
    at: Revision,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let act = "begin a read";
    let transaction = connection.unchecked_transaction().map_err(failed(act))?;
    let floor = mark(&transaction, FLOOR)?;
    if at < floor {
        return Err(StoreError::Compacted { asked: at, floor });
    }
    read(&transaction)
}
