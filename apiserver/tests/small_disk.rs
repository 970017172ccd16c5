//! A server whose disk is full, or cannot be written at all: it says so, goes on reading, and loses nothing.
//!
//! The disk is a file system in memory of a few megabytes. It is mounted in a mount namespace of its own, by a
//! copy of this program that plays the scenario there, so nothing is left behind however the test ends.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver::LocalService;
use apiserver::storage::embedded::Embedded;
use apiserver::storage::{Store as _, StoreError};
use axum::body::Body;
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

/// Tells a copy of this program to play a scenario, and where its disk is to be mounted.
const DISK: &str = "GANTRY_TEST_SMALL_DISK";
const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "{program} {arguments:?} ended with {status}");
}

/// Plays a scenario in a mount namespace, as its root.
fn play(scenario: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let status = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", scenario, "--nocapture"])
        .env(DISK, directory.path())
        .status()
        .expect("unshare starts");
    assert!(status.success(), "{scenario} ended with {status}");
}

/// The directory for the disk, in a copy of this program that plays a scenario.
fn place() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

/// Mounts the disk, with some of it taken.
fn mount(place: &Path) -> Ballast {
    let text = place.to_str().expect("text");
    run("mount", &["-t", "tmpfs", "-o", "size=12m", "small", text]);
    Ballast { place: place.to_owned(), left: 0 }.taken(16)
}

/// Files of a quarter of a megabyte that others could delete.
struct Ballast {
    place: PathBuf,
    left: usize,
}

impl Ballast {
    fn taken(mut self, count: usize) -> Self {
        for number in 0..count {
            std::fs::write(self.file(number), vec![1; 256 << 10]).expect("written");
        }
        self.left = count;
        self
    }

    fn file(&self, number: usize) -> PathBuf {
        self.place.join(format!("ballast-{number}"))
    }

    /// Somebody frees space.
    fn free(&mut self, count: usize) {
        for _ in 0..count {
            self.left -= 1;
            std::fs::remove_file(self.file(self.left)).expect("removed");
        }
    }
}

struct Server {
    local: LocalService,
    store: Arc<Embedded>,
    shutdown: Shutdown,
}

/// Elsewhere than on the small disk.
fn certificates() -> tempfile::TempDir {
    scene::config(None, RealClock::shared().now()).1
}

fn open(place: &Path) -> Result<Arc<Embedded>, StoreError> {
    Embedded::open(&place.join("store"), RealClock::shared())
}

impl Server {
    /// The certificates stay from one start to the next, as they do in a data directory.
    async fn start(store: Arc<Embedded>, pki: &Path) -> Self {
        let clock = RealClock::shared();
        let config = scene::config_in(pki, None, clock.now());
        let shutdown = Shutdown::new();
        let running =
            apiserver::run(config, Arc::clone(&store) as _, clock, Rng::seeded(1), shutdown.clone());
        Self { local: running.await.expect("a server").local, store, shutdown }
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        self.store.close().await;
    }

    async fn ask(&self, method: &str, uri: &str, body: Option<Value>) -> (u16, Value) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(method).uri(uri).header("content-type", kind).body(body);
        let mut request = request.expect("a request");
        request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
        let response = self.local.answer(request).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).expect("JSON"))
    }

    async fn create(&self, name: &str, bytes: usize) -> (u16, Value) {
        let object = json!({"metadata": {"name": name}, "data": {"filler": "x".repeat(bytes)}});
        self.ask("POST", COLLECTION, Some(object)).await
    }

    /// Creates objects, each smaller than the last refused one, until not even a small one is taken.
    async fn fill(&self, acknowledged: &mut BTreeMap<String, String>) {
        let mut bytes = 40_000;
        while bytes > 100 {
            let name = format!("c{:05}", acknowledged.len());
            let (code, object) = self.create(&name, bytes).await;
            if code == 201 {
                let version = api::object::resource_version(&object).to_owned();
                acknowledged.insert(name, version);
            } else {
                check_refusal(code, &object);
                bytes /= 2;
            }
        }
    }

    /// Everything acknowledged is there as it was told, in a list and one by one.
    async fn check(&self, acknowledged: &BTreeMap<String, String>) {
        let (code, list) = self.ask("GET", COLLECTION, None).await;
        assert_eq!(code, 200);
        let items = list["items"].as_array().expect("items").iter();
        let listed: BTreeMap<String, String> = items
            .map(|item| (api::object::name(item).to_owned(), api::object::resource_version(item).to_owned()))
            .filter(|(name, _)| name.starts_with('c'))
            .collect();
        assert_eq!(&listed, acknowledged);
        for name in acknowledged.keys().step_by(7) {
            assert_eq!(self.ask("GET", &format!("{COLLECTION}/{name}"), None).await.0, 200, "{name}");
        }
    }
}

