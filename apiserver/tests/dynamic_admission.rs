//! Webhooks and policies that users bring along, over the memory store: who is asked, what may be answered, and
//! what becomes of it.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "dynamic_admission/audited.rs"]
mod audited;
#[path = "dynamic_admission/effects.rs"]
mod effects;
#[path = "dynamic_admission/hooks.rs"]
mod hooks;
#[path = "dynamic_admission/mutating_policies.rs"]
mod mutating_policies;
#[path = "dynamic_admission/policies.rs"]
mod policies;
#[path = "scene/server.rs"]
mod scene;
#[path = "dynamic_admission/services.rs"]
mod services;
#[path = "dynamic_admission/webhooks.rs"]
mod webhooks;

use std::path::Path;
use std::sync::Arc;

use apiserver::storage::memory::Memory;
use apiserver::{Config, LocalService};
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use hooks::Hooks;

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How often an effect is looked for: it comes with an event, which nothing but this process delays.
const MANY_LOOKS: usize = 10_000;

/// A server and a webhook server.
pub(crate) struct World {
    server: LocalService,
    store: Arc<Memory>,
    clock: Arc<FakeClock>,
    hooks: Hooks,
    shutdown: Shutdown,
    directory: tempfile::TempDir,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    /// Texts of `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        self.body
    }

    /// Code and message of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.code, self.body["message"].as_str().unwrap_or_default())
    }
}

pub(crate) async fn world() -> World {
    world_with(|_, _| {}).await
}

/// A world with other settings, which may have files in its directory.
pub(crate) async fn world_with(set: impl FnOnce(&mut Config, &Path)) -> World {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (mut config, directory) = scene::config(None, clock.now());
    set(&mut config, directory.path());
    let (store, pki, shutdown) = (Memory::open(), Arc::clone(&config.pki), Shutdown::new());
    let around = (Arc::clone(&clock) as _, Rng::seeded(1), shutdown.clone());
    let running = apiserver::run(config, Arc::clone(&store) as _, around.0, around.1, around.2);
    let server = running.await.expect("a server").local;
    let hooks = Hooks::start(&pki, &clock).await;
    World { server, store, clock, hooks, shutdown, directory }
}

impl World {
    pub(crate) async fn send_as(&self, user: UserInfo, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let mut request = request.body(Body::from(text)).expect("a request");
        request.extensions_mut().insert(user);
        let response = self.server.answer(request).await;
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_default(), warnings }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send_as(UserInfo::component("admin", &["system:masters"]), method, path, &body).await
    }

    /// Creates an object of `admissionregistration.k8s.io`.
    pub(crate) async fn register(&self, plural: &str, name: &str, mut object: Value) {
        object["metadata"] = json!({"name": name});
        self.send("POST", &format!("{REGISTRATION}/{plural}"), object).await.ok();
    }

    pub(crate) async fn unregister(&self, plural: &str, name: &str) {
        self.send("DELETE", &format!("{REGISTRATION}/{plural}/{name}"), Value::Null).await.ok();
    }

    /// Sends until the answer is as wanted.
    pub(crate) async fn until(
        &self,
        (method, path, body): (&str, &str, Value),
        wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        for _ in 0..MANY_LOOKS {
            let answer = self.send(method, path, body.clone()).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
        let last = self.send(method, path, body).await;
        panic!("never as wanted: {} {}", last.code, last.body)
    }

    /// Creates a configuration map without keeping it, until the answer is as wanted.
    pub(crate) async fn until_dry(&self, map: Value, wanted: impl Fn(&Answer) -> bool) -> Answer {
        self.until(("POST", &format!("{MAPS}?dryRun=All"), map), wanted).await
    }
}

/// A configuration map with labels.
pub(crate) fn map(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

/// A rule about configuration maps.
pub(crate) fn maps_rule(operations: &[&str]) -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations})
}
