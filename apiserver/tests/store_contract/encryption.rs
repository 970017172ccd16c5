//! What stands on the disk of each engine when values are encrypted, what a lost key does, and new keys.

use std::path::Path;
use std::sync::Arc;

use apiserver::encryption::Encryption;
use apiserver::storage::embedded::{Embedded, Limits, snapshot};
use apiserver::storage::etcd::Options;
use apiserver::storage::{Resealed, Store, StoreError};
use component_base::clock::RealClock;
use component_base::rng::Rng;
use futures::StreamExt as _;

use crate::etcd_server::EtcdServer;
use crate::fixture::{create, delete, open, update, written};

const SECRET: &str = "/registry/core/secrets/a/one";
const OTHER: &str = "/registry/core/secrets/a/two";
const PLAIN: &str = "/registry/core/configmaps/a/one";
const PLANTED: [&str; 3] = ["planted-in-the-clear", "planted-by-an-update", "planted-while-encrypted"];

fn keys(file: &Path) -> Encryption {
    Encryption::own(file, false, RealClock::shared(), Rng::from_system()).expect("keys")
}

fn sealed(directory: &Path, encryption: Encryption) -> Arc<Embedded> {
    Embedded::open_sealed(
        directory,
        RealClock::shared(),
        Limits { ring_events: 2, ..Limits::default() },
        encryption,
    )
    .expect("a store")
}

/// The files below a directory that hold a text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let files =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    files
        .filter(|path| path.is_file())
        .filter(|path| {
            let bytes = std::fs::read(path).expect("a file");
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[tokio::test]
async fn a_store_from_before_is_encrypted_with_its_past() {
    let place = tempfile::tempdir().expect("a directory");
    let (directory, file) = (place.path().join("store"), place.path().join("encryption.yaml"));
    let store = open(&directory, Limits::default()).expect("a store without encryption");
    store.transact(vec![create(SECRET, PLANTED[0])]).await.expect("created");
    store.transact(vec![update(SECRET, 1, PLANTED[1])]).await.expect("updated");
    store.transact(vec![create(PLAIN, "for all to see")]).await.expect("created");
    store.close().await;
    assert!(!holding(&directory, PLANTED[0]).is_empty());

    let store = sealed(&directory, keys(&file));
    store.transact(vec![create(OTHER, PLANTED[2])]).await.expect("created");
    assert_eq!(store.reseal().await.expect("encrypted"), Resealed { rewritten: 2, unreadable: 0 });
    assert_eq!(store.reseal().await.expect("nothing is left"), Resealed::default());
    for text in PLANTED {
        assert_eq!(holding(&directory, text), Vec::<String>::new(), "{text}, while it runs");
    }
    assert!(!holding(&directory, "for all to see").is_empty());
    let past = store.get(SECRET, Some(1)).await.expect("readable").expect("an entry");
    assert_eq!(past.bytes, written(PLANTED[0], 1));
    assert_eq!(store.versions(SECRET, 9).await.expect("readable").len(), 2);
    store.transact(vec![delete(OTHER, 4)]).await.expect("deleted");
    let removed = store.removals("/registry/", None, 0, 9).await.expect("readable");
    assert_eq!(removed.len(), 1);
    store.close().await;

    let store = sealed(&directory, keys(&file));
    let now = store.get(SECRET, None).await.expect("readable").expect("an entry");
    assert_eq!(now.bytes, written(PLANTED[1], 2));
    let saved = place.path().join("snapshot");
    snapshot::save(&directory, &saved, "1.0", "2026-01-01T00:00:00Z").expect("saved");
    store.close().await;
    for text in PLANTED {
        assert_eq!(holding(&directory, text), Vec::<String>::new(), "{text}");
        assert_eq!(holding(place.path(), text), Vec::<String>::new(), "{text} in the snapshot");
    }
    let restored = place.path().join("restored");
    snapshot::restore(&saved, &restored).expect("restored");
    let store = sealed(&restored, keys(&file));
    let now = store.get(SECRET, None).await.expect("readable").expect("an entry");
    assert_eq!(now.bytes, written(PLANTED[1], 2));
    store.close().await;
}

#[tokio::test]
async fn a_lost_key_is_named_and_concerns_nothing_else() {
    let place = tempfile::tempdir().expect("a directory");
    let (directory, file) = (place.path().join("store"), place.path().join("encryption.yaml"));
    let store = sealed(&directory, keys(&file));
    store.transact(vec![create(SECRET, PLANTED[0])]).await.expect("created");
    store.transact(vec![create(PLAIN, "x")]).await.expect("created");
    store.close().await;
    let kept = std::fs::read(&file).expect("the keys");
    let name = String::from_utf8_lossy(&kept)
        .split_once("{name: ")
        .expect("a key")
        .1
        .split(',')
        .next()
        .map(str::to_owned);
    std::fs::remove_file(&file).expect("lost");

    let encryption = keys(&file);
    let store = sealed(&directory, encryption.clone());
    let refused = |error: StoreError| {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Sealed(_)), "{text}");
        assert!(
            text.contains(&format!("unable to transform key {SECRET:?}: no matching key was found")),
            "{text}"
        );
        assert!(
            text.contains(name.as_deref().expect("a name")) && text.contains("encryption.yaml"),
            "{text}"
        );
    };
    refused(store.get(SECRET, None).await.expect_err("no key"));
    refused(store.list("/registry/core/secrets/", None, 0, None).await.expect_err("no key"));
    refused(store.versions(SECRET, 9).await.expect_err("no key"));
    assert!(store.get(PLAIN, None).await.expect("another resource").is_some());
    assert_eq!(
        store.list("/registry/core/configmaps/", None, 0, None).await.expect("a list").entries.len(),
        1
    );
    store.transact(vec![create(OTHER, PLANTED[2])]).await.expect("new ones are written");
    assert!(store.get(OTHER, None).await.expect("with the new key").is_some());
    let mut events = store.watch("/registry/core/secrets/", 0).await.expect("a watch");
    refused(events.next().await.expect("a word").expect_err("no key"));
    assert_eq!(store.reseal().await.expect("looked at"), Resealed { rewritten: 0, unreadable: 1 });

    // The key is back: no restart is needed.
    std::fs::write(&file, kept).expect("put back");
    encryption.reload().expect("read again");
    assert!(store.get(SECRET, None).await.expect("readable").is_some());
    store.close().await;
}

