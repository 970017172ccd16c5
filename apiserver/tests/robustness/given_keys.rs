//! An encryption configuration that is changed while the server runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apiserver::LocalService;
use apiserver::encryption::Encryption;
use apiserver::storage::Store as _;
use apiserver::storage::embedded::{Embedded, Limits};
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use serde_json::{Value, json};

use crate::{raw, scene};

const JSON: &str = "application/json";
/// How often an effect is looked for that a changed file has.
const MANY_LOOKS: usize = 1_000;

fn write(file: &Path, providers: &Value) {
    let rule = json!({"resources": ["secrets"], "providers": providers});
    let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [rule]});
    std::fs::write(file, text.to_string()).expect("written");
}

fn key(name: &str, base64: &str) -> Value {
    json!({"aesgcm": {"keys": [{"name": name, "secret": base64}]}})
}

/// The state of encryption once something is so; the kernel's word of a changed file comes in real time.
#[expect(clippy::disallowed_methods, reason = "nothing but the effect tells that the file was read")]
async fn once(server: &LocalService, so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..MANY_LOOKS {
        let (code, answer) = raw(server, "GET", "/gantry.dev/encryption", JSON, &Value::Null).await;
        assert_eq!(code, 200, "{answer}");
        let status = serde_json::from_str(&answer).expect("JSON");
        if so(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the changed file has no effect");
}

#[tokio::test]
async fn a_changed_file_counts_while_the_server_runs() {
    const ONE: &str = "/api/v1/namespaces/default/secrets/one";
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("encryption.json");
    let first = key("first", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let second = key("second", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=");
    write(&file, &json!([first]));
    let (clock, shutdown) = (RealClock::shared(), Shutdown::new());
    let keys = Encryption::given(&file, true, Arc::clone(&clock), Rng::seeded(1)).expect("keys");
    let directory = place.path().join("store");
    let store = Embedded::open_sealed(&directory, Arc::clone(&clock), Limits::default(), keys);
    let store = store.expect("a store");
    let config = scene::config_in(&place.path().join("pki"), None, clock.now());
    let running = apiserver::run(config, store.clone(), clock, Rng::seeded(1), shutdown.clone());
    let server = running.await.expect("a server").local;
    let secret = json!({"metadata": {"name": "one"}, "stringData": {"a": "b"}});
    let (code, answer) = raw(&server, "POST", "/api/v1/namespaces/default/secrets", JSON, &secret).await;
    assert_eq!(code, 201, "{answer}");
    let writes = |status: &Value, name: &str| {
        status["rules"][0]["providers"][0] == format!("aesgcm key {name:?}") && status["rewriting"] == false
    };
    once(&server, |status| writes(status, "first")).await;

    write(&file, &json!([second, first]));
    let status = once(&server, |status| writes(status, "second") && status["rewritten"] == 1).await;
    assert_eq!(status["unreadable"], 0, "{status}");
    std::fs::write(&file, "nonsense").expect("written");
    let status = once(&server, |_| true).await;
    assert!(writes(&status, "second"), "a mistake changes nothing: {status}");
    // What was there is sealed anew: the first key is not needed any more.
    write(&file, &json!([second]));
    once(&server, |status| status["rules"][0]["providers"] == json!(["aesgcm key \"second\""])).await;
    let (code, answer) = raw(&server, "GET", ONE, JSON, &Value::Null).await;
    assert!(code == 200 && answer.contains("\"Yg==\""), "{code} {answer}");

    // A key service that nobody is at can be asked for in checks of health, and is in the way of readiness.
    let (code, answer) = raw(&server, "GET", "/healthz/kms-providers", JSON, &Value::Null).await;
    assert_eq!(code, 404, "none is configured: {answer}");
    let nobody = format!("unix://{}", place.path().join("none.sock").display());
    let service = json!({"kms": {"apiVersion": "v2", "name": "far", "endpoint": nobody, "timeout": "1s"}});
    write(&file, &json!([service, second]));
    once(&server, |status| status["rules"][0]["providers"][0] == "kms \"far\"").await;
    for root in ["/healthz", "/livez", "/readyz"] {
        let (code, answer) = raw(&server, "GET", root, JSON, &Value::Null).await;
        assert_eq!(code, 500, "{answer}");
        assert!(answer.contains("[-]kms-providers failed: reason withheld"), "{answer}");
        let (code, answer) = raw(&server, "GET", &format!("{root}/kms-providers"), JSON, &Value::Null).await;
        assert_eq!((code, answer.as_str()), (500, "internal server error: kms-providers check failed\n"));
    }
    let (code, _) = raw(&server, "GET", ONE, JSON, &Value::Null).await;
    assert_eq!(code, 200, "what is sealed with keys of the file can be read");
    shutdown.trigger();
    shutdown.drained().await;
    store.close().await;
}
