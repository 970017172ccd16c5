//! What only an engine that is elsewhere can promise: etcd goes away, others write to it, limits are met.

use std::sync::Arc;
use std::time::Duration;

use apiserver::storage::etcd::{Etcd, Options};
use apiserver::storage::{Change, Draft, Expect, Operation, Store, StoreError};
use component_base::clock::{FakeClock, RealClock};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::etcd_server::EtcdServer;
use crate::fixture::{create, delete, ready, told, update, written};

const A: &str = "/registry/core/things/a";
const B: &str = "/registry/core/things/b";
const ALL: &str = "/registry/";

async fn etcdctl(server: &EtcdServer) -> etcd_client::Client {
    etcd_client::Client::connect([server.endpoint()], None).await.expect("a client")
}

fn large(key: &str, expect: Expect, bytes: usize) -> Operation {
    let head = r#"{"metadata":{"resourceVersion":""#.into();
    let tail = format!(r#""}},"text":"{}"}}"#, "x".repeat(bytes)).into();
    Operation { key: key.to_owned(), expect, change: Change::Put(Draft { head, tail, lifetime: None }) }
}

#[tokio::test]
async fn an_etcd_that_goes_away_and_comes_back_loses_nothing() {
    let mut server = EtcdServer::start();
    let store = server.open(Options::default()).await;
    let mut events = store.watch(ALL, 0).await.expect("a watch");
    let first = store.transact(vec![create(A, "x")]).await.expect("created").revision;
    server.kill();
    let refused = store.transact(vec![create(B, "x")]).await.expect_err("etcd is away");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    let refused = store.get(A, None).await.expect_err("etcd is away");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(store.get(A, Some(first)).await.expect("what memory has").is_some());
    server.restart();
    let other = server.open(Options::default()).await;
    let second = other.transact(vec![create(B, "x")]).await.expect("created by another").revision;
    let seen: Vec<_> = events.by_ref().take(2).collect().await;
    assert_eq!(told(seen), [format!("{first} added {A}"), format!("{second} added {B}")]);
    let third = store.transact(vec![update(A, first, "y")]).await.expect("updated").revision;
    assert_eq!(told(ready(&mut events)), [format!("{third} changed {A}")]);
    store.close().await;
    other.close().await;
}

/// Writes keys of its own for ever and tells of each one acknowledged.
async fn write_on(store: Arc<Etcd>, writer: usize, acknowledged: mpsc::UnboundedSender<(String, u64)>) {
    for round in 0.. {
        let key = format!("/registry/{writer}/{round}");
        match store.transact(vec![create(&key, "x")]).await {
            Ok(committed) if acknowledged.send((key, committed.revision)).is_err() => return,
            Ok(_) => {}
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_etcd_under_load_loses_no_write_and_no_event() {
    let mut server = EtcdServer::start();
    let store = server.open(Options { history: None, ..Options::default() }).await;
    let begin = store.revision();
    let mut live = store.watch(ALL, begin).await.expect("a watch");
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for writer in 0..8 {
        tokio::spawn(write_on(Arc::clone(&store), writer, sender.clone()));
    }
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        while acknowledged.len() < (round + 1) * 300 {
            acknowledged.push(receiver.recv().await.expect("writers go on"));
        }
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
    }
    acknowledged.push(receiver.recv().await.expect("writers go on after the last restart"));
    receiver.close();
    while let Some(told) = receiver.recv().await {
        acknowledged.push(told);
    }
    let other = server.open(Options { history: None, ring_events: 1, ..Options::default() }).await;
    for (key, revision) in &acknowledged {
        let entry = other.get(key, None).await.expect("a read");
        assert_eq!(entry.map(|entry| entry.mod_revision), Some(*revision), "{key}");
    }
    // What the watch that lived through it all was given is what etcd says happened.
    let last = other.revision();
    let upto = |event: &Result<apiserver::storage::Event, StoreError>| {
        event.as_ref().is_ok_and(|event| event.revision <= last)
    };
    let mut replay = other.watch(ALL, begin).await.expect("a replay");
    let replayed = told(ready(&mut replay).into_iter().filter(upto).collect());
    let lived: Vec<_> = live.by_ref().take(replayed.len()).collect().await;
    assert_eq!(told(lived), replayed);
    assert!(replayed.len() >= acknowledged.len());
    store.close().await;
    other.close().await;
}

#[tokio::test]
async fn who_was_away_too_long_starts_over() {
    let mut server = EtcdServer::start();
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let options = Options { history: None, ..Options::default() };
    let store = Etcd::open_with(vec![server.endpoint()], clock.clone(), options).await.expect("a store");
    let first = store.transact(vec![create(A, "x")]).await.expect("created").revision;
    let mut events = store.watch(ALL, first).await.expect("a watch");
    server.kill();
    // Until the first try to reach it again has failed: the next one then waits for the clock.
    while !store.get(A, None).await.is_err_and(|error| error.to_string().contains("reach etcd")) {
        tokio::task::yield_now().await;
    }
    server.restart();
    let other = server.open(Options::default()).await;
    other.transact(vec![delete(A, first)]).await.expect("deleted");
    let last = other.transact(vec![create(B, "x")]).await.expect("created").revision;
    other.compact(last).await.expect("compacted");
    clock.advance(Duration::from_secs(10));
    let cut = events.next().await.expect("a word");
    assert!(matches!(cut, Err(StoreError::Compacted { .. })));
    let page = store.list(ALL, None, 0, None).await.expect("a page");
    assert_eq!(page.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), [B]);
    assert!(matches!(store.get(A, Some(first)).await, Err(StoreError::Compacted { .. })));
    store.close().await;
    other.close().await;
}

#[tokio::test]
async fn api_servers_that_share_an_etcd_see_each_others_writes_at_once() {
    let server = EtcdServer::start();
    let (one, two) = (server.open(Options::default()).await, server.open(Options::default()).await);
    let mut revision = one.transact(vec![create(A, "0")]).await.expect("created").revision;
    for round in 0..50 {
        let (writer, reader) = if round % 2 == 0 { (&two, &one) } else { (&one, &two) };
        let text = round.to_string();
        revision = writer.transact(vec![update(A, revision, &text)]).await.expect("updated").revision;
        let entry = reader.get(A, None).await.expect("a read").expect("an entry");
        assert_eq!(entry.bytes, written(&text, revision));
        let page = reader.list(ALL, None, 0, None).await.expect("a page");
        assert!(page.revision >= revision && page.entries[0].mod_revision == revision);
    }
    let last = one.transact(vec![delete(A, revision)]).await.expect("deleted").revision;
    assert!(two.watch(ALL, last).await.is_ok(), "a revision that another server told of");
    assert!(two.get(A, None).await.expect("a read").is_none());
    assert!(matches!(two.get(A, Some(last + 1)).await, Err(StoreError::Future { .. })));
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn what_others_write_by_hand_does_no_harm() {
    let server = EtcdServer::start();
    let mut hand = etcdctl(&server).await;
    hand.put(A, "{}", None).await.expect("put");
    hand.put("/registry/bad", "k8s\0protobuf", None).await.expect("put");
    hand.put([b"/registry/".as_slice(), &[0xff]].concat(), "x", None).await.expect("put");
    let store = server.open(Options::default()).await;
    let mut events = store.watch(ALL, store.revision()).await.expect("a watch");
    let page = store.list(ALL, None, 0, None).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
    let text = format!(r#"{{"metadata":{{"resourceVersion":"{}"}}}}"#, page.entries[0].mod_revision);
    assert_eq!(page.entries[0].bytes, text);
    hand.put(B, r#"{"metadata":{"resourceVersion":"77"}}"#, None).await.expect("put");
    hand.put("/elsewhere", "x", None).await.expect("put");
    let entry = store.get(B, None).await.expect("a read").expect("an entry");
    assert!(store.revision() > entry.mod_revision, "revisions of others count");
    hand.put(A, "not JSON any more", None).await.expect("put");
    assert!(store.get(A, None).await.expect("a read").is_none());
    let conflict = store.transact(vec![create(A, "x")]).await.expect_err("something stands there");
    assert!(matches!(conflict, StoreError::Conflict { current: None, .. }), "{conflict}");
    hand.delete(A, None).await.expect("deleted");
    store.transact(vec![update(B, entry.mod_revision, "x")]).await.expect("updated");
    let verbs: Vec<String> =
        told(ready(&mut events)).iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
    assert_eq!(verbs, [format!("added {B}"), format!("deleted {A}"), format!("changed {B}")]);
    let stranger = store.transact(vec![create("/elsewhere/x", "x")]).await.expect_err("not ours");
    assert!(stranger.to_string().contains("transact"), "{stranger}");
    store.close().await;
}

#[tokio::test]
async fn large_objects_pass_and_larger_ones_are_refused() {
    let server = EtcdServer::start();
    let store = server.open(Options { ring_bytes: 1, ..Options::default() }).await;
    let begin = store.revision();
    let first = store.transact(vec![large(A, Expect::Absent, 1_500_000)]).await.expect("created").revision;
    let second = store.transact(vec![large(A, Expect::Revision(first), 1_500_000)]).await.expect("updated");
    let last = store.transact(vec![delete(A, second.revision)]).await.expect("deleted").revision;
    let mut events = store.watch(ALL, begin).await.expect("a replay");
    let expected = [
        format!("{first} added {A}"),
        format!("{} changed {A}", second.revision),
        format!("{last} deleted {A}"),
    ];
    assert_eq!(told(ready(&mut events)), expected);
    let refused = store.transact(vec![large(A, Expect::Absent, 1_600_000)]).await.expect_err("too large");
    assert!(matches!(refused, StoreError::TooLarge(_)), "{refused}");
    let refused = store.transact(vec![large(A, Expect::Absent, 5_000_000)]).await.expect_err("too large");
    assert!(matches!(refused, StoreError::TooLarge(_)), "{refused}");
    assert_eq!(store.revision(), last);
    store.close().await;
}

#[tokio::test]
async fn a_store_opened_again_shows_the_same_and_goes_on() {
    let server = EtcdServer::start();
    let store = server.open(Options::default()).await;
    let begin = store.revision();
    let first = store.transact(vec![create(A, "x"), create(B, "x")]).await.expect("created").revision;
    store.transact(vec![delete(A, first)]).await.expect("deleted");
    store.close().await;
    let store = server.open(Options::default()).await;
    assert_eq!(store.revision(), first + 1);
    let mut events = store.watch(ALL, begin).await.expect("a watch from before");
    let expected =
        [format!("{first} added {A}"), format!("{first} added {B}"), format!("{} deleted {A}", first + 1)];
    assert_eq!(told(ready(&mut events)), expected);
    let mut all = store.watch(ALL, 0).await.expect("a watch from the beginning");
    assert_eq!(ready(&mut all).len(), 3);
    assert!(store.list(ALL, None, 0, Some(0)).await.expect("a page").entries.is_empty());
    store.close().await;
}

#[tokio::test]
async fn old_revisions_are_compacted_from_time_to_time() {
    let server = EtcdServer::start();
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let store = Etcd::open(vec![server.endpoint()], clock.clone()).await.expect("a store");
    let first = store.transact(vec![create(A, "x")]).await.expect("created").revision;
    let second = store.transact(vec![update(A, first, "y")]).await.expect("updated").revision;
    let mut hand = etcdctl(&server).await;
    // Twice: what was there the time before goes.
    let mut rounds = 0;
    loop {
        clock.advance(Duration::from_mins(5));
        let options = etcd_client::GetOptions::new().with_revision(first.cast_signed());
        if hand.get(A, Some(options)).await.is_err() {
            break;
        }
        rounds += 1;
    }
    assert!(rounds > 0);
    assert!(store.get(A, Some(second)).await.expect("a read").is_some());
    store.close().await;
}

/// Creates or changes a key that goes by itself two seconds later.
fn short_lived(key: &str, expect: Expect) -> Operation {
    let mut draft = crate::fixture::draft("x");
    draft.lifetime = Some(Duration::from_secs(2));
    Operation { key: key.to_owned(), expect, change: Change::Put(draft) }
}

#[tokio::test]
async fn keys_with_a_lifetime_share_a_lease_and_go_by_themselves() {
    let server = EtcdServer::start();
    let store = server.open(Options::default()).await;
    let mut hand = etcdctl(&server).await;
    store.transact(vec![create("/registry/core/things/stays", "x")]).await.expect("created");
    let mut events = store.watch(ALL, store.revision()).await.expect("a watch");
    let first = store.transact(vec![short_lived(A, Expect::Absent)]).await.expect("created").revision;
    let second = store.transact(vec![short_lived(B, Expect::Absent)]).await.expect("created").revision;
    let leases = hand.leases().await.expect("an answer").leases().len();
    assert_eq!(leases, 1, "two keys of one moment");
    let created = format!("{first} added {A} {second} added {B}");
    let seen: Vec<_> = events.by_ref().take(2).collect().await;
    assert_eq!(told(seen).join(" "), created);
    // A lease that somebody took away does not keep anybody from writing.
    for lease in hand.leases().await.expect("an answer").leases() {
        hand.lease_revoke(lease.id()).await.expect("revoked");
    }
    let gone: Vec<_> = events.by_ref().take(2).collect().await;
    assert!(told(gone).iter().all(|event| event.contains("deleted")));
    let third = store.transact(vec![short_lived(A, Expect::Absent)]).await.expect("created again").revision;
    let seen: Vec<_> = events.by_ref().take(2).collect().await;
    let seen = told(seen);
    assert_eq!(seen[0], format!("{third} added {A}"));
    assert!(seen[1].ends_with(&format!("deleted {A}")), "{seen:?}");
    assert_eq!(
        store.list(ALL, None, 0, None).await.expect("a page").entries.len(),
        1,
        "what has no lifetime stays"
    );
    store.close().await;
}

#[tokio::test]
async fn a_revision_another_server_told_of_is_known_and_no_later_one() {
    let server = EtcdServer::start();
    let (one, two) = (server.open(Options::default()).await, server.open(Options::default()).await);
    for _ in 0..50 {
        let written = one.transact(vec![create(A, "x")]).await.expect("created").revision;
        two.know(written).await.expect("it exists");
        assert!(two.revision() >= written);
        let unwritten = two.know(written + 1).await.expect_err("it does not exist");
        assert!(matches!(unwritten, StoreError::Future { .. }), "{unwritten}");
        one.transact(vec![delete(A, written)]).await.expect("deleted");
    }
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let nobody = Etcd::open(vec!["http://127.0.0.1:1".to_owned()], RealClock::shared()).await;
    let Err(error) = nobody else { panic!("nothing listens there") };
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn the_second_endpoint_is_used_when_the_first_is_dead() {
    let server = EtcdServer::start();
    let endpoints = vec!["http://127.0.0.1:1".to_owned(), server.endpoint()];
    let store: Arc<dyn Store> = Etcd::open(endpoints, RealClock::shared()).await.expect("a store");
    store.transact(vec![create(A, "x")]).await.expect("created");
    store.close().await;
}
