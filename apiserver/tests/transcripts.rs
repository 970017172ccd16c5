//! Golden transcripts: requests in `tests/verbs/*.txt`, answered by a server over the memory store with
//! seeded chance and a clock that stands still. Rewrite the answers with `UPDATE_EXPECT=1`.
//!
//! Lines that begin with `> ` are ours: a request line, headers, a body of one line, or one of
//! `! as USER GROUP…`, `! advance SECONDS`, `! compact`. Everything else is what came back, of a request
//! line that begins with `~ ` the code only. A watch is read until its `timeoutSeconds` are over.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apiserver::LocalService;
use apiserver::storage::memory::Memory;
use apiserver::storage::{Change, Draft, Expect, Operation, Store};
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;

/// Where the store stands when a script begins.
const FIRST_REVISION: u64 = 1000;

struct World {
    server: LocalService,
    store: Arc<Memory>,
    clock: Arc<FakeClock>,
    user: Option<UserInfo>,
    /// Whether answers show who owns which field: only the script about that does.
    owners: bool,
    _pki: tempfile::TempDir,
}

async fn world() -> World {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (config, directory) = scene::config(None, clock.now());
    let store = Memory::open_with(Arc::clone(&clock) as _);
    let rng = Rng::seeded(1);
    let running = apiserver::run(
        config,
        Arc::clone(&store) as _,
        Arc::clone(&clock) as _,
        rng.clone(),
        Shutdown::new(),
    )
    .await
    .expect("a server");
    // How many objects the server begins with is no part of the scripts: each begins at the same revision.
    let mut filler = None;
    while store.revision() < FIRST_REVISION {
        let (expect, change) = match filler.take() {
            Some(there) => (Expect::Revision(there), Change::Delete),
            None => {
                (Expect::Absent, Change::Put(Draft { head: "{".into(), tail: "}".into(), lifetime: None }))
            }
        };
        let putting = matches!(change, Change::Put(_));
        let operation = Operation { key: "/filler".to_owned(), expect, change };
        let written = store.transact(vec![operation]).await.expect("written");
        filler = putting.then_some(written.revision);
    }
    rng.reseed(1);
    let user = Some(UserInfo::component("admin", &["system:masters"]));
    World { server: running.local, store, clock, user, owners: false, _pki: directory }
}

impl World {
    /// One block of lines that we wrote, and what comes back.
    async fn play(&mut self, lines: &[&str]) -> String {
        let mut lines = lines.iter();
        let first = lines.next().copied().unwrap_or_default();
        if let Some(order) = first.strip_prefix("! ") {
            self.order(order).await;
            return String::new();
        }
        let (brief, first) = first.strip_prefix("~ ").map_or((false, first), |rest| (true, rest));
        let (method, uri) = first.split_once(' ').expect("METHOD URI");
        let mut request = Request::builder().method(method).uri(uri);
        let mut body = String::new();
        for line in lines {
            match line.split_once(": ") {
                Some((name, value)) if !line.starts_with(['{', '[', '"']) => {
                    request = request.header(name, value)
                }
                _ => body.push_str(line),
            }
        }
        if let Some(times) = body.strip_prefix("\"repeat\" ") {
            body = "x".repeat(times.parse().expect("a number"));
        }
        let mut request = request.body(Body::from(body)).expect("a request");
        if let Some(user) = &self.user {
            request.extensions_mut().insert(user.clone());
        }
        let watch = uri.contains("watch=");
        let response = self.server.answer(request).await;
        if watch {
            self.clock.advance(Duration::from_secs(1));
        }
        if brief { response.status().as_u16().to_string() } else { show(response, self.owners).await }
    }

