//! Peers that misbehave on real sockets: they hold nothing for long, cost little, and disturb nobody.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;

use std::io::{BufRead as _, Read as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::Timeouts;
use apiserver::storage::memory::Memory;
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, SubjectNames};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a process that only holds connections is told in the environment, and says once it holds them.
const IDLE: &str = "HOLD_IDLE_CONNECTIONS";
/// Where its certificates are.
const IDLE_DIRECTORY: &str = "HOLD_IDLE_CONNECTIONS_DIRECTORY";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What the server buffers of a header.
const LONGEST_HEADER: usize = 8192 + 4096 * 100;
/// More than comes in one piece: a header that is whole when it is looked at is read, however long.
const READ_BYTES: usize = 200_000;
/// More than any answer here takes, and less than a person waits.
const SOON: Duration = Duration::from_secs(20);

struct Cluster {
    address: SocketAddr,
    pki: Arc<Pki>,
    shutdown: Shutdown,
    directory: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn start(timeouts: Timeouts) -> Cluster {
    let clock = RealClock::shared();
    let (mut config, directory) =
        scene::config(Some("127.0.0.1:0".parse().expect("an address")), clock.now());
    config.timeouts = timeouts;
    let (pki, shutdown) = (Arc::clone(&config.pki), Shutdown::new());
    let running = apiserver::run(config, Memory::open(), clock, Rng::from_system(), shutdown.clone()).await;
    let address = running.expect("a server").address.expect("an address");
    Cluster { address, pki, shutdown, directory }
}

impl Cluster {
    /// A connection of the administrator's that speaks one protocol.
    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        shake_hands(&self.pki, stream, protocol).await
    }

