//! Random histories: engines against snapshots kept the naive way, one whole map per revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::storage::memory::Memory;
use apiserver::storage::{Change, Expect, Operation, Revision, Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::etcd_server::{EtcdServer, FromOrigin, options};
use crate::fixture::{delete, draft, open, ready, short_ring, told, written};

const KEYS: [&str; 5] = ["/p/a", "/p/b", "/p/ba", "/q/a", "/r"];

#[derive(Debug, Clone)]
enum Step {
    /// For each: key, whether the expectation is right, 0 check, 1 delete, else put.
    Transact(Vec<(usize, bool, u8)>),
    /// Compact to this share (of 8) of the revisions.
    Compact(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = (0..KEYS.len(), prop::bool::weighted(0.9), 0_u8..5);
    let step = prop_oneof![
        8 => prop::collection::vec(operation, 1..4).prop_map(Step::Transact),
        1 => (0_u64..9).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

type Snapshot = BTreeMap<String, (Revision, Revision, String)>;

/// The naive store.
#[derive(Default)]
struct Naive {
    snapshots: Vec<Snapshot>,
    events: Vec<(Revision, String, String)>,
    floor: Revision,
}

impl Naive {
    fn revision(&self) -> Revision {
        self.snapshots.len() as Revision - 1
    }

    /// Turns a step's numbers into operations that make sense now.
    fn operations(&self, picks: &[(usize, bool, u8)]) -> Vec<Operation> {
        let now = &self.snapshots[self.snapshots.len() - 1];
        let mut operations: Vec<Operation> = Vec::new();
        for &(key, right, verb) in picks {
            let stands = now.get(KEYS[key]).map(|(_, modified, _)| *modified);
            let expect = match (stands, right) {
                (Some(revision), true) => Expect::Revision(revision),
                (None, true) | (Some(_), false) => Expect::Absent,
                (None, false) => Expect::Revision(self.revision()),
            };
            let change = match verb {
                0 => Change::Check,
                1 => Change::Delete,
                _ => Change::Put(draft(&format!("{verb}"))),
            };
            if operations.iter().all(|operation| operation.key != KEYS[key]) {
                operations.push(Operation { key: KEYS[key].to_owned(), expect, change });
            }
        }
        operations
    }

    /// The revision after the transaction, or nothing if an expectation fails.
    fn transact(&mut self, operations: &[Operation]) -> Option<Revision> {
        let mut next = self.snapshots[self.snapshots.len() - 1].clone();
        let revision = self.revision() + 1;
        let holds = |operation: &Operation| match (next.get(&operation.key), operation.expect) {
            (None, Expect::Absent) => true,
            (Some((_, modified, _)), Expect::Revision(expected)) => *modified == expected,
            (Some(_), Expect::Present) => true,
            _ => false,
        };
        if !operations.iter().all(holds) {
            return None;
        }
        let mut events = Vec::new();
        for operation in operations {
            let key = operation.key.clone();
            let before = next.get(&key).cloned();
            match &operation.change {
                // The naive steps amend nothing.
                Change::Check | Change::Amend(_) => {}
                Change::Delete => {
                    if next.remove(&key).is_some() {
                        events.push((revision, "deleted".to_owned(), key));
                    }
                }
                Change::Put(draft) => {
                    let text = String::from_utf8_lossy(&draft.tail).replace(['"', '}'], "");
                    let text = text.rsplit(':').next().unwrap_or_default().to_owned();
                    let created = before.as_ref().map_or(revision, |(created, _, _)| *created);
                    let verb = if before.is_some() { "changed" } else { "added" };
                    next.insert(key.clone(), (created, revision, written(&text, revision)));
                    events.push((revision, verb.to_owned(), key));
                }
            }
        }
        if events.is_empty() {
            return Some(revision - 1);
        }
        self.snapshots.push(next);
        self.events.extend(events);
        Some(revision)
    }
}

/// Compares everything an engine shows with the model.
async fn compare(store: &Arc<dyn Store>, naive: &Naive) {
    assert_eq!(store.revision(), naive.revision());
    for at in naive.floor..=naive.revision() {
        let snapshot = &naive.snapshots[usize::try_from(at).expect("small")];
        for prefix in ["/p/", "/p/b", "/"] {
            let page = store.list(prefix, None, 0, Some(at)).await.expect("a page");
            let shown: Vec<_> = page.entries.iter().map(|e| describe(e)).collect();
            let expected: Vec<_> = snapshot
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(shown, expected, "list {prefix} at {at}");
            let page = store.list(prefix, Some("/p/a"), 1, Some(at)).await.expect("a page");
            let after: Vec<_> = expected.iter().filter(|(key, _)| &key[..] > "/p/a").collect();
            assert_eq!(page.entries.first().map(|e| describe(e)).as_ref(), after.first().copied());
            assert_eq!(page.remaining, after.len().saturating_sub(1) as u64);
        }
        for key in KEYS {
            let entry = store.get(key, Some(at)).await.expect("a read");
            assert_eq!(entry.map(|e| describe(&e).1), snapshot.get(key).cloned(), "get {key} at {at}");
        }
        for prefix in ["/p/", "/"] {
            let mut stream = store.watch(prefix, at).await.expect("a watch");
            let expected: Vec<String> = naive
                .events
                .iter()
                .filter(|(revision, _, key)| *revision > at && key.starts_with(prefix))
                .map(|(revision, verb, key)| format!("{revision} {verb} {key}"))
                .collect();
            assert_eq!(told(ready(&mut stream)), expected, "watch {prefix} after {at}");
        }
    }
    if naive.floor > 0 {
        let old = store.list("/", None, 0, Some(naive.floor - 1)).await;
        assert!(matches!(old, Err(StoreError::Compacted { .. })));
    }
}

fn describe(entry: &apiserver::storage::Entry) -> (String, (Revision, Revision, String)) {
    let bytes = String::from_utf8_lossy(&entry.bytes).into_owned();
    (entry.key.to_string(), (entry.create_revision, entry.mod_revision, bytes))
}

/// The same history on an etcd that earlier ones have used.
async fn play_on_etcd(server: &EtcdServer, steps: Vec<Step>) {
    let mut naive = Naive { snapshots: vec![Snapshot::new()], ..Naive::default() };
    let plain = server.open(options(2)).await;
    let stands = plain.list("/", None, 0, None).await.expect("a page").entries;
    let removals = stands.iter().map(|entry| delete(&entry.key, entry.mod_revision)).collect();
    plain.transact(removals).await.expect("an empty etcd");
    plain.close().await;
    let mut etcd = FromOrigin::on(server, 2, None).await;
    for step in steps {
        match step {
            Step::Transact(picks) => {
                let operations = naive.operations(&picks);
                let expected = naive.transact(&operations);
                let outcome = etcd.transact(operations).await;
                assert_eq!(outcome.ok().map(|committed| committed.revision), expected);
            }
            Step::Compact(share) => {
                let floor = naive.revision() * share / 8;
                naive.floor = naive.floor.max(floor);
                etcd.compact(floor).await.expect("compacted");
            }
            Step::Reopen => {
                let origin = etcd.origin();
                etcd.close().await;
                etcd = FromOrigin::on(server, 2, Some(origin)).await;
            }
        }
    }
    let origin = etcd.origin();
    let store: Arc<dyn Store> = etcd;
    compare(&store, &naive).await;
    store.close().await;
    let store: Arc<dyn Store> = FromOrigin::on(server, 2, Some(origin)).await;
    compare(&store, &naive).await;
    store.close().await;
}

async fn play(steps: Vec<Step>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut naive = Naive { snapshots: vec![Snapshot::new()], ..Naive::default() };
    let memory: Arc<dyn Store> = Memory::open();
    let mut embedded: Arc<dyn Store> = open(directory.path(), short_ring()).expect("a store");
    for step in steps {
        match step {
            Step::Transact(picks) => {
                let operations = naive.operations(&picks);
                let expected = naive.transact(&operations);
                for store in [&memory, &embedded] {
                    let outcome = store.transact(operations.clone()).await;
                    assert_eq!(outcome.ok().map(|committed| committed.revision), expected);
                }
            }
            Step::Compact(share) => {
                let floor = naive.revision() * share / 8;
                naive.floor = naive.floor.max(floor);
                for store in [&memory, &embedded] {
                    store.compact(floor).await.expect("compacted");
                }
            }
            Step::Reopen => {
                embedded.close().await;
                embedded = open(directory.path(), short_ring()).expect("the store again");
            }
        }
    }
    compare(&memory, &naive).await;
    compare(&embedded, &naive).await;
    embedded.close().await;
    embedded = open(directory.path(), short_ring()).expect("the store again");
    compare(&embedded, &naive).await;
    embedded.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree_with_the_naive_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(play(steps));
    }
}

#[test]
fn etcd_agrees_with_the_naive_model() {
    let server = EtcdServer::start();
    // Every watch that is replayed waits up to 100 ms for etcd's loop over watchers that are behind.
    let config = ProptestConfig {
        cases: 6,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play_on_etcd(&server, steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
