//! Kubernetes' own binary form, over HTTP: what Go programs send and read.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;

use api::codec::protobuf;
use api::schema::facts;
use apiserver::LocalService;
use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct World {
    server: LocalService,
    clock: std::sync::Arc<FakeClock>,
    _pki: tempfile::TempDir,
}

async fn world() -> World {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (config, directory) = scene::config(None, clock.now());
    let store = Memory::open();
    let running = apiserver::run(config, store, clock.clone(), Rng::seeded(1), Shutdown::new()).await;
    World { server: running.expect("a server").local, clock, _pki: directory }
}

impl World {
    async fn ask(&self, method: &str, uri: &str, accept: &str, body: Vec<u8>) -> (u16, String, Vec<u8>) {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", accept)
            .header("content-type", PROTOBUF)
            .body(Body::from(body))
            .expect("a request");
        request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
        let response = self.server.answer(request).await;
        self.clock.advance(std::time::Duration::from_secs(2));
        let content_type = response.headers()["content-type"].to_str().expect("text").to_owned();
        let code = response.status().as_u16();
        (code, content_type, response.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }

    async fn create(&self, name: &str, text: &str) {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": text}});
        let body = protobuf::encode(&object).expect("a built-in kind");
        let (code, content_type, body) = self.ask("POST", CONFIG_MAPS, PROTOBUF, body).await;
        assert_eq!((code, content_type.as_str()), (201, PROTOBUF));
        assert_eq!(protobuf::decode(&body).expect("protobuf")["metadata"]["name"], name);
    }
}

fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn objects_lists_and_failures() {
    let world = world().await;
    // More than a list keeps encoded while it is sent.
    let long = "x".repeat(900_000);
    for at in 0..6 {
        world.create(&format!("m{at}"), &long).await;
    }
    let (code, content_type, body) = world.ask("GET", CONFIG_MAPS, PROTOBUF, Vec::new()).await;
    assert_eq!((code, content_type.as_str()), (200, PROTOBUF));
    let list = protobuf::decode(&body).expect("protobuf");
    assert_eq!(list["kind"], "ConfigMapList");
    let names: Vec<&str> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|i| field(i, "/metadata/name").as_str())
        .collect();
    assert_eq!(names, ["kube-root-ca.crt", "m0", "m1", "m2", "m3", "m4", "m5"][7 - names.len()..]);
    assert_eq!(field(&list, "/items/0/metadata/resourceVersion").as_str().map(str::is_empty), Some(false));

    let accept = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json");
    let (_, content_type, body) = world.ask("GET", CONFIG_MAPS, &accept, Vec::new()).await;
    assert_eq!(content_type, PROTOBUF);
    assert!(body.len() < 10_000, "metadata only");

    let (code, content_type, body) =
        world.ask("GET", &format!("{CONFIG_MAPS}/none"), PROTOBUF, Vec::new()).await;
    let status = protobuf::decode(&body).expect("protobuf");
    assert_eq!((code, content_type.as_str()), (404, PROTOBUF));
    assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("NotFound")));

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let options = protobuf::encode(&options).expect("a built-in kind");
    let (code, ..) = world.ask("DELETE", &format!("{CONFIG_MAPS}/m0"), PROTOBUF, options).await;
    assert_eq!(code, 409);
}

#[tokio::test]
async fn a_watch_in_frames() {
    let world = world().await;
    world.create("a", "text").await;
    let uri = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true");
    let accept = format!("{PROTOBUF};stream=watch,application/json");
    let (code, content_type, body) = world.ask("GET", &uri, &accept, Vec::new()).await;
    assert_eq!((code, content_type.as_str()), (200, "application/vnd.kubernetes.protobuf;stream=watch"));
    let schema = facts().by_gvk("", "v1", "WatchEvent").expect("a definition");
    let (mut rest, mut seen) = (&body[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (message, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        let event = protobuf::decode_message(schema, message).expect("an event");
        let name = field(&event, "/object/metadata/name").as_str().unwrap_or_default();
        seen.push(format!("{} {name}", event["type"].as_str().expect("a type")));
        rest = after;
    }
    seen.retain(|event| !event.contains("kube-root-ca"));
    assert_eq!(seen, ["ADDED a", "BOOKMARK ", "BOOKMARK "]);
}
