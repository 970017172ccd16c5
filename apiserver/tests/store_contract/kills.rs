//! A process that writes is killed, started again and killed again: what it was told is done is done,
//! once, and what it was not told of is done as a whole or not at all.
//!
//! Twelve kills of each engine's user in the usual run; `GANTRY_KILLS=200` for the long one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver::storage::embedded::Limits;
use apiserver::storage::etcd::Etcd;
use apiserver::storage::{Revision, Store};
use component_base::clock::RealClock;
use futures::future::join_all;

use crate::etcd_server::{EtcdServer, options};
use crate::fixture::{create, open, update};

/// Tells a copy of this test program to be the process that is killed, and where its store is: a directory
/// or the address of an etcd.
const CHILD: &str = "GANTRY_TEST_WRITER_TO_KILL";

/// Writers at once, so that commits are groups.
const WRITERS: usize = 16;

fn kills() -> usize {
    std::env::var("GANTRY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

async fn opened(place: &str) -> Arc<dyn Store> {
    if place.starts_with("http") {
        let clock = RealClock::shared();
        let store = Etcd::open_with(vec![place.to_owned()], clock, options(64)).await.expect("a store");
        return store;
    }
    // A ring this short makes the past come from the disk.
    let limits = Limits { ring_events: 64, ..Limits::default() };
    open(Path::new(place), limits).expect("the store opens after a kill")
}

fn counter(writer: usize) -> String {
    format!("/count/{writer:02}")
}

fn log(writer: usize, number: u64) -> String {
    format!("/log/{writer:02}/{number:08}")
}

/// How often a writer has written, and the revision of its counter (none before the first time).
async fn position(store: &Arc<dyn Store>, writer: usize) -> (u64, Option<Revision>) {
    let entry = store.get(&counter(writer), None).await.expect("a read");
    entry.map_or((0, None), |entry| {
        let text = String::from_utf8_lossy(&entry.bytes);
        let number = text.rsplit('"').nth(1).and_then(|number| number.parse().ok());
        (number.expect("a number"), Some(entry.mod_revision))
    })
}

/// The process that is killed: every writer counts up, and logs each number in the same transaction.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let store = opened(place.to_str().expect("text")).await;
    let filler = "x".repeat(500);
    let writers = (0..WRITERS).map(|writer| {
        let (store, filler) = (Arc::clone(&store), filler.clone());
        async move {
            let (mut number, mut last) = position(&store, writer).await;
            loop {
                number += 1;
                let count = match last {
                    None => create(&counter(writer), &number.to_string()),
                    Some(revision) => update(&counter(writer), revision, &number.to_string()),
                };
                let committed = store
                    .transact(vec![count, create(&log(writer, number), &filler)])
                    .await
                    .expect("written");
                last = Some(committed.revision);
                let line = format!("acknowledged {writer} {number} {}\n", committed.revision);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
                if writer == 0 && number.is_multiple_of(100) {
                    store.compact(committed.revision.saturating_sub(1_000)).await.expect("compacted");
                }
            }
        }
    });
    join_all(writers).await;
}

/// Runs the child until it was told of `enough` transactions, and kills it: number and revision of each
/// by writer.
fn run_and_kill(place: &str, enough: usize) -> Vec<(usize, u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "kills::child_that_is_killed", "--nocapture"])
        .env(CHILD, place)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut told = Vec::new();
    for line in output.lines() {
        let line = line.expect("a line");
        let Some(rest) = line.split("acknowledged ").nth(1) else { continue };
        let numbers: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The last line may be cut off in its middle.
        let [writer, number, revision] = numbers[..] else { continue };
        told.push((usize::try_from(writer).expect("small"), number, revision));
        if told.len() == enough {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("gone");
    assert!(told.len() >= enough, "the child ended by itself");
    told
}

/// Everything told of is there once, at its revision, and nothing else but what was under way.
async fn check(place: &str, acknowledged: &BTreeMap<(usize, u64), u64>, round: usize) {
    let store = opened(place).await;
    let mut logged: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for entry in store.list("/log/", None, 0, None).await.expect("a list").entries {
        let mut parts = entry.key.split('/').skip(2).filter_map(|part| part.parse::<u64>().ok());
        let (writer, number) = (parts.next().expect("a writer"), parts.next().expect("a number"));
        let writer = usize::try_from(writer).expect("small");
        if let Some(revision) = acknowledged.get(&(writer, number)) {
            assert_eq!(entry.mod_revision, *revision, "round {round}: {} moved", entry.key);
        }
        logged.entry(writer).or_default().push(number);
    }
    for writer in 0..WRITERS {
        let (count, revision) = position(&store, writer).await;
        let numbers = logged.remove(&writer).unwrap_or_default();
        let expected: Vec<u64> = (1..=count).collect();
        assert_eq!(numbers, expected, "round {round}, writer {writer}: each number once, none left out");
        let told = acknowledged.range((writer, 0)..=(writer, u64::MAX)).next_back();
        let told = told.map_or(0, |((_, number), _)| *number);
        assert!(count >= told, "round {round}, writer {writer}: told of {told}, there are {count}");
        if let (Some(revision), Some(last)) = (revision, count.checked_sub(0)) {
            let entry = store.get(&log(writer, last), None).await.expect("a read").expect("the last one");
            assert_eq!(entry.mod_revision, revision, "round {round}: a transaction is whole");
        }
    }
    store.close().await;
}

async fn kill_again_and_again(place: &str) {
    let mut acknowledged = BTreeMap::new();
    for round in 0..kills() {
        // Different moments: from the first group commit to long after a checkpoint.
        let enough = 1 + (round * 7_919) % 1_500;
        for (writer, number, revision) in run_and_kill(place, enough) {
            let before = acknowledged.insert((writer, number), revision);
            assert_eq!(before, None, "round {round}: {writer} {number} was told of twice");
        }
        check(place, &acknowledged, round).await;
    }
}

#[tokio::test]
async fn kill_9_of_a_writer_loses_nothing_and_repeats_nothing_embedded() {
    let directory = tempfile::tempdir().expect("a directory");
    kill_again_and_again(directory.path().to_str().expect("text")).await;
}

#[tokio::test]
async fn kill_9_of_a_writer_loses_nothing_and_repeats_nothing_etcd() {
    let server = EtcdServer::start();
    kill_again_and_again(&server.endpoint()).await;
}
