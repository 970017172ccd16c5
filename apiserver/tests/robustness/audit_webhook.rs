//! The audit webhook: events leave in batches, are sent again after a refusal, and a receiver that does not answer costs
//! events, never requests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::LocalService;
use apiserver::audit::{Options, WebhookOptions};
use apiserver::storage::memory::Memory;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use component_base::clock::{FakeClock, RealClock, SharedClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::Pki;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::{raw, scene};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(3600);

/// What the receiver does with the requests it gets, in order; the last answer is that of all further ones.
type Answers = Vec<Option<StatusCode>>;

/// A request: its `Authorization` and the names of the objects its events are about.
type Got = (String, Vec<String>);

/// Receives events over TLS; `None` never answers.
async fn receiver(pki: &Pki, answers: Answers) -> (u16, mpsc::UnboundedReceiver<Got>) {
    let mut config = (*pki.server_config().expect("a configuration")).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, got) = mpsc::unbounded_channel();
    let requests = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            let (answers, requests) = (answers.clone(), Arc::clone(&requests));
            let serve = service_fn(move |request| {
                let number = requests.fetch_add(1, Ordering::SeqCst);
                let answer = *answers.get(number).or(answers.last()).expect("an answer");
                take(request, sender.clone(), answer)
            });
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("TLS");
                // A sender that goes away is no failure of the test.
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    (port, got)
}

async fn take(
    request: Request<Incoming>,
    sender: mpsc::UnboundedSender<Got>,
    answer: Option<StatusCode>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name).map(|value| value.to_str().expect("text"));
        value.unwrap_or_default().to_owned()
    };
    assert_eq!((request.uri().path(), header("content-type").as_str()), ("/events", "application/json"));
    let token = header("authorization");
    let body = request.into_body().collect().await?.to_bytes();
    let list: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let events = list["items"].as_array().expect("events");
    let names = events.iter().map(|event| event["objectRef"]["name"].as_str().expect("a name").to_owned());
    // The test may be over.
    let _ = sender.send((token, names.collect()));
    let Some(code) = answer else { return std::future::pending().await };
    Ok(Response::builder().status(code).body(Empty::new()).expect("an answer"))
}

/// A server that sends its events to a receiver.
struct World {
    server: LocalService,
    got: mpsc::UnboundedReceiver<Got>,
    shutdown: Shutdown,
    _place: TempDir,
}

impl World {
    async fn new(answers: Answers, clock: SharedClock, set: impl FnOnce(&mut WebhookOptions)) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let mut config = scene::config_in(&place.path().join("pki"), None, clock.now());
        let (port, got) = receiver(&config.pki, answers).await;
        let mut options = WebhookOptions::new(kubeconfig(place.path(), &config.pki, port));
        options.max_wait = NEVER;
        set(&mut options);
        config.audit = Options { policy_file: None, log: None, webhook: Some(options) };
        let shutdown = Shutdown::new();
        let running = apiserver::run(config, Memory::open(), clock, Rng::seeded(1), shutdown.clone()).await;
        Self { server: running.expect("a server").local, got, shutdown, _place: place }
    }

    /// Creates ConfigMaps, each of which is told of by one event.
    async fn create(&self, names: &[&str]) {
        for name in names {
            let map = json!({"metadata": {"name": name}});
            // The name in the path of a replacement is what its event is about; a creation names nothing.
            let (code, text) =
                raw(&self.server, "PUT", &format!("{MAPS}/{name}"), "application/json", &map).await;
            assert_eq!(code, 404, "{text}");
        }
    }

    async fn got(&mut self) -> Vec<String> {
        let (token, names) = self.got.recv().await.expect("events");
        assert_eq!(token, "Bearer let-me-in");
        names
    }

    async fn end(&self) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
    }
}

fn kubeconfig(place: &Path, pki: &Pki, port: u16) -> std::path::PathBuf {
    let authority = BASE64_STANDARD.encode(pki.authority_pem());
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "here", "cluster": {
            "server": format!("https://localhost:{port}/events"), "certificate-authority-data": authority}}],
        "users": [{"name": "us", "user": {"token": "let-me-in"}}],
        "contexts": [{"name": "c", "context": {"cluster": "here", "user": "us"}}],
    });
    let path = place.join("webhook.kubeconfig");
    std::fs::write(&path, text.to_string()).expect("written");
    path
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_and_when_the_server_ends() {
    let mut world = World::new(vec![Some(StatusCode::OK)], RealClock::shared(), |o| o.max_size = 3).await;
    world.create(&["a", "b", "c", "d"]).await;
    assert_eq!(world.got().await, ["a", "b", "c"]);
    world.end().await;
    assert_eq!(world.got().await, ["d"]);
}

#[tokio::test]
async fn a_batch_goes_when_its_first_event_has_waited_long_enough() {
    let brief = |options: &mut WebhookOptions| options.max_wait = Duration::from_millis(20);
    let mut world = World::new(vec![Some(StatusCode::OK)], RealClock::shared(), brief).await;
    world.create(&["a"]).await;
    assert_eq!(world.got().await, ["a"]);
}

#[tokio::test]
async fn a_refused_batch_is_sent_again() {
    let answers = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS, StatusCode::OK];
    let quick = |options: &mut WebhookOptions| {
        (options.max_size, options.initial_backoff) = (2, Duration::from_millis(5));
    };
    let mut world = World::new(answers.map(Some).to_vec(), RealClock::shared(), quick).await;
    world.create(&["a", "b", "c"]).await;
    for _ in answers {
        assert_eq!(world.got().await, ["a", "b"]);
    }
    world.end().await;
    assert_eq!(world.got().await, ["c"], "what was taken is not sent again");
}

/// Events the webhook lost, as `/metrics` has it.
async fn lost(server: &LocalService) -> u64 {
    let (_, text) = raw(server, "GET", "/metrics", "text/plain", &Value::Null).await;
    let line =
        text.lines().find_map(|line| line.strip_prefix("apiserver_audit_error_total{plugin=\"webhook\"} "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_events_and_no_requests() {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let small = |options: &mut WebhookOptions| (options.max_size, options.buffer_size) = (1, 2);
    let mut world = World::new(vec![None], Arc::clone(&clock) as _, small).await;
    world.create(&["a"]).await;
    assert_eq!(world.got().await, ["a"]);
    // The receiver has the first and keeps it; two more fit into the buffer. Time stands still, so that a request
    // that waited for any of it would wait for ever.
    world.create(&["b", "c", "d", "e", "f"]).await;
    assert_eq!(lost(&world.server).await, 3);
    // Nor does it hold up the server's end, for longer than a moment.
    let time_passes = async {
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = world.end() => {}
        () = time_passes => {}
    }
}
