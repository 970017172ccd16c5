//! The embedded store in one file: saved while it is in use, verified, restored into a new directory.
//!
//! Entry points: [`save`], [`verify`] and [`restore`]. A snapshot is two lines of text, the second one
//! [`Summary`] as JSON, a line with the checksum of that line, and an SQLite file cut into pieces whose
//! checksums the summary holds, so that damage is found where it is.
//!
//! A restored store goes on far beyond the newest revision anybody can have seen, and forgets all
//! revisions before: clients that remember one get 410 and list again, instead of missing what changed
//! between the snapshot and its loss.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::disk;
use crate::storage::{Revision, StoreError};

/// First line of a snapshot: what it is, and the version of its layout.
const MAGIC: &str = "gantry-snapshot 1";
/// Bytes that share a checksum: damage is told to a megabyte.
const PIECE_BYTES: usize = 1 << 20;
/// A summary's line is shorter: a checksum for each MiB of a 100 GB store.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// What a restored store's revision is raised by, as etcd recommends: more than any cluster writes between
/// a snapshot and its restoration.
const REVISION_BUMP: Revision = 1_000_000_000;
/// How a store's file is named within its directory.
const STORE: &str = "store.db";

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// When it was taken, RFC 3339.
    pub time: String,
    /// The gantry that took it.
    pub version: String,
    /// The newest revision in it.
    pub revision: Revision,
    /// Objects that exist at that revision.
    pub objects: u64,
    /// Versions of objects, present and past.
    pub versions: u64,
    /// Bytes of the SQLite file.
    pub bytes: u64,
    /// SHA-256 of each MiB of it, hexadecimal.
    pub checksums: Vec<String>,
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let act = format!("{act} {}", path.display());
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full(format!("{act}: {source}")),
        _ => StoreError::Engine { act, source: source.into() },
    }
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {what}; use another snapshot", path.display()))
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A new file for its owner's eyes: a store holds secrets.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Removes a file that is only needed for a while, whatever happens.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been renamed or never made.
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Saves the store in `directory`, which may be in use, to `file`, which must not exist; `version` and
/// `time` (RFC 3339) go into the summary. Every value is checked on the way.
///
/// # Errors
/// [`StoreError::Damaged`] when the store is, [`StoreError::Full`] when there is no room,
/// [`StoreError::Engine`] when there is no store or the file cannot be written.
pub fn save(directory: &Path, file: &Path, version: &str, time: &str) -> Result<Summary, StoreError> {
    let store = directory.join(STORE);
    if !store.exists() {
        let none = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no embedded store");
        return Err(failed("save a snapshot of", &store)(none));
    }
    if file.exists() {
        let taken = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it exists already");
        return Err(failed("write", file)(taken));
    }
    let body = Temporary(sibling(file, ".body"));
    // One that a killed run left behind.
    let _stale = std::fs::remove_file(&body.0);
    drop(create(&body.0).map_err(failed("make", &body.0))?);
    let connection = Connection::open_with_flags(&store, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(disk::failed(&format!("open {}", store.display())))?;
    disk::check_format(&connection, &store)?;
    // One read transaction: writers go on, and the copy is of one moment.
    connection
        .execute("VACUUM INTO ?1", [body.0.to_string_lossy()])
        .map_err(disk::failed("copy the store"))?;
    drop(connection);
    let copy = Connection::open_with_flags(&body.0, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(disk::failed("open the copy"))?;
    disk::bring_up_to_date(&copy)?;
    let counted = disk::count_checked(&copy)?;
    drop(copy);
    let mut source = File::open(&body.0).map_err(failed("read", &body.0))?;
    let (bytes, checksums) = checksums(&mut source).map_err(failed("read", &body.0))?;
    let summary = Summary {
        time: time.to_owned(),
        version: version.to_owned(),
        revision: counted.revision,
        objects: counted.objects,
        versions: counted.versions,
        bytes,
        checksums,
    };
    write(&summary, &body.0, file)?;
    Ok(summary)
}

fn write(summary: &Summary, body: &Path, file: &Path) -> Result<(), StoreError> {
    let partial = Temporary(sibling(file, ".partial"));
    let _stale = std::fs::remove_file(&partial.0);
    let put = || -> std::io::Result<()> {
        let line = serde_json::to_string(summary)?;
        let mut out = BufWriter::new(create(&partial.0)?);
        writeln!(out, "{MAGIC}\n{line}\n{}", hash(line.as_bytes()))?;
        std::io::copy(&mut File::open(body)?, &mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&partial.0, file)
    };
    put().map_err(failed("write", file))?;
    sync_parent(file).map_err(failed("write", file))
}

/// Makes a new name in a directory durable.
pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Length of what a reader has, and the checksum of each piece.
fn checksums(source: &mut impl Read) -> std::io::Result<(u64, Vec<String>)> {
    let (mut total, mut all) = (0, Vec::new());
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = source.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if read == 0 {
            return Ok((total, all));
        }
        total += read as u64;
        all.push(hash(&piece));
    }
}

/// A snapshot whose summary is sound, placed before its body.
fn open(file: &Path) -> Result<(Summary, BufReader<File>), StoreError> {
    let mut reader = BufReader::new(File::open(file).map_err(failed("open", file))?);
    let mut line = || -> Result<String, StoreError> {
        let mut bytes = Vec::new();
        let mut limited = reader.by_ref().take(MAX_LINE_BYTES);
        limited.read_until(b'\n', &mut bytes).map_err(failed("read", file))?;
        let whole = bytes.pop() == Some(b'\n');
        let text = String::from_utf8(bytes).ok().filter(|_| whole);
        text.ok_or_else(|| damaged(file, "it is no gantry snapshot, or its first lines are damaged"))
    };
    let magic = line()?;
    if magic != MAGIC {
        return Err(match magic.strip_prefix("gantry-snapshot ") {
            Some(other) => StoreError::Version(format!(
                "{} is in snapshot format {other}, this gantry reads format 1: use the gantry that took it",
                file.display()
            )),
            None => damaged(file, "it is no gantry snapshot, or its first line is damaged"),
        });
    }
    let (summary, sum) = (line()?, line()?);
    if hash(summary.as_bytes()) != sum {
        return Err(damaged(file, "its summary (line 2) does not match its checksum (line 3)"));
    }
    let summary = serde_json::from_str(&summary).map_err(|_| damaged(file, "its summary cannot be read"))?;
    Ok((summary, reader))
}

/// Checks every byte of a snapshot.
///
/// # Errors
/// [`StoreError::Damaged`], with the place, when it is not what was saved; [`StoreError::Version`] when
/// another version took it.
pub fn verify(file: &Path) -> Result<Summary, StoreError> {
    copy(file, &mut std::io::sink())
}

/// Verifies a snapshot and writes its body.
fn copy(file: &Path, to: &mut impl Write) -> Result<Summary, StoreError> {
    let (summary, mut reader) = open(file)?;
    let mut done = 0_u64;
    for sum in &summary.checksums {
        let wanted = (summary.bytes - done).min(PIECE_BYTES as u64);
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        reader.by_ref().take(wanted).read_to_end(&mut piece).map_err(failed("read", file))?;
        if (piece.len() as u64) < wanted {
            let end = done + piece.len() as u64;
            return Err(damaged(
                file,
                &format!("it ends after byte {end} of {} of the store", summary.bytes),
            ));
        }
        if hash(&piece) != *sum {
            let what = format!("bytes {done} to {} of the store do not match their checksum", done + wanted);
            return Err(damaged(file, &what));
        }
        to.write_all(&piece).map_err(failed("copy", file))?;
        done += wanted;
    }
    let mut rest = [0];
    match reader.read(&mut rest).map_err(failed("read", file))? {
        0 if done == summary.bytes => Ok(summary),
        _ => Err(damaged(file, &format!("it goes on after byte {done} of the store, where it should end"))),
    }
}

/// Makes a store in `directory`, which must be empty or missing, of a snapshot. Nothing is there before all
/// of it is.
///
/// # Errors
/// As [`verify`]; [`StoreError::Engine`] when the directory is in use or cannot be written.
pub fn restore(file: &Path, directory: &Path) -> Result<Summary, StoreError> {
    let occupied = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let text = "it is not empty: choose another data directory, or move this one away";
        let error = std::io::Error::new(std::io::ErrorKind::AlreadyExists, text);
        return Err(failed("restore into", directory)(error));
    }
    std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
    let partial = Temporary(directory.join("store.db.partial"));
    let mut out = create(&partial.0).map_err(failed("make", &partial.0))?;
    let summary = copy(file, &mut out)?;
    out.sync_all().map_err(failed("write", &partial.0))?;
    drop(out);
    let connection = Connection::open_with_flags(&partial.0, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(disk::failed("open the restored store"))?;
    disk::check_format(&connection, &partial.0)?;
    disk::bring_up_to_date(&connection)?;
    disk::set_mark(&connection, disk::FLOOR, summary.revision + REVISION_BUMP)
        .map_err(disk::failed("raise the restored store's revision"))?;
    drop(connection);
    let store = directory.join(STORE);
    std::fs::rename(&partial.0, &store).map_err(failed("write", &store))?;
    sync_parent(&store).map_err(failed("write", &store))?;
    Ok(summary)
}