/// What a client is told: 507 is not of Kubernetes, but every client takes it for the server's trouble.
fn check_refusal(code: u16, status: &Value) {
    assert_eq!((code, &status["reason"]), (507, &json!("InsufficientStorage")), "{status}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("no space is left") && message.contains("free some space"), "{status}");
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_space() {
    play("fills_up_and_is_freed");
}

#[tokio::test]
async fn fills_up_and_is_freed() {
    let Some(place) = place() else { return };
    let (mut ballast, pki) = (mount(&place), certificates());
    let server = Server::start(open(&place).expect("a new store"), pki.path()).await;
    let mut acknowledged = BTreeMap::new();
    server.fill(&mut acknowledged).await;
    assert!(acknowledged.len() > 20, "{} fitted", acknowledged.len());
    server.check(&acknowledged).await;
    // No write is taken, a removal neither: it would be written down, too.
    let one = format!("{COLLECTION}/{}", acknowledged.keys().next().expect("a name"));
    let patch = json!({"metadata": {"labels": {"a": "x".repeat(60)}}});
    for (method, body) in [("PATCH", Some(patch)), ("DELETE", None)] {
        let (code, status) = server.ask(method, &one, body).await;
        if code != 200 {
            check_refusal(code, &status);
        }
    }
    let past = format!("{one}?resourceVersion={}", acknowledged.values().next().expect("a version"));
    assert_eq!(server.ask("GET", &past, None).await.0, 200);
    ballast.free(2);
    let (code, object) = server.create("c-later", 1_000).await;
    assert_eq!(code, 201, "space is free again: {object}");
    server.stop().await;
}

#[test]
fn a_server_on_a_full_disk_starts_again() {
    play("starts_again_on_a_full_disk");
}

#[tokio::test]
async fn starts_again_on_a_full_disk() {
    let Some(place) = place() else { return };
    let (mut ballast, pki) = (mount(&place), certificates());
    let server = Server::start(open(&place).expect("a new store"), pki.path()).await;
    let mut acknowledged = BTreeMap::new();
    server.fill(&mut acknowledged).await;
    server.stop().await;
    // It serves what it has, or says that it needs space; which one depends on what the end could still write.
    match open(&place) {
        Ok(store) => {
            let server = Server::start(store, pki.path()).await;
            server.check(&acknowledged).await;
            server.stop().await;
        }
        Err(error) => assert!(matches!(error, StoreError::Full(_)), "{error}"),
    }
    ballast.free(2);
    let server = Server::start(open(&place).expect("there is space again"), pki.path()).await;
    server.check(&acknowledged).await;
    assert_eq!(server.create("c-later", 1_000).await.0, 201);
    server.stop().await;
}

#[test]
fn kill_9_on_a_full_disk_loses_nothing() {
    play("is_killed_on_a_full_disk");
}

/// Tells a copy of this program to fill the disk until it is killed.
const FILL: &str = "GANTRY_TEST_FILL";

#[tokio::test]
async fn child_that_fills() {
    let Some(place) = std::env::var_os(FILL) else { return };
    let pki = certificates();
    let server = Server::start(open(Path::new(&place)).expect("a store"), pki.path()).await;
    let mut acknowledged = BTreeMap::new();
    loop {
        let before = acknowledged.len();
        server.fill(&mut acknowledged).await;
        let mut out = std::io::stdout().lock();
        for (name, version) in acknowledged.iter().skip(before) {
            writeln!(out, "acknowledged {name} {version}").expect("the parent listens");
        }
        writeln!(out, "full").expect("the parent listens");
    }
}

#[tokio::test]
async fn is_killed_on_a_full_disk() {
    let Some(place) = place() else { return };
    let (mut ballast, pki) = (mount(&place), certificates());
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_that_fills", "--nocapture"])
        .env(FILL, &place)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut acknowledged = BTreeMap::new();
    let output = BufReader::new(child.stdout.take().expect("its output"));
    for line in output.lines().map_while(Result::ok) {
        if line == "full" {
            break;
        }
        if let Some((name, version)) =
            line.split("acknowledged ").nth(1).and_then(|rest| rest.split_once(' '))
        {
            acknowledged.insert(name.to_owned(), version.to_owned());
        }
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(acknowledged.len() > 20, "{} fitted", acknowledged.len());
    match open(&place) {
        Ok(store) => store.close().await,
        Err(error) => assert!(matches!(error, StoreError::Full(_)), "{error}"),
    }
    // At most as much as the log has: it is folded into the file before it begins anew.
    ballast.free(16);
    let server = Server::start(open(&place).expect("there is space again"), pki.path()).await;
    // It may have gone on after it was told to stop: what it told of is a part of what there is.
    let (_, list) = server.ask("GET", COLLECTION, None).await;
    let items = list["items"].as_array().expect("items");
    for (name, version) in &acknowledged {
        let found = items.iter().find(|item| api::object::name(item) == name).expect("it was acknowledged");
        assert_eq!(api::object::resource_version(found), version, "{name}");
    }
    server.stop().await;
}

#[test]
fn a_disk_that_cannot_be_written_is_named() {
    play("is_read_only");
}

#[tokio::test]
async fn is_read_only() {
    let Some(place) = place() else { return };
    mount(&place);
    let pki = certificates();
    let server = Server::start(open(&place).expect("a new store"), pki.path()).await;
    assert_eq!(server.create("c-first", 10).await.0, 201);
    server.stop().await;
    let text = place.to_str().expect("text");
    run("mount", &["-o", "remount,ro", text]);
    let error = open(&place).map(drop).expect_err("nothing can be written").to_string();
    assert!(error.contains(text) && error.contains("Read-only file system"), "{error}");
    run("mount", &["-o", "remount,rw", text]);
    let server = Server::start(open(&place).expect("it can be written again"), pki.path()).await;
    assert_eq!(server.ask("GET", &format!("{COLLECTION}/c-first"), None).await.0, 200);
    server.stop().await;
}
