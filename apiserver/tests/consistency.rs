//! What a watch tells adds up to what a list shows, whatever happens in between and through any selector; and what
//! quotas say is used adds up to what is there, however many write at once.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "store_contract/etcd_server.rs"]
#[allow(dead_code, reason = "only the server is used here, not the contract's store")]
mod etcd_server;
#[path = "scene/server.rs"]
mod scene;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::LocalService;
use apiserver::storage::Store;
use apiserver::storage::embedded::Embedded;
use apiserver::storage::etcd::Options;
use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::{FakeClock, RealClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use etcd_server::EtcdServer;
use http::Request;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

/// One step of a user: on one of a few names, with one of a few labels.
#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8),
    Label(u8, u8),
    Hold(u8),
    Free(u8),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (name, label) = (0_u8..4, 0_u8..3);
    let step = prop_oneof![
        3 => (name.clone(), label.clone()).prop_map(|(n, l)| Step::Create(n, l)),
        3 => (name.clone(), label).prop_map(|(n, l)| Step::Label(n, l)),
        1 => name.clone().prop_map(Step::Hold),
        1 => name.clone().prop_map(Step::Free),
        2 => name.prop_map(Step::Delete),
    ];
    proptest::collection::vec(step, 1..40)
}

struct World {
    server: LocalService,
    clock: Arc<FakeClock>,
    _pki: tempfile::TempDir,
}

async fn world() -> World {
    world_over(Memory::open()).await
}

async fn world_over(store: Arc<dyn Store>) -> World {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock = FakeClock::at(now);
    let (config, directory) = scene::config(None, now);
    let running =
        apiserver::run(config, store, Arc::clone(&clock) as _, Rng::seeded(1), Shutdown::new()).await;
    World { server: running.expect("a server").local, clock, _pki: directory }
}

impl World {
    async fn send(&self, method: &str, uri: &str, body: Option<Value>) -> (u16, String) {
        let patch = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(uri).header("content-type", patch);
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
        let response = self.server.answer(request).await;
        // A watch is read to its end, which is one second away.
        if uri.contains("watch=") {
            self.clock.advance(Duration::from_secs(1));
        }
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (code, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    async fn step(&self, step: &Step) {
        let uri = |name: &u8| format!("{COLLECTION}/c{name}");
        let label = |label: &u8| json!({"metadata": {"labels": {"l": label.to_string()}}});
        let (code, text) = match step {
            Step::Create(name, value) => {
                let mut object = label(value);
                object["metadata"]["name"] = format!("c{name}").into();
                self.send("POST", COLLECTION, Some(object)).await
            }
            Step::Label(name, value) => self.send("PATCH", &uri(name), Some(label(value))).await,
            Step::Hold(name) => {
                let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
                self.send("PATCH", &uri(name), Some(held)).await
            }
            Step::Free(name) => {
                self.send("PATCH", &uri(name), Some(json!({"metadata": {"finalizers": null}}))).await
            }
            Step::Delete(name) => self.send("DELETE", &uri(name), None).await,
        };
        assert!([200, 201, 404, 409, 422].contains(&code), "{step:?}: {code} {text}");
    }

    async fn list(&self, selector: &str) -> (String, BTreeMap<String, Value>) {
        let (_, text) = self.send("GET", &format!("{COLLECTION}?labelSelector={selector}"), None).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        (version, items.into_iter().map(|item| (name(&item), item)).collect())
    }
}

fn name(object: &Value) -> String {
    api::object::name(object).to_owned()
}

/// The state after the events; each must make sense where it stands.
fn replay(mut state: BTreeMap<String, Value>, events: &str) -> BTreeMap<String, Value> {
    let mut last = 0;
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let (object, kind) = (event["object"].clone(), event["type"].as_str().unwrap_or_default());
        let revision: u64 = api::object::resource_version(&object).parse().expect("a number");
        assert!(revision > last, "revisions rise: {line}");
        last = revision;
        let known = match kind {
            "DELETED" => state.remove(&name(&object)).is_some(),
            _ => state.insert(name(&object), object).is_some(),
        };
        assert_eq!(known, kind != "ADDED", "{line}");
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn watches_add_up(before in steps(), after in steps(), selector in prop_oneof!["", "l=1", "l!=1", "l"]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = world().await;
            for step in &before {
                world.step(step).await;
            }
            let (version, state) = world.list(&selector).await;
            for step in &after {
                world.step(step).await;
            }
            let uri = format!("{COLLECTION}?labelSelector={selector}&watch=1&resourceVersion={version}&timeoutSeconds=1");
            let (_, events) = world.send("GET", &uri, None).await;
            let (_, expect) = world.list(&selector).await;
            assert_eq!(replay(state, &events), expect);
        });
    }
}

/// Fifty parallel creations of pods and as many of ConfigMaps in a namespace with room for ten and seven, through one
/// server or through several on one store in turns.
async fn never_exceeds_quota(worlds: &[World]) {
    let first = &worlds[0];
    let root = "/api/v1/namespaces/default";
    let hard = json!({"pods": "10", "count/configmaps": "7"});
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": hard}});
    assert_eq!(first.send("POST", &format!("{root}/resourcequotas"), Some(quota)).await.0, 201);
    let status = json!({"status": {"hard": hard, "used": {"pods": "0", "count/configmaps": "0"}}});
    let path = format!("{root}/resourcequotas/few/status");
    assert_eq!(first.send("PATCH", &path, Some(status)).await.0, 200);
    for world in worlds {
        // A list shows all that is committed, and so everybody knows of the quota.
        world.send("GET", &format!("{root}/resourcequotas"), None).await;
    }
    let containers = json!([{"name": "c", "image": "i:1"}]);
    let creations = (0..50).flat_map(|n| {
        let metadata = json!({"name": format!("o{n}")});
        let pod = json!({"metadata": metadata, "spec": {"containers": containers}});
        [("pods", pod), ("configmaps", json!({"metadata": metadata}))]
    });
    let sent = creations.enumerate().map(|(number, (plural, object))| {
        let (world, path) = (&worlds[number / 2 % worlds.len()], format!("{root}/{plural}"));
        async move { (plural, world.send("POST", &path, Some(object)).await) }
    });
    let mut made = BTreeMap::from([("pods", 0), ("configmaps", 0)]);
    for (plural, (code, text)) in futures::future::join_all(sent).await {
        match code {
            201 => *made.entry(plural).or_default() += 1,
            _ => assert!(code == 403 && text.contains("exceeded quota: few"), "{code} {text}"),
        }
    }
    assert_eq!(made, BTreeMap::from([("pods", 10), ("configmaps", 7)]));
    for world in worlds {
        let (_, text) = world.send("GET", &path, None).await;
        let quota: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(quota["status"]["used"], json!({"pods": "10", "count/configmaps": "7"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_parallel_creations_exceeds_a_quota() {
    never_exceeds_quota(&[world_over(Memory::open()).await]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(&directory.path().join("store"), RealClock::shared()).expect("a store");
    never_exceeds_quota(&[world_over(store).await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_etcd_do_not_exceed_a_quota_either() {
    let etcd = EtcdServer::start();
    let mut worlds = Vec::new();
    for _ in 0..2 {
        worlds.push(world_over(etcd.open(Options::default()).await).await);
    }
    never_exceeds_quota(&worlds).await;
}
