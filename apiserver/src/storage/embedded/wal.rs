//! A look at SQLite's write-ahead log before SQLite opens it.
//!
//! SQLite takes the first frame whose checksum does not fit for the end of the log. After a crash that is
//! right: one commit may be torn, and nobody was told of it. But each commit is on the disk before the
//! next one begins, so a frame that does not fit and has two whole commits after it was sound once, and
//! what SQLite would drop was acknowledged. [`check`] refuses such a log.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use crate::storage::StoreError;

/// Bytes of the log's header, and of the one before each page.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The header's first number, but for its lowest bit: whether checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// The page size every store has had; used when the header cannot tell.
const PAGE: usize = 4_096;

/// SQLite's running checksum.
type Sum = [u32; 2];

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn stored_sum(bytes: &[u8], at: usize) -> Sum {
    [word(bytes, at), word(bytes, at + 4)]
}

/// `bytes` are whole pairs of words.
fn add(sum: Sum, bytes: &[u8], big_endian: bool) -> Sum {
    let word =
        |bytes: [u8; 4]| if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    bytes.as_chunks::<4>().0.as_chunks::<2>().0.iter().fold(sum, |[one, two], [first, second]| {
        let one = one.wrapping_add(word(*first)).wrapping_add(two);
        [one, two.wrapping_add(word(*second)).wrapping_add(one)]
    })
}

/// Refuses a log that is damaged where it was acknowledged; that there is none is fine.
///
/// # Errors
/// [`StoreError::Damaged`] with the place, [`StoreError::Engine`] when the file cannot be read.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let failed = |source: std::io::Error| StoreError::Engine {
        act: format!("read {}", path.display()),
        source: source.into(),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match first_damage(BufReader::new(file)).map_err(failed)? {
        None => Ok(()),
        Some(at) => Err(StoreError::Damaged(format!(
            "{}: what begins at byte {at} does not match its checksum, and commits follow it; stop gantry and restore a snapshot into an empty data directory",
            path.display()
        ))),
    }
}

/// Where the log is damaged, if whole commits follow that place.
fn first_damage(mut log: impl std::io::Read) -> std::io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let big_endian = word(&header, 0) == MAGIC | 1;
    let mut before = stored_sum(&header, 24);
    let sound = word(&header, 0) & !1 == MAGIC && add([0; 2], &header[..24], big_endian) == before;
    let page = if sound { word(&header, 8) as usize } else { PAGE };
    let mut salts = sound.then(|| header[16..24].to_vec());
    // A header is written at once, so a torn one does not excuse what follows it.
    let (mut damage, enough) = if sound { (None, 2) } else { (Some(0), 1) };
    let (mut at, mut commits) = (HEADER as u64, 0);
    let mut frame = vec![0; FRAME_HEADER + page];
    while fill(&mut log, &mut frame)? {
        let salts = salts.get_or_insert_with(|| frame[8..16].to_vec());
        let sum = add(add(before, &frame[..8], big_endian), &frame[FRAME_HEADER..], big_endian);
        // A frame follows from the one before it, whatever has become of that one's page.
        before = stored_sum(&frame, 16);
        if sum != before || frame[8..16] != **salts {
            damage.get_or_insert(at);
            commits = 0;
        } else if word(&frame, 4) != 0 {
            commits += 1;
            if commits >= enough && damage.is_some() {
                return Ok(damage);
            }
        }
        at += frame.len() as u64;
    }
    Ok(None)
}

/// Whether there was enough to fill the buffer.
fn fill(log: &mut impl std::io::Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