    async fn order(&mut self, order: &str) {
        let mut words = order.split(' ');
        match words.next() {
            Some("as") => {
                let name = words.next();
                let groups: Vec<&str> = words.collect();
                self.user = name.map(|name| UserInfo::component(name, &groups));
            }
            Some("advance") => {
                let seconds = words.next().and_then(|word| word.parse().ok()).expect("seconds");
                self.clock.advance(Duration::from_secs(seconds));
            }
            Some("compact") => self.store.compact(self.store.revision()).await.expect("compacted"),
            other => panic!("unknown order {other:?}"),
        }
    }
}

async fn show(response: Response<Body>, owners: bool) -> String {
    let mut out = format!("{}", response.status().as_u16());
    for name in ["content-type", "warning", "retry-after", "allow"] {
        for value in response.headers().get_all(name) {
            let value = value.to_str().expect("text");
            if value != "application/json" {
                let _ = write!(out, "\n{name}: {value}");
            }
        }
    }
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    for document in text.lines() {
        match serde_json::from_str::<Value>(document) {
            Ok(mut value) => {
                hide_secrets(&mut value);
                if !owners {
                    hide_owners(&mut value);
                }
                let _ = write!(out, "\n{}", api::codec::yaml::emit(&value).trim_end());
                if text.lines().count() > 1 {
                    out.push_str("\n---");
                }
            }
            Err(_) => {
                let _ = write!(out, "\n{document}");
            }
        }
    }
    out
}

/// Signatures differ from run to run.
fn hide_secrets(value: &mut Value) {
    if value["status"]["token"].is_string() {
        value["status"]["token"] = "(signed)".into();
    }
}

/// Owners of fields stand in every object and would fill every transcript.
fn hide_owners(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("managedFields");
            map.values_mut().for_each(hide_owners);
        }
        Value::Array(list) => list.iter_mut().for_each(hide_owners),
        // What a patch made of an object, in the answer that it is none.
        Value::String(text) => {
            if let (Some(start), Some(end)) = (text.find("\"{\\\"apiVersion"), text.rfind("}\"")) {
                text.replace_range(start + 2..end, "…");
            }
        }
        _ => {}
    }
}

async fn replay(script: &str, owners: bool) -> String {
    let mut world = World { owners, ..world().await };
    let mut out = String::new();
    let mut block: Vec<&str> = Vec::new();
    for line in script.lines().chain([""]) {
        if line.starts_with('#') {
            let _ = writeln!(out, "{line}");
        } else if let Some(ours) = line.strip_prefix("> ") {
            block.push(ours);
        } else if !block.is_empty() {
            for ours in &block {
                let _ = writeln!(out, "> {ours}");
            }
            let answer = world.play(&std::mem::take(&mut block)).await;
            if !answer.is_empty() {
                let _ = writeln!(out, "{answer}");
            }
            out.push('\n');
        }
    }
    out
}

fn check(name: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verbs").join(name);
    let script = std::fs::read_to_string(&path).expect("a script");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let played = runtime.block_on(replay(&script, name == "apply.txt"));
    expect_test::expect_file![path].assert_eq(&played);
}

#[test]
fn admission() {
    check("admission.txt");
}

#[test]
fn create_get_list() {
    check("create_get_list.txt");
}

#[test]
fn update_patch() {
    check("update_patch.txt");
}

#[test]
fn apply() {
    check("apply.txt");
}

#[test]
fn delete() {
    check("delete.txt");
}

#[test]
fn locks() {
    check("locks.txt");
}

#[test]
fn watch() {
    check("watch.txt");
}

#[test]
fn pods() {
    check("pods.txt");
}

#[test]
fn services() {
    check("services.txt");
}

#[test]
fn access() {
    check("access.txt");
}

#[test]
fn roles() {
    check("roles.txt");
}

#[test]
fn history() {
    check("history.txt");
}

#[test]
fn options() {
    check("options.txt");
}

#[test]
fn eviction() {
    check("eviction.txt");
}

#[test]
fn parts() {
    check("parts.txt");
}

#[test]
fn methods() {
    check("methods.txt");
}