#[tokio::test]
async fn on_etcd_values_are_sealed_and_those_from_before_follow() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("encryption.yaml");
    let server = EtcdServer::start();
    let plain = server.open(Options { history: None, ..Options::default() }).await;
    plain.transact(vec![create(SECRET, PLANTED[0])]).await.expect("created");
    let store = server.open(Options { history: None, encryption: keys(&file), ..Options::default() }).await;
    let mut events = store.watch("/registry/", store.revision()).await.expect("a watch");
    assert!(store.get(SECRET, None).await.expect("readable").is_some());
    assert_eq!(store.reseal().await.expect("encrypted"), Resealed { rewritten: 1, unreadable: 0 });
    assert_eq!(store.reseal().await.expect("nothing is left"), Resealed::default());
    store.transact(vec![create(OTHER, PLANTED[2])]).await.expect("created");
    for key in [SECRET, OTHER] {
        let event = events.next().await.expect("an event").expect("no error");
        let entry = event.entry.expect("a write");
        assert!(&*entry.key == key && !entry.is_sealed());
        // A server without keys sees that it is sealed, and serves the rest.
        let refused = plain.get(key, None).await.expect_err("no key").to_string();
        assert!(refused.contains("identity transformer tried to read encrypted data"), "{refused}");
    }
    plain.transact(vec![create(PLAIN, "x")]).await.expect("created");
    assert!(plain.get(PLAIN, None).await.expect("another resource").is_some());
    plain.close().await;
    store.close().await;
}
