//! Over real sockets on loopback: TLS, identities, and streams through to a node.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "network/aggregation.rs"]
mod aggregation;
#[path = "scene/server.rs"]
mod scene;
#[path = "scene/watch.rs"]
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Identity, Lifetimes, Pki, Role, SubjectNames};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Cluster {
    address: SocketAddr,
    pki: Arc<Pki>,
    shutdown: Shutdown,
    _directory: tempfile::TempDir,
}

async fn start(bind: &str) -> Result<Cluster, apiserver::Error> {
    start_with(bind, Lifetimes::default()).await
}

async fn start_with(bind: &str, lifetimes: Lifetimes) -> Result<Cluster, apiserver::Error> {
    let clock = RealClock::shared();
    let (mut config, directory) = scene::config(Some(bind.parse().expect("an address")), clock.now());
    let (names, place) =
        (SubjectNames::for_api_server("cluster.local", &[], &[]), directory.path().join("pki"));
    config.pki = Arc::new(Pki::open_with(&place, &names, clock.now(), lifetimes).expect("certificates"));
    let pki = Arc::clone(&config.pki);
    let shutdown = Shutdown::new();
    let running = apiserver::run(config, Memory::open(), clock, Rng::from_system(), shutdown.clone()).await?;
    let address = running.address.expect("an address");
    Ok(Cluster { address, pki, shutdown, _directory: directory })
}

impl Cluster {
    /// One request on a connection of its own; `admin` shows the administrator's certificate.
    async fn send(&self, admin: bool, request: Request<Body>) -> Response<Incoming> {
        let mut config = self.pki.client_config(self.pki.admin()).expect("a configuration");
        if !admin {
            Arc::make_mut(&mut config).client_auth_cert_resolver = Arc::new(NoCertificate);
        }
        self.send_by(config, request).await
    }

