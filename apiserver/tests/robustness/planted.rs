//! A secret is planted in every way there is, and then looked for wherever something is written down.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver::LocalService;
use apiserver::encryption::Encryption;
use apiserver::storage::Store as _;
use apiserver::storage::embedded::{Embedded, Limits, snapshot};
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{raw, scene};

/// Never to be seen, as it is or as base64.
const PLANTED: [(&str, &str); 4] = [
    ("planted-by-create", "cGxhbnRlZC1ieS1jcmVhdGU"),
    ("planted-by-update", "cGxhbnRlZC1ieS11cGRhdGU"),
    ("planted-by-patchx", "cGxhbnRlZC1ieS1wYXRjaHg"),
    ("planted-by-applyx", "cGxhbnRlZC1ieS1hcHBseXg"),
];

const ONE: &str = "/api/v1/namespaces/default/secrets/one";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn assert_clean(name: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for form in PLANTED.iter().flat_map(|(clear, base64)| [clear, base64]) {
        if let Some(at) = text.find(form) {
            let start = text.floor_char_boundary(at.saturating_sub(200));
            panic!("{form} is in {name}: …{}", &text[start..at + form.len()]);
        }
    }
}

async fn plant(server: &LocalService) {
    let secret = |number: usize| {
        let (clear, base64) = PLANTED[number];
        let applied = json!({"stringData": {"key": clear}}).to_string();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
            "data": {"b": format!("{base64}=")}, "stringData": {"key": clear}})
    };
    let (json, merge, apply) =
        ("application/json", "application/merge-patch+json", "application/apply-patch+yaml");
    let wrong = json!({"stringData": {"key": PLANTED[2].0}, "data": {"bad": PLANTED[2].0, "n": 7}});
    let unreadable = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"},
        "data": {"bad": PLANTED[3].0}});
    let forced = format!("{ONE}?fieldManager=m&force=true");
    for (method, path, media, body, expected) in [
        ("POST", "/api/v1/namespaces/default/secrets", json, secret(0), 201),
        ("POST", "/api/v1/namespaces/default/secrets", json, secret(0), 409),
        ("PUT", ONE, json, secret(1), 200),
        ("PATCH", ONE, merge, wrong, 422),
        ("PATCH", ONE, merge, json!({"stringData": {"key": PLANTED[2].0}}), 200),
        ("PATCH", &forced, apply, secret(3), 200),
        ("PUT", ONE, json, unreadable, 400),
        ("GET", &format!("{ONE}?gantry.dev/history=true"), json, Value::Null, 200),
        ("DELETE", ONE, json, json!({}), 200),
    ] {
        let (code, answer) = raw(server, method, path, media, &body).await;
        assert_eq!(code, expected, "{method} {path}: {answer}");
        if code >= 400 || path.contains("history") {
            assert_clean("an answer that shows no secret", answer.as_bytes());
        }
    }
}

/// A server whose store, keys and log are in a directory; keys come of the seed.
struct Running {
    server: LocalService,
    store: Arc<Embedded>,
    shutdown: Shutdown,
}

async fn start(place: &Path, audit: Option<&Path>, seed: u64) -> Running {
    let (clock, rng, shutdown) = (RealClock::shared(), Rng::seeded(seed), Shutdown::new());
    let pki = place.join("pki");
    let mut config = scene::config_in(&pki, None, clock.now());
    config.audit.log = audit.map(crate::audited::log);
    let keys =
        Encryption::own(&pki.join("encryption.yaml"), false, Arc::clone(&clock), rng.clone()).expect("keys");
    let store = Embedded::open_sealed(&place.join("store"), Arc::clone(&clock), Limits::default(), keys)
        .expect("a store");
    let running =
        apiserver::run(config, store.clone(), clock, rng, shutdown.clone()).await.expect("a server");
    Running { server: running.local, store, shutdown }
}

#[tokio::test]
async fn a_lost_key_costs_what_it_sealed_and_nothing_else() {
    let place = tempfile::tempdir().expect("a directory");
    let (secrets, maps) = ("/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/configmaps");
    let json = "application/json";
    let Running { server, store, shutdown } = start(place.path(), None, 1).await;
    for path in [secrets, maps] {
        let (code, answer) = raw(&server, "POST", path, json, &json!({"metadata": {"name": "one"}})).await;
        assert_eq!(code, 201, "{answer}");
    }
    shutdown.trigger();
    shutdown.drained().await;
    store.close().await;
    std::fs::remove_file(place.path().join("pki/encryption.yaml")).expect("the key is gone");

    let Running { server, store, shutdown } = start(place.path(), None, 2).await;
    let (code, _) = raw(&server, "GET", &format!("{maps}/one"), json, &Value::Null).await;
    assert_eq!(code, 200);
    let (code, refusal) = raw(&server, "GET", ONE, json, &Value::Null).await;
    assert_eq!(code, 500, "{refusal}");
    assert!(refusal.contains("encryption.yaml"), "the file is named: {refusal}");
    let (code, answer) = raw(&server, "POST", secrets, json, &json!({"metadata": {"name": "two"}})).await;
    assert_eq!(code, 201, "{answer}");
    shutdown.trigger();
    shutdown.drained().await;
    store.close().await;
}

#[tokio::test]
async fn a_planted_secret_is_found_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish()
        .init();
    let place = tempfile::tempdir().expect("a directory");
    let audit = place.path().join("audit/audit.log");
    let Running { server, store, shutdown } = start(place.path(), Some(&audit), 1).await;
    plant(&server).await;
    let mut all = Vec::new();
    files(place.path(), &mut all);
    assert!(all.iter().any(|path| path.ends_with("store.db-wal")), "{all:?}");
    snapshot::save(&place.path().join("store"), &place.path().join("snapshot"), "1", "2026-01-01T00:00:00Z")
        .expect("saved");
    shutdown.trigger();
    shutdown.drained().await;
    files(place.path(), &mut all);
    let deleted = |event: &Value| event["verb"] == "delete" && event["objectRef"]["name"] == "one";
    assert!(crate::audited::events(&audit).iter().any(deleted), "the audit log was written");
    for path in all {
        assert_clean(&path.display().to_string(), &std::fs::read(&path).expect("a file"));
    }
    store.close().await;
    let log = log.0.lock();
    assert!(log.len() > 1_000, "the log was taken");
    assert_clean("the log", &log);
}
