//! What only an engine with a disk can promise: kill -9, a full disk, damage, versions, one process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver::storage::embedded::Limits;
use apiserver::storage::{Entry, Store, StoreError};
use component_base::clock::FakeClock;
use futures::future::join_all;

use crate::fixture::{create, delete, open, ready, update};

/// Tells a copy of this test program to be the process that is killed.
const CHILD: &str = "GANTRY_TEST_STORE_TO_KILL";

/// Acknowledged pairs after which the child is killed; enough for many group commits and checkpoints.
const ENOUGH: usize = 3_000;

/// The process that is killed: writes pairs of keys for ever and tells of each one acknowledged.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = open(Path::new(&directory), Limits::default()).expect("a store");
    let filler = "x".repeat(700);
    let writers = (0..16).map(|writer| {
        let (store, filler) = (Arc::clone(&store), filler.clone());
        async move {
            for round in 0_u64.. {
                let keys = [format!("/left/{writer}/{round}"), format!("/right/{writer}/{round}")];
                let committed = store
                    .transact(keys.iter().map(|key| create(key, &filler)).collect())
                    .await
                    .expect("written");
                let line = format!("acknowledged {writer}/{round} {}\n", committed.revision);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
            }
        }
    });
    join_all(writers).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_torn_by_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "durability::child_that_is_killed", "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut acknowledged = Vec::new();
    for line in output.lines() {
        let line = line.expect("a line");
        let Some(pair) = line.split("acknowledged ").nth(1).and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        acknowledged.push((pair.0.to_owned(), pair.1.parse::<u64>().expect("a revision")));
        if acknowledged.len() == ENOUGH {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("gone");
    assert!(acknowledged.len() >= ENOUGH, "the child ended by itself");

    let store = open(directory.path(), Limits::default()).expect("the store again");
    for (pair, revision) in &acknowledged {
        for side in ["left", "right"] {
            let entry = store.get(&format!("/{side}/{pair}"), None).await.expect("a read");
            assert_eq!(entry.map(|entry| entry.mod_revision), Some(*revision), "{side} {pair}");
        }
    }
    let side = |entries: Vec<Arc<Entry>>| -> Vec<u64> { entries.iter().map(|e| e.mod_revision).collect() };
    let left = side(store.list("/left/", None, 0, None).await.expect("a page").entries);
    let right = side(store.list("/right/", None, 0, None).await.expect("a page").entries);
    assert_eq!(left, right, "a pair is written as a whole or not at all");
    assert_eq!(left.iter().max().copied(), Some(store.revision()));
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_reads_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits { max_pages: Some(40), ..Limits::default() }).expect("a store");
    let filler = "x".repeat(3_000);
    let mut written = 0_u64;
    let refusal = loop {
        match store.transact(vec![create(&format!("/{written:04}"), &filler)]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, StoreError::Full(_)), "{refusal}");
    assert!(written > 10);
    assert_eq!(store.revision(), written);
    let shown = |store: Arc<dyn Store>| async move {
        store.list("/", None, 0, None).await.expect("a page").entries.len() as u64
    };
    assert_eq!(shown(store.clone()).await, written);
    assert!(store.get("/0000", Some(1)).await.expect("a read of the past").is_some());
    store.close().await;
    let store = open(directory.path(), Limits::default()).expect("the store with more room");
    assert_eq!(shown(store.clone()).await, written);
    store.transact(vec![create("/more", &filler)]).await.expect("writes go on");
    store.close().await;
}

#[tokio::test]
async fn a_damaged_value_is_refused_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default()).expect("a store");
    store.transact(vec![create("/a", "harmless-text")]).await.expect("created");
    store.close().await;
    let path = directory.path().join("store.db");
    let mut file = std::fs::read(&path).expect("the file");
    let at = file.windows(13).position(|bytes| bytes == b"harmless-text").expect("the value is in the file");
    file[at] = b'H';
    std::fs::write(&path, file).expect("damaged");
    let Err(error) = open(directory.path(), Limits::default()) else { panic!("opened a damaged store") };
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged(_)), "{text}");
    assert!(text.contains("revision 1 of /a") && text.contains("restore a snapshot"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("store.db"), "not a database ".repeat(500)).expect("written");
    let Err(error) = open(directory.path(), Limits::default()) else { panic!("opened") };
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn another_format_is_refused_with_a_clear_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default()).expect("a store");
    store.close().await;
    let file = rusqlite::Connection::open(directory.path().join("store.db")).expect("the file");
    file.pragma_update(None, "user_version", 99).expect("changed");
    drop(file);
    let Err(error) = open(directory.path(), Limits::default()) else { panic!("opened") };
    assert!(matches!(error, StoreError::Version(_)), "{error}");
    assert!(error.to_string().contains("store format 99"), "{error}");
}

