//! Damage of all kinds to the files of the embedded store: bytes that flip, ends that are cut off.
//!
//! Whatever happens to a file, opening it ends in a refusal that names it, or in a store that has every
//! acknowledged write up to the damage; never in a panic and never in a revision that is given twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver::storage::embedded::{Embedded, Limits};
use apiserver::storage::{Store, StoreError};
use component_base::rng::Rng;

use crate::fixture::{create, open, written};
use crate::snapshots::filled;

/// Bytes of SQLite's log before the first frame, of a frame's header, and of a page.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4_096;

/// Opens what is left of a store; `None` if it is refused as it should be, naming `file`.
fn reopen(directory: &Path, file: &str, what: &str) -> Option<Arc<Embedded>> {
    match open(directory, Limits::default()) {
        Ok(store) => Some(store),
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error, StoreError::Damaged(_) | StoreError::Version(_)), "{what}: {text}");
            assert!(text.contains(file), "{what}: {text}");
            None
        }
    }
}

/// Flips up to 64 bytes from `at` on.
fn flipped(sound: &[u8], at: usize, count: usize) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte ^= 0x55);
    bytes
}

#[tokio::test]
async fn a_store_damaged_anywhere_is_refused_or_tells_the_truth() {
    let directory = tempfile::tempdir().expect("a directory");
    let live = directory.path().join("live");
    filled(&live).await.close().await;
    let path = live.join("store.db");
    let sound = std::fs::read(&path).expect("the file");
    let rng = Rng::seeded(11);
    let below = |limit: usize| usize::try_from(rng.below(limit as u64)).expect("small");
    let mut cases: Vec<(String, Vec<u8>)> = (0..150)
        .map(|round| (below(sound.len()), 1 + round % 64))
        .map(|(at, count)| (format!("{count} bytes flipped at {at}"), flipped(&sound, at, count)))
        .collect();
    let lengths = (0..sound.len()).step_by(PAGE).chain([1, 99, PAGE + 1, sound.len() - 1]);
    cases.extend(lengths.map(|length| (format!("cut at {length}"), sound[..length].to_vec())));
    let mut refused = 0;
    for (what, bytes) in &cases {
        std::fs::write(&path, bytes).expect("damaged");
        let Some(store) = reopen(&live, "store.db", what) else {
            refused += 1;
            continue;
        };
        assert_eq!(store.revision(), 202, "{what}");
        let shown = store.list("/", None, 0, None).await.expect("a list").entries;
        assert_eq!(shown.len(), 199, "{what}");
        for entry in shown {
            let number: usize = entry.key[1..].parse().expect("a key of ours");
            let text = if number == 1 { "changed".to_owned() } else { "x".repeat(number) };
            assert_eq!(entry.bytes, written(&text, entry.mod_revision), "{what}");
        }
        store.close().await;
    }
    assert!(refused > cases.len() / 2, "{refused} of {}", cases.len());
}

/// What `kill -9` leaves of a store with 40 commits in its log.
struct Crashed {
    directory: tempfile::TempDir,
    log: Vec<u8>,
    /// Where in the log each commit ends.
    ends: Vec<usize>,
    /// The revision before the first of them.
    base: u64,
}