    /// One request of somebody's; who they are said to be.
    async fn user_of(&self, identity: &Identity, headers: &[(&str, &str)]) -> Result<Value, StatusCode> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let mut request =
            Request::post(path).header("host", "localhost").header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let config = self.pki.client_config(identity).expect("a configuration");
        let answer = self.send_by(config, request.body(Body::from("{}")).expect("a request")).await;
        match answer.status() {
            StatusCode::CREATED => {
                let review: Value = serde_json::from_str(&text(answer).await).expect("JSON");
                Ok(review["status"]["userInfo"].clone())
            }
            other => Err(other),
        }
    }

    async fn send_by(&self, config: Arc<ClientConfig>, request: Request<Body>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let name = "localhost".try_into().expect("a name");
        let stream = TlsConnector::from(config).connect(name, stream).await.expect("a handshake");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Value) -> StatusCode {
        let request = Request::post(path).header("host", "localhost").body(Body::from(body.to_string()));
        self.send(true, request.expect("a request")).await.status()
    }
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request")
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_certificate_is_an_identity() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let admin = cluster.send(true, get("/api/v1/namespaces/default")).await;
    assert_eq!(admin.status(), 200);
    let nobody = cluster.send(false, get("/api/v1/namespaces/default")).await;
    assert_eq!(nobody.status(), 401);
    assert_eq!(text(cluster.send(false, get("/readyz")).await).await, "ok");
    // A watch does not hold up the end.
    let watch = cluster.send(true, get("/api/v1/pods?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.status(), 200);
    cluster.shutdown.trigger();
    assert_eq!(text(watch).await, "");
    cluster.shutdown.drained().await;
}

#[tokio::test]
async fn only_certificates_of_the_right_authority_and_use_are_identities() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let (now, pki) = (RealClock::shared().now(), &cluster.pki);
    let admin = cluster.user_of(&pki.admin(), &[]).await.expect("known");
    assert_eq!(admin["username"], "kubernetes-admin");
    let id = admin["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap_or_default();
    assert!(id.starts_with("X509SHA256="), "{admin}");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let stranger = Pki::open(elsewhere.path(), &SubjectNames::default(), now).expect("certificates");
    let key = component_base::tls::KeyPair::generate().expect("a key");
    let subject = component_base::tls::subject("jane", &["system:masters"]);
    let request = component_base::tls::signing_request(&key, &subject).expect("a request");
    let request = component_base::tls::Request::of(request.as_bytes()).expect("a request");
    let hour = SignedDuration::from_hours(1);
    let signed = |role, usage: &str, from, until| Identity {
        certificate_pem: pki
            .sign_request(role, &request, &[usage.to_owned()], (from, until))
            .expect("signed"),
        key_pem: key.serialize_pem(),
    };
    for (what, identity, is_known) in [
        ("good", signed(Role::Client, "client auth", now - hour, now + hour), true),
        ("of another cluster", (*stranger.admin()).clone(), false),
        ("of the authority for servers", signed(Role::Serving, "client auth", now - hour, now + hour), false),
        ("of the authority for proxies", (*pki.front_proxy_client()).clone(), false),
        ("for servers", signed(Role::Client, "server auth", now - hour, now + hour), false),
        ("ended", signed(Role::Client, "client auth", now - hour, now - hour / 2), false),
        ("not begun", signed(Role::Client, "client auth", now + hour, now + hour * 2), false),
        ("nameless", pki.issue_client("", &["system:masters"], now).expect("issued"), false),
    ] {
        let outcome = cluster.user_of(&identity, &[]).await;
        assert_eq!(outcome.is_ok(), is_known, "{what}: {outcome:?}");
        assert!(outcome.is_ok() || outcome == Err(StatusCode::UNAUTHORIZED), "{what}: {outcome:?}");
    }
    cluster.shutdown.trigger();
}

#[tokio::test]
async fn front_proxies_speak_for_others() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let headers =
        [("x-remote-user", "jane"), ("x-remote-group", "a"), ("x-remote-extra-example.com%2fx", "y")];
    let jane = cluster.user_of(&cluster.pki.front_proxy_client(), &headers).await.expect("known");
    let expect = json!({"username": "jane", "groups": ["a", "system:authenticated"], "extra": {"example.com/x": ["y"]}});
    assert_eq!(jane, expect);
    let admin = cluster.user_of(&cluster.pki.admin(), &headers).await.expect("known");
    assert_eq!(admin["username"], "kubernetes-admin", "nobody else's headers are believed");
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let published: Value =
        serde_json::from_str(&text(cluster.send(true, get(path)).await).await).expect("JSON");
    assert_eq!(
        published["data"]["requestheader-client-ca-file"],
        cluster.pki.authorities_pem(Role::FrontProxy)
    );
    assert_eq!(published["data"]["client-ca-file"], cluster.pki.authorities_pem(Role::Client));
    assert_eq!(published["data"]["requestheader-username-headers"], "[\"X-Remote-User\"]");
    cluster.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_seconds_are_renewed_and_nothing_is_dropped() {
    let lifetimes = Lifetimes { certificate: SignedDuration::from_secs(6), ..Lifetimes::default() };
    let cluster = start_with("127.0.0.1:0", lifetimes).await.expect("a server");
    cluster.shutdown.spawn_until(Arc::clone(&cluster.pki).keep(RealClock::shared()));
    let mut seen = vec![cluster.pki.serving().certificate_pem.clone()];
    let mut asked = 0;
    while seen.len() < 4 {
        let answer = cluster.send(true, get("/api/v1/namespaces/default")).await;
        assert_eq!(answer.status(), 200, "after {asked} requests");
        asked += 1;
        let current = cluster.pki.serving().certificate_pem.clone();
        if seen.last() != Some(&current) {
            seen.push(current);
        }
    }
    assert!(asked > 20, "{asked} requests are no load");
    cluster.shutdown.trigger();
    cluster.shutdown.drained().await;
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let first = start("127.0.0.1:0").await.expect("a server");
    let error = start(&first.address.to_string()).await.err().expect("refused").to_string();
    assert!(error.contains(&format!("cannot listen on {}: another program", first.address)), "{error}");
    first.shutdown.trigger();
}

/// A node that answers logs with the path it was asked for, and turns upgraded streams to upper case.
async fn node(pki: &Pki) -> u16 {
    let now = RealClock::shared().now();
    pki.node_identity("n1", &[[127, 0, 0, 1].into()], now).expect("a certificate");
    let acceptor = TlsAcceptor::from(pki.node_server_config("n1").expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("a handshake");
                let service = hyper::service::service_fn(answer);
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    port
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if path == "/metrics/usage" {
        let usage = json!({
            "node": {"timestamp": "2026-01-01T00:00:00Z", "windowSeconds": 15, "cpuNanoCores": 7,
                     "memoryWorkingSetBytes": 1024},
            "pods": [],
        });
        return Ok(Response::new(Body::from(usage.to_string())));
    }
    if path.starts_with("/containerLogs/") {
        return Ok(Response::new(Body::from(path)));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for name in ["upgrade", "connection"] {
        response.headers_mut().insert(name, request.headers()[name].clone());
    }
    response.headers_mut().insert("x-path", path.parse().expect("a header"));
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.expect("upgraded"));
        let mut buffer = [0; 64];
        while let Ok(read) = stream.read(&mut buffer).await {
            let upper = buffer[..read].to_ascii_uppercase();
            if read == 0 || stream.write_all(&upper).await.is_err() {
                break;
            }
        }
    });
    Ok(response)
}

