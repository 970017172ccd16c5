//! Events go by themselves an hour after they were last said, and nothing else does.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;

use std::sync::Arc;
use std::time::Duration;

use apiserver::LocalService;
use apiserver::storage::memory::Memory;
use apiserver::storage::{EventStream, Store as _};
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use futures::StreamExt as _;
use http::Request;
use serde_json::{Value, json};

const EVENTS: &str = "/api/v1/namespaces/default/events";

async fn send(server: &LocalService, method: &str, uri: &str, body: Value) -> u16 {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(uri).header("content-type", kind);
    let mut request = request.body(Body::from(body.to_string())).expect("a request");
    request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
    server.answer(request).await.status().as_u16()
}

async fn say(server: &LocalService, name: &str) {
    let event =
        json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "namespace": "default"}});
    assert_eq!(send(server, "POST", EVENTS, event).await, 201);
}

/// The name in the key of the next removal.
async fn next_removal(changes: &mut EventStream) -> String {
    loop {
        let change = changes.next().await.expect("the store is open").expect("no gap");
        if let (None, Some(previous)) = (change.entry, change.previous) {
            return previous.key.rsplit('/').next().unwrap_or_default().to_owned();
        }
    }
}

#[tokio::test]
async fn events_go_in_the_order_they_are_due() {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (config, _pki) = scene::config(None, clock.now());
    let store = Memory::open_with(Arc::clone(&clock) as _);
    let (for_server, shutdown) = (Arc::clone(&clock) as _, Shutdown::new());
    let running =
        apiserver::run(config, Arc::clone(&store) as _, for_server, Rng::seeded(1), shutdown.clone()).await;
    let server = running.expect("a server").local;
    let mut changes = store.watch("/registry/", store.revision()).await.expect("a watch");
    say(&server, "first").await;
    clock.advance(Duration::from_mins(10));
    say(&server, "second").await;
    clock.advance(Duration::from_mins(10));
    say(&server, "third").await;
    // Said again: it is the last one now.
    let again = json!({"count": 2, "lastTimestamp": "2026-01-01T00:30:00Z"});
    assert_eq!(send(&server, "PATCH", &format!("{EVENTS}/first"), again).await, 200);
    let config_map = json!({"metadata": {"name": "stays"}});
    assert_eq!(send(&server, "POST", "/api/v1/namespaces/default/configmaps", config_map).await, 201);
    clock.advance(Duration::from_mins(50));
    assert_eq!(next_removal(&mut changes).await, "second");
    clock.advance(Duration::from_mins(10));
    assert_eq!(next_removal(&mut changes).await, "third");
    clock.advance(Duration::from_mins(10));
    assert_eq!(next_removal(&mut changes).await, "first");
    shutdown.trigger();
    shutdown.drained().await;
    assert_eq!(send(&server, "GET", "/api/v1/namespaces/default/configmaps/stays", Value::Null).await, 200);
}