#[tokio::test]
async fn a_file_of_an_older_format_is_brought_up_to_date() {
    const TWO: &str =
        "UPDATE marks SET revision = 1 WHERE name IN ('floor', 'swept'); PRAGMA user_version = 2;";
    const ONE: &str =
        "ALTER TABLE revisions DROP COLUMN author; DROP TABLE authors; UPDATE keys SET live = live & 1;
        DELETE FROM marks WHERE name = 'sum'; PRAGMA user_version = 1;";
    for older in [TWO.to_owned(), format!("{TWO}{ONE}")] {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path(), Limits::default()).expect("a store");
        store.transact(vec![create("/a", "x")]).await.expect("created");
        store.transact(vec![update("/a", 1, "y")]).await.expect("updated");
        store.compact(1).await.expect("compacted");
        store.close().await;
        let file = rusqlite::Connection::open(directory.path().join("store.db")).expect("the file");
        file.execute_batch(&older).expect("as an older gantry left it");
        drop(file);
        for _ in 0..2 {
            let store = open(directory.path(), Limits::default()).expect("the older store");
            assert_eq!(store.revision(), 2);
            assert!(store.get("/a", Some(1)).await.expect("a read").is_some());
            assert!(matches!(store.get("/a", Some(0)).await, Err(StoreError::Compacted { floor: 1, .. })));
            store.close().await;
        }
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default()).expect("a store");
    let Err(StoreError::Engine { source, .. }) = open(directory.path(), Limits::default()) else {
        panic!("opened twice")
    };
    assert!(source.to_string().contains(&format!("process {}", std::process::id())), "{source}");
    store.close().await;
    open(directory.path(), Limits::default()).expect("free again").close().await;
}

#[tokio::test]
async fn a_removal_is_remembered_when_it_was_the_last_thing_and_is_compacted() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default()).expect("a store");
    store.transact(vec![create("/a", "x")]).await.expect("created");
    store.transact(vec![delete("/a", 1)]).await.expect("deleted");
    store.compact(2).await.expect("compacted");
    store.transact(vec![create("/b", "x")]).await.expect("created");
    store.transact(vec![delete("/b", 3)]).await.expect("deleted");
    store.compact(4).await.expect("compacted");
    store.close().await;
    let store = open(directory.path(), Limits::default()).expect("the store again");
    assert_eq!(store.revision(), 4, "a revision is never given twice");
    store.close().await;
}

#[tokio::test]
async fn old_history_goes_by_itself_and_its_space_is_used_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let store =
        apiserver::storage::embedded::Embedded::open(directory.path(), clock.clone()).expect("a store");
    let week = std::time::Duration::from_hours(7 * 24);
    store.transact(vec![create("/a", "x")]).await.expect("created");
    clock.advance(week / 2);
    store.transact(vec![update("/a", 1, "y")]).await.expect("updated");
    clock.advance(week * 3 / 4);
    store.transact(vec![update("/a", 2, "z")]).await.expect("updated");
    // Retention follows the answer; the next answer follows retention.
    store.transact(vec![create("/b", "x")]).await.expect("created");
    assert!(matches!(store.get("/a", Some(0)).await, Err(StoreError::Compacted { floor: 1, .. })));
    assert!(store.get("/a", Some(1)).await.expect("a read").is_some());
    store.close().await;
}

#[tokio::test]
async fn history_is_bounded_by_size() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits { history_bytes: 1 << 20, ..Limits::default() };
    let store = open(directory.path(), limits).expect("a store");
    let filler = "x".repeat(1_000);
    let mut revision = store.transact(vec![create("/a", &filler)]).await.expect("created").revision;
    let mut pending = Vec::new();
    for n in 0..8_000 {
        pending.push(store.transact(vec![create(&format!("/n/{n}"), &filler)]));
        if pending.len() == 500 {
            for outcome in join_all(std::mem::take(&mut pending)).await {
                let committed = outcome.expect("created");
                let entry = committed.entries[0].as_ref().expect("an entry").key.to_string();
                revision = revision.max(committed.revision);
                pending_delete(&store, &entry, committed.revision).await;
            }
        }
    }
    assert!(store.revision() > revision);
    assert!(matches!(store.get("/a", Some(1)).await, Err(StoreError::Compacted { .. })));
    store.close().await;
    let size = std::fs::metadata(directory.path().join("store.db")).expect("the file").len();
    assert!(size < 30 << 20, "{size} bytes for an almost empty store");
}

async fn pending_delete(store: &Arc<impl Store + ?Sized>, key: &str, revision: u64) {
    store.transact(vec![delete(key, revision)]).await.expect("deleted");
}

#[tokio::test]
async fn watches_older_than_the_ring_are_replayed_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default()).expect("a store");
    for n in 0..10 {
        store.transact(vec![create(&format!("/{n}"), "x")]).await.expect("created");
    }
    store.close().await;
    let store = open(directory.path(), Limits::default()).expect("the store again");
    let mut events = store.watch("/", 4).await.expect("a watch");
    assert_eq!(ready(&mut events).len(), 6);
    store.close().await;
}
