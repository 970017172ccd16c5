//! Snapshots of the embedded store, and damage to them.

use apiserver::storage::embedded::{Limits, snapshot};
use apiserver::storage::{Store, StoreError};
use component_base::rng::Rng;

use crate::fixture::{create, delete, open, update, written};

const TIME: &str = "2026-01-01T00:00:00Z";

/// A store with a few objects, a past and something removed.
pub async fn filled(directory: &std::path::Path) -> std::sync::Arc<apiserver::storage::embedded::Embedded> {
    let store = open(directory, Limits::default()).expect("a store");
    for number in 0..200 {
        store.transact(vec![create(&format!("/{number:03}"), &"x".repeat(number))]).await.expect("created");
    }
    store.transact(vec![update("/001", 2, "changed")]).await.expect("updated");
    store.transact(vec![delete("/002", 3)]).await.expect("deleted");
    store
}

#[tokio::test]
async fn a_snapshot_of_a_store_in_use_is_restored_and_watchers_notice() {
    let directory = tempfile::tempdir().expect("a directory");
    let (live, file) = (directory.path().join("live"), directory.path().join("snapshot"));
    let store = filled(&live).await;
    let summary = snapshot::save(&live, &file, "1.0", TIME).expect("saved");
    assert_eq!((summary.revision, summary.objects, summary.versions), (202, 199, 202));
    store.transact(vec![create("/later", "x")]).await.expect("the store goes on");
    assert_eq!(snapshot::verify(&file).expect("sound"), summary);
    let again = snapshot::save(&live, &file, "1.0", TIME).expect_err("not overwritten");
    assert!(again.to_string().contains("write"), "{again}");
    let occupied = snapshot::restore(&file, &live).expect_err("not empty");
    assert!(occupied.to_string().contains("restore into"), "{occupied}");
    store.close().await;

    let restored = directory.path().join("restored");
    snapshot::restore(&file, &restored).expect("restored");
    let store = open(&restored, Limits::default()).expect("the restored store");
    let shown = store.list("/", None, 0, None).await.expect("a list");
    assert_eq!(shown.entries.len(), 199);
    let entry = store.get("/001", None).await.expect("a read").expect("an entry");
    assert_eq!(entry.bytes, written("changed", 201));
    // 203 was "/later", which is lost: who saw it must not go on as if nothing had happened.
    assert!(matches!(store.watch("/", 203).await.err(), Some(StoreError::Compacted { .. })));
    let committed = store.transact(vec![update("/001", 201, "more")]).await.expect("updated");
    assert!(committed.revision > 1_000_000_000, "{}", committed.revision);
    store.close().await;
    let store = open(&restored, Limits::default()).expect("the restored store again");
    assert_eq!(store.revision(), committed.revision);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_with_the_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let (live, file) = (directory.path().join("live"), directory.path().join("snapshot"));
    filled(&live).await.close().await;
    snapshot::save(&live, &file, "1.0", TIME).expect("saved");
    let sound = std::fs::read(&file).expect("the file");
    let rng = Rng::seeded(7);
    for round in 0..200 {
        let mut bytes = sound.clone();
        let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
        if round % 4 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << (round % 8);
        }
        std::fs::write(&file, &bytes).expect("damaged");
        let error = snapshot::verify(&file).expect_err("damaged");
        assert!(matches!(error, StoreError::Damaged(_) | StoreError::Version(_)), "{at}: {error}");
        let target = directory.path().join(format!("restored-{round}"));
        snapshot::restore(&file, &target).expect_err("damaged");
        assert!(!target.join("store.db").exists(), "nothing is there before all of it is");
    }
}