#[tokio::test]
async fn logs_and_streams_reach_the_node() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let port = node(&cluster.pki).await;
    let n1 = json!({"metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    assert_eq!(cluster.post("/api/v1/nodes", n1).await, 201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [
        {"name": "a", "image": "i:1"}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/pods", pod).await, 201);

    // What is on or off may be said in many ways: clients in Python write `True`.
    let log = "/api/v1/namespaces/default/pods/p/log?follow=True&tailLines=3&x=1&timestamps=0&previous=FALSE";
    let log = cluster.send(true, get(log)).await;
    assert_eq!(text(log).await, "/containerLogs/default/p/a?tailLines=3&follow=true");

    let exec = Request::post(
        "/api/v1/namespaces/default/pods/p/exec?command=a%20b&command=c&stdin=True&stdout=1&stderr=False&tty=true",
    )
    .header("host", "localhost")
    .header("connection", "Upgrade")
    .header("upgrade", "SPDY/3.1")
    .body(Body::empty())
    .expect("a request");
    let mut upgraded = cluster.send(true, exec).await;
    assert_eq!(upgraded.status(), 101);
    assert_eq!(upgraded.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(
        upgraded.headers()["x-path"],
        "/exec/default/p/a?input=1&output=1&tty=1&command=a%20b&command=c"
    );
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut upgraded).await.expect("upgraded"));
    stream.write_all(b"hello").await.expect("written");
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.expect("read");
    assert_eq!(&back, b"HELLO");

    let usage = text(cluster.send(true, get("/apis/metrics.k8s.io/v1beta1/nodes/n1")).await).await;
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    assert_eq!(usage["usage"], json!({"cpu": "7n", "memory": "1Ki"}));

    let plain = Request::post("/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=true");
    let plain = plain.header("host", "localhost").body(Body::empty()).expect("a request");
    assert_eq!(cluster.send(true, plain).await.status(), 400);
    cluster.shutdown.trigger();
}

#[tokio::test]
async fn what_is_asked_is_counted() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let watch = cluster.send(true, get("/api/v1/namespaces?watch=1&timeoutSeconds=60")).await;
    let mut watch = watch.into_body();
    watch.frame().await.expect("an event").expect("a frame");
    cluster.send(true, get("/api/v1/namespaces/made-up/made-up-things")).await;
    let response = cluster.send(true, get("/metrics")).await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = text(response).await;
    let watches =
        r#"group="",resource="namespaces",scope="cluster",subresource="",verb="WATCH",version="v1"}"#;
    for line in [
        format!("apiserver_longrunning_requests{{component=\"apiserver\",{watches} 1"),
        r#"apiserver_resource_objects{group="",resource="namespaces"} 4"#.to_owned(),
        r#"apiserver_storage_objects{resource="namespaces"} 4"#.to_owned(),
        // The one that asks.
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#.to_owned(),
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }
    for part in ["apiserver_watch_events_total{", "apiserver_request_total{", "process_open_fds "] {
        assert!(metrics.contains(part), "{part} is not in\n{metrics}");
    }
    assert!(!metrics.contains("made-up"), "{metrics}");
    cluster.shutdown.trigger();
}
