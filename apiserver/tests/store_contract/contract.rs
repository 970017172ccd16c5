//! What every engine promises.

use std::sync::Arc;

use apiserver::storage::{Author, Expect, Store, StoreError, Version};
use futures::StreamExt as _;
use futures::future::join_all;

use crate::fixture::{amend, check, create, delete, engines, ready, told, update, written};

/// Runs an async case against every engine.
macro_rules! for_every_engine {
    ($name:ident, $case:expr) => {
        #[tokio::test]
        async fn $name() {
            for engine in engines().await {
                let case: &dyn Fn(std::sync::Arc<dyn Store>) -> futures::future::BoxFuture<'static, ()> =
                    &|store| Box::pin($case(store));
                eprintln!("engine: {}", engine.name);
                case(engine.store.clone()).await;
                engine.store.close().await;
            }
        }
    };
}

type Shared = std::sync::Arc<dyn Store>;

async fn keys(store: &Shared, prefix: &str, at: Option<u64>) -> Vec<String> {
    let page = store.list(prefix, None, 0, at).await.expect("a page");
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

for_every_engine!(a_write_is_seen_with_its_revision_in_its_bytes, async |store: Shared| {
    assert_eq!(store.revision(), 0);
    let committed = store.transact(vec![create("/a/1", "x")]).await.expect("created");
    assert_eq!((committed.revision, store.revision()), (1, 1));
    let entry = store.get("/a/1", None).await.expect("a read").expect("an entry");
    assert_eq!(entry.bytes, written("x", 1));
    assert_eq!((entry.create_revision, entry.mod_revision), (1, 1));
    store.transact(vec![update("/a/1", 1, "y")]).await.expect("updated");
    let entry = store.get("/a/1", None).await.expect("a read").expect("an entry");
    assert_eq!((entry.create_revision, entry.mod_revision), (1, 2));
    let removed = store.transact(vec![delete("/a/1", 2)]).await.expect("deleted");
    assert_eq!(removed.entries[0].as_ref().map(|entry| entry.mod_revision), Some(2));
    assert!(store.get("/a/1", None).await.expect("a read").is_none());
    let again = store.transact(vec![create("/a/1", "z")]).await.expect("created again");
    assert_eq!(again.entries[0].as_ref().map(|entry| entry.create_revision), Some(4));
});

for_every_engine!(a_failed_expectation_shows_what_stands_there, async |store: Shared| {
    store.transact(vec![create("/a", "x")]).await.expect("created");
    for (operation, stands) in [
        (create("/a", "y"), true),
        (update("/a", 7, "y"), true),
        (delete("/b", 1), false),
        (check("/a", Expect::Absent), true),
    ] {
        let error = store.transact(vec![create("/c", "z"), operation]).await.expect_err("refused");
        let StoreError::Conflict { current, .. } = error else { panic!("{error}") };
        assert_eq!(current.is_some(), stands);
    }
    assert_eq!(store.revision(), 1);
    assert!(store.get("/c", None).await.expect("a read").is_none(), "the whole transaction is refused");
});

for_every_engine!(checks_take_no_revision, async |store: Shared| {
    store.transact(vec![create("/a", "x")]).await.expect("created");
    let operations = vec![check("/a", Expect::Revision(1)), check("/b", Expect::Absent)];
    let committed = store.transact(operations).await.expect("holds");
    assert_eq!((committed.revision, store.revision()), (1, 1));
    assert!(committed.entries[0].is_some() && committed.entries[1].is_none());
});

for_every_engine!(a_key_may_appear_once_in_a_transaction, async |store: Shared| {
    let error = store.transact(vec![create("/a", "x"), create("/a", "y")]).await.expect_err("refused");
    assert!(matches!(error, StoreError::Engine { .. }), "{error}");
    assert_eq!(store.revision(), 0);
});

for_every_engine!(a_transaction_is_one_revision, async |store: Shared| {
    store.transact(vec![create("/a", "x"), create("/b", "x")]).await.expect("created");
    let committed = store.transact(vec![delete("/a", 1), update("/b", 1, "y"), create("/c", "x")]).await;
    assert_eq!(committed.expect("done").revision, 2);
    assert_eq!(keys(&store, "/", None).await, ["/b", "/c"]);
    assert_eq!(keys(&store, "/", Some(1)).await, ["/a", "/b"]);
    let mut events = store.watch("/", 0).await.expect("a watch");
    let expected = ["1 added /a", "1 added /b", "2 deleted /a", "2 changed /b", "2 added /c"];
    assert_eq!(told(ready(&mut events)), expected);
});

for_every_engine!(concurrent_writers_to_one_key_have_one_winner, async |store: Shared| {
    let texts: Vec<String> = (0..32).map(|n| n.to_string()).collect();
    let outcomes = join_all(texts.iter().map(|text| store.transact(vec![create("/a", text)]))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let others = join_all((0..32).map(|n| store.transact(vec![create(&format!("/b/{n}"), "x")]))).await;
    assert!(others.iter().all(Result::is_ok));
    assert_eq!(store.revision(), 33);
});

for_every_engine!(amendments_of_one_key_all_count_however_many_there_are_at_once, async |store: Shared| {
    store.transact(vec![create("/a", "x"), create("/b", "x")]).await.expect("created");
    // Some name the keys the other way round; every third is refused for something else.
    let sent = (0..30).map(|n| {
        let mut operations = vec![amend("/a", 'a', 100), amend("/b", 'b', 100)];
        if n % 2 == 1 {
            operations.reverse();
        }
        let third = if n % 3 == 0 { check("/no", Expect::Present) } else { create(&format!("/c/{n}"), "x") };
        operations.push(third);
        store.transact(operations)
    });
    let outcomes = join_all(sent).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 20);
    let entry = store.get("/a", None).await.expect("a read").expect("an entry");
    assert_eq!(entry.bytes, written(&format!("x{}", "a".repeat(20)), 21));
    let entry = store.get("/b", None).await.expect("a read").expect("an entry");
    assert_eq!(entry.bytes, written(&format!("x{}", "b".repeat(20)), 21));
    assert_eq!(entry.create_revision, 1);
    // The limit is met exactly, and what the amendment will not do is a conflict, as is a key that is not there.
    let outcomes = join_all((0..9).map(|_| store.transact(vec![amend("/a", 'c', 25)]))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    for (operation, stands) in [(amend("/a", 'c', 25), true), (amend("/z", 'c', 25), false)] {
        let error = store.transact(vec![create("/d", "z"), operation]).await.expect_err("refused");
        let StoreError::Conflict { current, .. } = error else { panic!("{error}") };
        assert_eq!(current.is_some(), stands);
    }
    assert!(store.get("/d", None).await.expect("a read").is_none());
    assert_eq!(store.revision(), 25);
});

for_every_engine!(lists_are_ordered_and_paged, async |store: Shared| {
    for key in ["/p/c", "/p/a", "/q/a", "/p/b", "/o/z", "/p/d"] {
        store.transact(vec![create(key, "x")]).await.expect("created");
    }
    assert_eq!(keys(&store, "/p/", None).await, ["/p/a", "/p/b", "/p/c", "/p/d"]);
    let first = store.list("/p/", None, 2, None).await.expect("a page");
    assert_eq!((first.entries.len(), first.remaining, first.revision), (2, 2, 6));
    store.transact(vec![create("/p/bb", "late")]).await.expect("created");
    let second = store.list("/p/", Some("/p/b"), 2, Some(6)).await.expect("a page");
    let shown: Vec<&str> = second.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!((shown, second.remaining, second.revision), (vec!["/p/c", "/p/d"], 0, 6));
    assert_eq!(keys(&store, "/nothing", None).await, [""; 0]);
});

for_every_engine!(the_past_stays_readable_until_compacted, async |store: Shared| {
    store.transact(vec![create("/a", "one")]).await.expect("created");
    store.transact(vec![update("/a", 1, "two")]).await.expect("updated");
    store.transact(vec![delete("/a", 2)]).await.expect("deleted");
    store.transact(vec![create("/b", "x")]).await.expect("created");
    for (at, text) in [(1, Some("one")), (2, Some("two")), (3, None), (4, None)] {
        let entry = store.get("/a", Some(at)).await.expect("a read");
        let expected = text.map(|text| written(text, at));
        assert_eq!(entry.map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()), expected);
    }
    assert!(matches!(store.get("/a", Some(9)).await, Err(StoreError::Future { asked: 9, current: 4 })));
    store.compact(3).await.expect("compacted");
    assert!(matches!(store.get("/a", Some(2)).await, Err(StoreError::Compacted { asked: 2, floor: 3 })));
    assert!(matches!(store.list("/", None, 0, Some(2)).await, Err(StoreError::Compacted { .. })));
    assert!(matches!(store.watch("/", 2).await.err(), Some(StoreError::Compacted { .. })));
    assert!(store.get("/a", Some(3)).await.expect("a read").is_none());
    assert_eq!(keys(&store, "/", Some(4)).await, ["/b"]);
    let mut events = store.watch("/", 3).await.expect("a watch");
    assert_eq!(told(ready(&mut events)), ["4 added /b"]);
    store.compact(99).await.expect("means the newest");
    store.compact(1).await.expect("changes nothing");
    assert_eq!(keys(&store, "/", None).await, ["/b"]);
});

for_every_engine!(watches_replay_then_follow, async |store: Shared| {
    store.transact(vec![create("/p/a", "x")]).await.expect("created");
    store.transact(vec![create("/q/a", "x")]).await.expect("created");
    store.transact(vec![update("/p/a", 1, "y")]).await.expect("updated");
    let mut all = store.watch("/p/", 0).await.expect("a watch");
    let mut late = store.watch("/p/", 1).await.expect("a watch");
    let mut one = store.watch("/q/a", 3).await.expect("a watch");
    assert!(matches!(store.watch("/p/", 4).await.err(), Some(StoreError::Future { .. })));
    store.transact(vec![delete("/p/a", 3)]).await.expect("deleted");
    store.transact(vec![delete("/q/a", 2)]).await.expect("deleted");
    assert_eq!(told(ready(&mut all)), ["1 added /p/a", "3 changed /p/a", "4 deleted /p/a"]);
    assert_eq!(told(ready(&mut late)), ["3 changed /p/a", "4 deleted /p/a"]);
    assert_eq!(told(ready(&mut one)), ["5 deleted /q/a"]);
});

for_every_engine!(a_waiting_watcher_is_woken, async |store: Shared| {
    let mut events = store.watch("/", 0).await.expect("a watch");
    let writer = store.clone();
    let task = tokio::spawn(async move { writer.transact(vec![create("/a", "x")]).await });
    let event = events.next().await.expect("an event").expect("no error");
    assert_eq!(event.revision, 1);
    task.await.expect("no panic").expect("created");
});

for_every_engine!(a_watcher_that_sleeps_is_cut_off, async |store: Shared| {
    let mut asleep = store.watch("/", 0).await.expect("a watch");
    for transaction in 0..20 {
        let operations = (0..1_000).map(|n| create(&format!("/{transaction}/{n}"), "x")).collect();
        store.transact(operations).await.expect("created");
    }
    let rest = ready(&mut asleep);
    assert!(matches!(rest[..], [Err(StoreError::Compacted { .. })]), "{}", rest.len());
    let mut awake = store.watch("/19/99", 0).await.expect("a watch");
    assert_eq!(ready(&mut awake).len(), 11);
});

for_every_engine!(closing_ends_watches_and_refuses_writes, async |store: Shared| {
    let mut events = store.watch("/", 0).await.expect("a watch");
    store.transact(vec![create("/a", "x")]).await.expect("created");
    store.close().await;
    assert_eq!(told(ready(&mut events)), ["1 added /a", "error: the store is closed"]);
    assert!(matches!(store.transact(vec![create("/b", "x")]).await, Err(StoreError::Closed)));
    assert!(matches!(store.watch("/", 1).await.err(), Some(StoreError::Closed)));
});

fn author(user: &str) -> Option<Arc<Author>> {
    Some(Arc::new(Author { user: user.to_owned(), manager: "m".to_owned(), verb: "patch".to_owned() }))
}

/// `revision user text-or-gone` of each version.
fn signed(versions: &[Version]) -> Vec<String> {
    let told = |version: &Version| {
        let user = version.author.as_ref().map_or("nobody", |author| author.user.as_str());
        let text = version.entry.as_ref().map_or("gone".to_owned(), |entry| {
            String::from_utf8_lossy(&entry.bytes).rsplit('"').nth(1).unwrap_or_default().to_owned()
        });
        format!("{} {user} {text}", version.revision)
    };
    versions.iter().map(told).collect()
}

for_every_engine!(versions_tell_who_and_when, async |store: Shared| {
    store.transact_as(vec![create("/a", "one"), create("/ab", "x")], author("ann")).await.expect("created");
    store.transact(vec![update("/a", 1, "two")]).await.expect("updated");
    store.transact_as(vec![create("/b", "x")], author("bob")).await.expect("created");
    store.transact_as(vec![delete("/a", 2)], author("bob")).await.expect("deleted");
    store.transact_as(vec![create("/a", "three")], author("ann")).await.expect("created");
    let versions = store.versions("/a", 10).await.expect("versions");
    let expected = ["1 ann one", "2 nobody two", "4 bob gone", "5 ann three"];
    assert_eq!(signed(&versions), expected);
    assert_eq!(signed(&store.versions("/a", 2).await.expect("versions")), expected[2..]);
    assert_eq!(signed(&store.versions("/c", 2).await.expect("versions")), [""; 0]);
    let times: Vec<i64> = versions.iter().filter_map(|version| version.time).collect();
    assert!(times.len() == 4 && times.is_sorted(), "{times:?}");
    assert!(store.revision_at(times[1]).await.expect("a revision") >= 2);
    assert_eq!(store.revision_at(i64::MAX).await.expect("a revision"), 5);
    assert!(matches!(store.revision_at(0).await, Err(StoreError::Compacted { .. })));
    store.compact(2).await.expect("compacted");
    assert_eq!(signed(&store.versions("/a", 10).await.expect("versions"))[1..], expected[2..]);
});

for_every_engine!(what_was_removed_is_found, async |store: Shared| {
    for key in ["/p/a", "/p/b", "/p/c", "/q/a"] {
        store.transact(vec![create(key, "x")]).await.expect("created");
    }
    store.transact_as(vec![delete("/p/b", 2)], author("ann")).await.expect("deleted");
    store.transact(vec![create("/p/b", "again")]).await.expect("created");
    store.transact_as(vec![delete("/p/b", 6), delete("/p/a", 1)], author("bob")).await.expect("deleted");
    store.transact(vec![delete("/q/a", 4)]).await.expect("deleted");
    let removals = async |after, since, limit| {
        let found = store.removals("/p/", after, since, limit).await.expect("removals");
        found.iter().map(|v| format!("{} {}", v.key, signed(std::slice::from_ref(v))[0])).collect::<Vec<_>>()
    };
    assert_eq!(removals(None, 0, 9).await, ["/p/a 7 bob gone", "/p/b 7 bob gone"]);
    assert_eq!(removals(None, 0, 1).await, ["/p/a 7 bob gone"]);
    assert_eq!(removals(Some("/p/a"), 0, 9).await, ["/p/b 7 bob gone"]);
    assert_eq!(removals(None, 7, 9).await, [""; 0]);
    store.transact(vec![create("/p/b", "once more")]).await.expect("created");
    assert_eq!(removals(None, 0, 9).await, ["/p/a 7 bob gone"]);
    store.compact(8).await.expect("compacted");
    assert_eq!(removals(None, 0, 9).await, [""; 0]);
});

for_every_engine!(more_than_etcd_takes_is_refused, async |store: Shared| {
    let large = "x".repeat(1536 * 1024);
    let refused = store.transact(vec![create("/a", &large)]).await.expect_err("too large");
    assert!(matches!(refused, StoreError::TooLarge(_)), "{refused}");
    assert_eq!(refused.to_string(), "etcdserver: request is too large");
    store.transact(vec![create("/a", &large[..1_400_000])]).await.expect("fits");
    assert_eq!(store.revision(), 1);
});
