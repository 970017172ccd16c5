//! Every admission plugin with an object that it refuses and one that it fills in, where it does both.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "admission_plugins/rows.rs"]
mod rows;
#[path = "scene/server.rs"]
mod scene;

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver::storage::memory::Memory;
use apiserver::{LocalService, Switches};
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;

/// A request, by default of the cluster's administrator.
pub(crate) struct Sent {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    pub(crate) user: UserInfo,
}

/// What is shown of a plugin.
pub(crate) struct Row {
    pub(crate) plugin: &'static str,
    /// What must be there, in order; all of it is accepted.
    pub(crate) scene: Vec<Sent>,
    /// What is refused, with code and message.
    pub(crate) denied: Option<(Sent, u16, &'static str)>,
    /// What is accepted, and what then stands where in it.
    pub(crate) filled: Option<(Sent, &'static str, Value)>,
}

/// Those that ask other servers, and so are shown with servers to ask (`dynamic_admission`).
const ELSEWHERE: [&str; 2] = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"];

async fn server(mut switches: Switches) -> (LocalService, tempfile::TempDir) {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (mut config, directory) = scene::config(None, clock.now());
    switches.event_limits = rows::event_limits();
    switches.node_selectors = rows::node_selectors();
    config.admission = switches;
    let running =
        apiserver::run(config, Memory::open(), Arc::clone(&clock) as _, Rng::seeded(1), Shutdown::new());
    (running.await.expect("a server").local, directory)
}

async fn send(server: &LocalService, sent: Sent) -> (u16, Value) {
    let patch = "application/merge-patch+json";
    let kind = if sent.method == "PATCH" { patch } else { "application/json" };
    let request = Request::builder().method(sent.method).uri(sent.path).header("content-type", kind);
    let mut request = request.body(Body::from(sent.body.to_string())).expect("a request");
    request.extensions_mut().insert(sent.user);
    let response = server.answer(request).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).expect("JSON"))
}

/// Plays a row on a server that runs its plugin, and says what is not as it should be.
async fn play(row: Row) -> Vec<String> {
    let plugin = row.plugin.to_owned();
    let on = Switches::plugins().any(|(name, on)| name == row.plugin && on);
    let mut switches = Switches::default();
    if !on {
        switches.enable.push(plugin.clone());
    }
    if let Some(other) = rows::IN_THE_WAY.iter().find(|(name, _)| *name == row.plugin) {
        switches.disable.push(other.1.to_owned());
    }
    let (server, _directory) = server(switches).await;
    let mut wrong = Vec::new();
    for sent in row.scene {
        let what = format!("{plugin}: {} {}", sent.method, sent.path);
        let (code, body) = send(&server, sent).await;
        if !(200..300).contains(&code) {
            wrong.push(format!("{what}: {code} {body}"));
        }
    }
    if let Some((sent, code, message)) = row.denied {
        let answer = send(&server, sent).await;
        if (answer.0, answer.1["message"].as_str()) != (code, Some(message)) {
            wrong.push(format!("{plugin}: {} {}", answer.0, answer.1));
        }
    }
    if let Some((sent, place, expected)) = row.filled {
        let (code, body) = send(&server, sent).await;
        if body.pointer(place) != Some(&expected) {
            wrong.push(format!("{plugin}: {place} is {:?} ({code}): {body}", body.pointer(place)));
        }
    }
    wrong
}

#[tokio::test]
async fn each_refuses_and_fills_in() {
    let mut wrong = Vec::new();
    for row in rows::all() {
        wrong.extend(play(row).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn none_is_forgotten() {
    let shown: BTreeSet<&str> = rows::all().iter().map(|row| row.plugin).chain(ELSEWHERE).collect();
    let there: BTreeSet<&str> = Switches::plugins().map(|(name, _)| name).collect();
    assert_eq!(shown, there);
}