impl Crashed {
    async fn make() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let live = directory.path().join("live");
        // Closed once: what came before is in the file, and the log begins anew.
        filled(&live).await.close().await;
        let store = open(&live, Limits::default()).expect("the store again");
        let base = store.revision();
        for number in 0..40 {
            store
                .transact(vec![create(&format!("/log/{number:03}"), &"y".repeat(number * 50))])
                .await
                .expect("created");
        }
        for name in ["store.db", "store.db-wal"] {
            std::fs::copy(live.join(name), directory.path().join(name)).expect("copied while it is in use");
        }
        store.close().await;
        let log = std::fs::read(directory.path().join("store.db-wal")).expect("the log");
        let frames = (LOG_HEADER..log.len()).step_by(FRAME_HEADER + PAGE);
        let is_commit = |at: &usize| log[at + 4..at + 8] != [0; 4];
        let ends: Vec<usize> = frames.filter(is_commit).map(|at| at + FRAME_HEADER + PAGE).collect();
        assert_eq!(ends.len(), 40, "a commit for each transaction");
        Self { directory, log, ends, base }
    }

    /// The store's directory with another log.
    fn with_log(&self, log: &[u8]) -> PathBuf {
        let place = self.directory.path().join("damaged");
        let _new = std::fs::remove_dir_all(&place);
        std::fs::create_dir(&place).expect("made");
        std::fs::copy(self.directory.path().join("store.db"), place.join("store.db")).expect("copied");
        std::fs::write(place.join("store.db-wal"), log).expect("written");
        place
    }

    /// Commits that end at or before a byte of the log.
    fn commits_before(&self, byte: usize) -> u64 {
        self.ends.iter().filter(|end| **end <= byte).count() as u64
    }
}

/// Every object of the log up to a revision, and nothing else of it.
async fn check_prefix(store: &Arc<Embedded>, base: u64, what: &str) {
    let shown = store.list("/log/", None, 0, None).await.expect("a list").entries;
    let revisions: Vec<u64> = shown.iter().map(|entry| entry.mod_revision).collect();
    assert_eq!(revisions, (base + 1..=store.revision()).collect::<Vec<_>>(), "{what}");
    for (number, entry) in shown.iter().enumerate() {
        assert_eq!(entry.bytes, written(&"y".repeat(number * 50), entry.mod_revision), "{what}");
    }
    assert_eq!(store.list("/", None, 0, Some(base)).await.expect("a list").entries.len(), 199, "{what}");
}

#[tokio::test]
async fn a_damaged_log_is_refused_unless_it_looks_like_a_torn_commit() {
    let crashed = Crashed::make().await;
    let rng = Rng::seeded(3);
    let mut places: Vec<usize> =
        (0..100).map(|_| usize::try_from(rng.below(crashed.log.len() as u64)).expect("small")).collect();
    // The header; a frame's header: page, commit, salts, checksum; the last commit and the one before.
    places.extend([0, 8, 16, 24, LOG_HEADER, LOG_HEADER + 4, LOG_HEADER + 8, LOG_HEADER + 16]);
    places.extend([crashed.ends[37], crashed.ends[38] - PAGE, crashed.ends[38], crashed.ends[39] - 1]);
    let mut refused = 0;
    for (round, at) in places.into_iter().enumerate() {
        let what = format!("the log's byte {at}");
        let place = crashed.with_log(&flipped(&crashed.log, at, 1 + round % 8));
        let Some(store) = reopen(&place, "store.db-wal", &what) else {
            refused += 1;
            continue;
        };
        let kept = store.revision() - crashed.base;
        // Of the last two commits nobody can tell damage from a crash.
        assert!(kept >= crashed.commits_before(at) && kept >= 38, "{what}: {kept} of 40 commits");
        check_prefix(&store, crashed.base, &what).await;
        store.close().await;
    }
    assert!(refused > 80, "{refused} refused");
}

#[tokio::test]
async fn a_log_that_is_cut_off_gives_what_is_before_the_cut() {
    let crashed = Crashed::make().await;
    let rng = Rng::seeded(5);
    let mut lengths: Vec<usize> =
        (0..60).map(|_| usize::try_from(rng.below(crashed.log.len() as u64)).expect("small")).collect();
    lengths.extend([0, 1, LOG_HEADER, crashed.ends[0] - 1, crashed.ends[0], crashed.ends[39]]);
    for length in lengths {
        let what = format!("the log cut at {length}");
        let place = crashed.with_log(&crashed.log[..length]);
        let store = reopen(&place, "store.db-wal", &what).unwrap_or_else(|| panic!("{what}: refused"));
        assert_eq!(store.revision(), crashed.base + crashed.commits_before(length), "{what}");
        check_prefix(&store, crashed.base, &what).await;
        store.close().await;
    }
}