    /// Sends a whole request on a connection of its own: the head and body of the answer.
    async fn ask(&self, head: &str, body: &[u8]) -> (String, Value) {
        let mut stream = self.connect(b"http/1.1").await;
        let length = body.len();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // A server that has seen enough answers and closes while more is sent.
        let _ = stream.write_all(body).await;
        let answer = rest(stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.lines().next().unwrap_or_default().to_owned();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn serves_others(&self) {
        let asked = Instant::now();
        let (status, namespace) = self.ask("GET /api/v1/namespaces/default", b"").await;
        assert_eq!((status.as_str(), &namespace["metadata"]["name"]), ("HTTP/1.1 200 OK", &json!("default")));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

async fn shake_hands(pki: &Pki, stream: TcpStream, protocol: &[u8]) -> TlsStream<TcpStream> {
    let config = pki.client_config(pki.admin()).expect("a configuration");
    let mut config = (*config).clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = "localhost".try_into().expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
}

/// What a peer still sends until it closes; a test that waits for ever fails.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await.expect("the server closes");
    if let Err(error) = read {
        all.extend_from_slice(format!("({error})").as_bytes());
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Bytes this process holds in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages");
    pages * 4096
}

/// The other end of idle connections, in a process of its own: this one's memory and descriptors are then
/// the server's.
struct Idle(std::process::Child);

impl Idle {
    /// Opens connections of which the first ones shake hands, and holds them until dropped.
    fn open(cluster: &Cluster, count: usize, shaken: usize) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
        command.args(["ten_thousand_idle_connections", "--exact", "--nocapture"]);
        command.env(IDLE, format!("{} {count} {shaken}", cluster.address));
        command.env(IDLE_DIRECTORY, cluster.directory.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let lines = std::io::BufReader::new(child.stdout.as_mut().expect("piped"));
        assert!(lines.lines().map_while(Result::ok).any(|line| line == IDLE), "the other process fails");
        Self(child)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The process behind [`Idle`].
async fn hold(order: &str) {
    let mut words = order.split(' ');
    let address: SocketAddr = words.next().and_then(|word| word.parse().ok()).expect("an address");
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
    let (count, shaken) = (number(), number());
    let directory = std::env::var_os(IDLE_DIRECTORY).expect("a directory");
    let names = SubjectNames::for_api_server("cluster.local", &[], &[]);
    let pki = Pki::open(directory.as_ref(), &names, RealClock::shared().now()).expect("certificates");
    let mut held = (Vec::new(), Vec::new());
    for number in 0..count {
        let stream = TcpStream::connect(address).await.expect("connected");
        match number < shaken {
            true => held.1.push(shake_hands(&pki, stream, b"http/1.1").await),
            false => held.0.push(stream),
        }
    }
    println!("{IDLE}");
    let _ = std::io::stdin().read(&mut [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_refused_in_words() {
    let cluster = start(Timeouts::default()).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(LONGEST_HEADER + READ_BYTES)
    );
    for (request, expect) in [
        ("GET / HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request"),
        (long.as_str(), "431 Request Header Fields Too Large"),
    ] {
        let mut stream = cluster.connect(b"http/1.1").await;
        // A server that has seen enough answers and closes while more is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = rest(stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {expect}\r\n")) && body.starts_with(expect), "{answer}");
    }
    cluster.serves_others().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections() {
    const CONNECTIONS: usize = 10_000;
    const SHAKEN: usize = 1_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    if let Ok(order) = std::env::var(IDLE) {
        return hold(&order).await;
    }
    assert!(most >= CONNECTIONS as u64 + 500, "only {most} descriptors");
    let long = Duration::from_secs(600);
    let cluster = start(Timeouts { read_header: long, idle: long, ..Timeouts::default() }).await;
    cluster.serves_others().await;
    let costs = |count, shaken| {
        let before = resident_bytes();
        let idle = Idle::open(&cluster, count, shaken);
        (idle, move || resident_bytes().saturating_sub(before) / count)
    };
    let (_silent, cost) = costs(CONNECTIONS - SHAKEN, 0);
    cluster.serves_others().await;
    let silent = cost();
    let (_shaken, cost) = costs(SHAKEN, SHAKEN);
    cluster.serves_others().await;
    let shaken = cost();
    println!("{silent} bytes for a connection that says nothing, {shaken} after a handshake");
    assert!(silent < 8 << 10 && shaken < 96 << 10, "{silent} and {shaken} bytes");
}

#[tokio::test]
async fn what_is_half_sent_ends() {
    let short = Duration::from_millis(500);
    let cluster =
        start(Timeouts { read_header: short, idle: 2 * short, request: short, ..Timeouts::default() }).await;
    // No handshake.
    assert_eq!(rest(TcpStream::connect(cluster.address).await.expect("connected")).await, "");
    // A handshake and no request; half a header; a header that trickles in.
    rest(cluster.connect(b"http/1.1").await).await;
    let mut half = cluster.connect(b"http/1.1").await;
    half.write_all(b"GET /api/v1/nodes HTTP/1.1\r\nHost: loc").await.expect("sent");
    rest(half).await;
    let (slow, mut writer) = tokio::io::split(cluster.connect(b"http/1.1").await);
    let trickle = tokio::spawn(async move {
        let mut letters = tokio::time::interval(Duration::from_millis(50));
        while writer.write_all(b"a").await.is_ok() && writer.flush().await.is_ok() {
            letters.tick().await;
        }
    });
    rest(slow).await;
    trickle.abort();
    // A body that does not come.
    let mut half = cluster.connect(b"http/1.1").await;
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{");
    half.write_all(head.as_bytes()).await.expect("sent");
    let answer = rest(half).await;
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("Timeout: request did not complete within the allotted timeout"), "{answer}");
    // A body that is cut: the request is as good as never sent.
    let mut cut = cluster.connect(b"http/1.1").await;
    cut.write_all(head.as_bytes()).await.expect("sent");
    drop(cut);
    // Between requests a peer may think longer, but not for ever.
    let mut thinker = cluster.connect(b"http/1.1").await;
    thinker.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let asked = Instant::now();
    let answer = rest(thinker).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(asked.elapsed() >= short, "{:?}", asked.elapsed());
    let mut http2 = cluster.connect(b"h2").await;
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    rest(http2).await;
    cluster.serves_others().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let cluster = start(Timeouts::default()).await;
    let plain = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(cluster.address).await.expect("connected");
        stream.write_all(bytes).await.expect("sent");
        rest(stream).await
    };
    assert_eq!(
        plain(b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n").await,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    plain(b"\0\0\0\0\0\0\0\0").await;
    let secured = async |bytes: &[u8]| {
        let mut stream = cluster.connect(b"http/1.1").await;
        let _ = stream.write_all(bytes).await;
        rest(stream).await.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(secured(b"what?\r\n\r\n").await, "HTTP/1.1 400 Bad Request");
    let head = "GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\n";
    let long = format!("{head}X-Long: {}\r\n\r\n", "x".repeat(2 << 20));
    assert_eq!(secured(long.as_bytes()).await, "HTTP/1.1 431 Request Header Fields Too Large");
    let many: String = (0..20_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(
        secured(format!("{head}{many}\r\n").as_bytes()).await,
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
    let wide =
        format!("GET /api/v1/pods?labelSelector={} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000));
    assert_eq!(secured(wide.as_bytes()).await, "HTTP/1.1 414 URI Too Long");

    // A body over the limit is refused although it is still being sent.
    let (status, body) = cluster.ask(&format!("POST {CONFIG_MAPS}"), &vec![b' '; 4 << 20]).await;
    assert_eq!(
        (status.as_str(), &body["reason"]),
        ("HTTP/1.1 413 Payload Too Large", &json!("RequestEntityTooLarge"))
    );
    let deep = format!("{{\"data\":{}", "[".repeat(200_000));
    let (status, _) = cluster.ask(&format!("POST {CONFIG_MAPS}"), deep.as_bytes()).await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    cluster.serves_others().await;
}

/// One watch event off a stream of chunks: its type and the object's name.
async fn event(reader: &mut BufReader<TlsStream<TcpStream>>) -> Option<(String, String)> {
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(SOON, reader.read_line(&mut line)).await.expect("an event in time");
        if read.ok()? == 0 {
            return None;
        }
        // Other lines are the sizes of chunks.
        if line.starts_with('{') {
            let event: Value = serde_json::from_str(&line).expect("an event");
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Some((word(&event["type"]), word(&event["object"]["metadata"]["name"])));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_stops_reading() {
    const OBJECTS: usize = 200;
    const BYTES: usize = 400_000;
    let cluster = start(Timeouts { stall: Duration::from_secs(2), ..Timeouts::default() }).await;
    let watch = format!("GET {CONFIG_MAPS}?watch=1&resourceVersion=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // A small window, or the kernel would read for it.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a window");
    let stream = socket.connect(cluster.address).await.expect("connected");
    let mut sleeper = shake_hands(&cluster.pki, stream, b"http/1.1").await;
    sleeper.write_all(watch.as_bytes()).await.expect("sent");
    let mut head = [0; 15];
    sleeper.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut reader = cluster.connect(b"http/1.1").await;
    reader.write_all(watch.as_bytes()).await.expect("sent");
    let mut reader = BufReader::new(reader);

    let before = resident_bytes();
    let data = "x".repeat(BYTES);
    for number in 0..OBJECTS {
        let name = format!("m{number}");
        let object = json!({"metadata": {"name": name}, "data": {"a": data}}).to_string();
        let (status, _) = cluster.ask(&format!("POST {CONFIG_MAPS}"), object.as_bytes()).await;
        assert_eq!(status, "HTTP/1.1 201 Created");
        let (status, _) = cluster.ask(&format!("DELETE {CONFIG_MAPS}/{name}"), b"").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        for kind in ["ADDED", "DELETED"] {
            let seen = loop {
                match event(&mut reader).await.expect("an event") {
                    (_, other) if other == "kube-root-ca.crt" => {}
                    seen => break seen,
                }
            };
            assert_eq!(seen, (kind.to_owned(), name.clone()));
        }
    }
    let grown = resident_bytes().saturating_sub(before) >> 20;
    println!("{grown} MiB more after {} MiB of events", (2 * OBJECTS * BYTES) >> 20);
    // The server has given up on it: what was on its way, and the end.
    let mut taken = Vec::new();
    let ended = tokio::time::timeout(SOON, sleeper.read_to_end(&mut taken)).await;
    assert!(ended.is_ok(), "the stalled connection is still open");
    println!("the sleeper found {} bytes", taken.len());
    assert!(taken.len() < 8 << 20, "{} bytes had been kept for it", taken.len());
    cluster.serves_others().await;
}

/// Where a request's end can be read in two ways, a second one could hide behind it from whoever stands in between.
#[tokio::test]
async fn nothing_is_smuggled_behind_a_request() {
    let cluster = start(Timeouts::default()).await;
    let hidden = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let refused = "400 Bad Request";
    for (headers, body, expect) in [
        ("Content-Length: 2\r\nContent-Length: 7\r\n", "{}", refused),
        ("Content-Length: 2, 7\r\n", "{}", refused),
        ("Content-Length: +2\r\n", "{}", refused),
        ("Content-Length: -2\r\n", "{}", refused),
        ("Content-Length: 0x2\r\n", "{}", refused),
        ("Content-Length: 99999999999999999999999\r\n", "{}", refused),
        ("Content-Length : 2\r\n", "{}", refused),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", refused),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", refused),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", refused),
        ("X-One: 1\r\n Content-Length: 2\r\n", "{}", refused),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", refused),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "0\r\n\r\n", refused),
        ("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFFF\r\n{}", refused),
        ("Transfer-Encoding: chunked\r\n", "-1\r\n{}\r\n0\r\n\r\n", refused),
    ] {
        let mut stream = cluster.connect(b"http/1.1").await;
        let request = format!(
            "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n{body}{hidden}"
        );
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = rest(stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expect}\r\n")), "{headers:?}: {answer}");
        assert!(!answer.contains("gitVersion"), "{headers:?}: {answer}");
    }
    cluster.serves_others().await;
}
