//! The node API as clients use it: WebSocket and SPDY clients in this process, and stock kubectl where there is
//! one (then through a front that plays the API server's part).

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "node_api/front.rs"]
mod front;
#[path = "node_api/processes.rs"]
mod processes;

use std::sync::Arc;

use component_base::clock::RealClock;
use component_base::shutdown::Shutdown;
use node_agent::lookup::PodTable;
use node_agent::server::NodeApi;
use node_agent::stats::Sampler;
use processes::{OnePod, Processes};
use tokio::io::DuplexStream;
use tokio::sync::watch;

/// The API with one pod, and a place for its log.
struct Node {
    api: NodeApi,
    log_path: std::path::PathBuf,
    ended: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let log_path = directory.path().join("0.log");
        let ended = watch::Sender::new(false);
        let pod = OnePod { log_path: log_path.clone(), ended: ended.clone() };
        let clock = RealClock::shared();
        let table = Arc::new(PodTable::new(log_path.clone()));
        let api = NodeApi {
            runtime: Arc::new(Processes::default()),
            lookup: Arc::new(pod),
            stats: Arc::new(Sampler::new(Arc::new(Processes::default()), table, Arc::clone(&clock))),
            clock,
            shutdown: Shutdown::new(),
        };
        Self { api, log_path, ended, _directory: directory }
    }

    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(self.api.clone().serve(far, true));
        near
    }
}

mod websocket {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use futures::{SinkExt as _, StreamExt as _};
    use http::Request;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    use super::Node;

    async fn open(node: &Node, path: &str, protocol: &str) -> WebSocketStream<DuplexStream> {
        let request = Request::get(format!("ws://node{path}"))
            .header("Host", "node")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", protocol)
            .body(())
            .expect("request");
        let (stream, response) =
            tokio_tungstenite::client_async(request, node.connect()).await.expect("upgrade");
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        stream
    }

    /// Everything until the close frame, by channel.
    async fn collect(stream: &mut WebSocketStream<DuplexStream>) -> BTreeMap<u8, String> {
        let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        loop {
            match stream.next().await.expect("a close frame first").expect("message") {
                Message::Binary(bytes) => {
                    channels.entry(bytes[0]).or_default().extend_from_slice(&bytes[1..]);
                }
                Message::Close(frame) => {
                    assert_eq!(frame.expect("reason").code, CloseCode::Normal);
                    return channels
                        .into_iter()
                        .map(|(channel, bytes)| (channel, String::from_utf8(bytes).expect("text")))
                        .collect();
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn exec_tells_output_and_exit_code() {
        let node = Node::new();
        let path = "/exec/default/web/main?command=sh&command=-c&stdout=true&stderr=true\
                    &command=echo%20out;echo%20err%20%3E%262;exit%203";
        let channels = collect(&mut open(&node, path, "v4.channel.k8s.io").await).await;
        assert_eq!(channels[&1], "out\n");
        assert_eq!(channels[&2], "err\n");
        let status: serde_json::Value = serde_json::from_str(&channels[&3]).expect("status");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
        let absent = "/exec/default/web/main?command=/no/such/program&stdout=true";
        let channels = collect(&mut open(&node, absent, "v4.channel.k8s.io").await).await;
        assert!(channels[&3].contains("error executing command in container"), "{channels:?}");
    }

    #[tokio::test]
    async fn input_can_be_closed() {
        let node = Node::new();
        let path = "/exec/default/web/main?command=cat&stdin=true&stdout=true";
        let mut stream = open(&node, path, "v5.channel.k8s.io").await;
        stream.send(Message::binary(b"\0hello".to_vec())).await.expect("send");
        stream.send(Message::binary(vec![255, 0])).await.expect("close");
        let channels = collect(&mut stream).await;
        assert_eq!(channels[&1], "hello");
        assert!(channels[&3].contains("Success"));
    }

    #[tokio::test]
    async fn background_processes_hold_nothing_up() {
        let node = Node::new();
        let path = "/exec/default/web/main?command=sh&command=-c&command=echo+done;sleep+30%26&stdout=true";
        let channels = collect(&mut open(&node, path, "v4.channel.k8s.io").await).await;
        assert_eq!(channels[&1], "done\n");
    }

    #[tokio::test]
    async fn terminals_have_sizes() {
        let node = Node::new();
        let command = "read+line;stty+size";
        let path =
            format!("/exec/default/web/main?command=sh&command=-c&command={command}&stdin=1&stdout=1&tty=1");
        let mut stream = open(&node, &path, "v4.channel.k8s.io").await;
        stream.send(Message::binary(b"\x04{\"Width\":100,\"Height\":40}".to_vec())).await.expect("size");
        stream.send(Message::binary(b"\0go\n".to_vec())).await.expect("input");
        let channels = collect(&mut stream).await;
        assert_eq!(channels[&1], "go\r\n40 100\r\n");
    }

    #[tokio::test]
    async fn attach_joins_the_containers_streams() {
        let node = Node::new();
        let path = "/attach/default/web/main?stdin=true&stdout=true";
        let mut stream = open(&node, path, "v5.channel.k8s.io").await;
        stream.send(Message::binary(b"\0typed".to_vec())).await.expect("send");
        stream.send(Message::binary(vec![255, 0])).await.expect("close");
        assert_eq!(collect(&mut stream).await[&1], "attached\ntyped");
    }

    #[tokio::test]
    async fn attach_ends_with_the_clients_input() {
        let node = Node::new();
        let path = "/attach/default/web/shared?stdin=true&stdout=true";
        let mut stream = open(&node, path, "v5.channel.k8s.io").await;
        // The client sees the container's output before it ends its input.
        let seen = Message::binary(b"\x01attached\n".to_vec());
        while stream.next().await.expect("output").expect("message") != seen {}
        stream.send(Message::binary(vec![255, 0])).await.expect("close");
        let rest = tokio::time::timeout(Duration::from_secs(20), collect(&mut stream)).await;
        let rest = rest.expect("the session ends before the container does");
        assert!(rest[&3].contains("Success"), "{rest:?}");
    }

    #[tokio::test]
    async fn ports_over_channels() {
        let node = Node::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(super::front::echo_once(listener));
        let path = format!("/portForward/default/web?port={port}");
        let mut stream = open(&node, &path, "v4.channel.k8s.io").await;
        for channel in [0, 1] {
            let [low, high] = port.to_le_bytes();
            let message = stream.next().await.expect("port").expect("message");
            assert_eq!(message, Message::binary(vec![channel, low, high]));
        }
        stream.send(Message::binary(b"\0ping".to_vec())).await.expect("send");
        let message = stream.next().await.expect("echo").expect("message");
        assert_eq!(message, Message::binary(b"\0ping".to_vec()));
    }

    #[tokio::test]
    async fn a_port_that_closes_ends_its_channels() {
        let node = Node::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(super::front::greet_once(listener));
        let path = format!("/portForward/default/web?port={port}");
        let mut stream = open(&node, &path, "v4.channel.k8s.io").await;
        let mut said = Vec::new();
        while let Some(Ok(Message::Binary(bytes))) = stream.next().await {
            said.extend(bytes);
        }
        let [low, high] = port.to_le_bytes();
        assert_eq!(said, [&[0, low, high, 1, low, high, 0][..], &b"greetings"[..]].concat());
    }
}

mod http_requests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::Node;

    async fn get(node: &Node, path: &str) -> String {
        let mut stream = node.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("receive");
        answer
    }

    #[tokio::test]
    async fn answers_and_refusals() {
        let node = Node::new();
        super::processes::append(&node.log_path, "one");
        for (path, status, body) in [
            ("/healthz", "200", "ok"),
            ("/containerLogs/default/web/main", "200", "one\n"),
            ("/containerLogs/default/web/main?tailLines=x", "400", "invalid tailLines"),
            ("/containerLogs/default/web/main?previous=true", "400", "previous terminated container"),
            ("/containerLogs/default/web/other", "404", "container other of pod default/web"),
            ("/exec/default/web/main?command=true", "400", "at least 1 of stdin, stdout, stderr"),
            ("/exec/default/web/main?command=true&stdout=1", "400", "missing upgrade headers"),
            ("/metrics/usage", "200", "\"cpuNanoCores\":"),
            ("/elsewhere", "404", "page not found"),
        ] {
            let answer = get(&node, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(answer.contains(body), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn strangers_see_only_health() {
        let node = Node::new();
        for (path, status) in [("/healthz", "200"), ("/metrics/usage", "403")] {
            let (mut near, far) = tokio::io::duplex(4096);
            tokio::spawn(node.api.clone().serve(far, false));
            let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
            near.write_all(request.as_bytes()).await.expect("send");
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.expect("receive");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        }
    }
}

mod over_tls {
    use component_base::clock::RealClock;
    use component_base::tls::{Identity, Pki, SubjectNames};
    use node_agent::server::{self, NodeServer};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::Node;

    async fn status(pki: &Pki, identity: &Identity, address: SocketAddr) -> std::io::Result<String> {
        let connector = TlsConnector::from(pki.client_config(identity).expect("configuration"));
        let stream = TcpStream::connect(address).await?;
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("name");
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(b"GET /metrics/usage HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn only_the_api_server_may_ask() {
        let directory = tempfile::tempdir().expect("directory");
        let now = RealClock::shared().now();
        let pki = Pki::open(directory.path(), &SubjectNames::default(), now).expect("pki");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        pki.node_identity("n1", &[loopback.ip()], now).expect("identity");
        let other = pki.issue_client("system:node:n2", &["system:nodes"], now).expect("identity");
        let node = Node::new();
        let tls = pki.node_server_config("n1").expect("configuration");
        let first = server::listen(loopback).await.expect("bind");
        let taken = first.local_addr().expect("address");
        let listener = server::listen(taken).await.expect("another port");
        let address = listener.local_addr().expect("address");
        let server = NodeServer::new(listener, tls, node.api.clone());
        assert_ne!(address.port(), taken.port());
        let running = tokio::spawn(server.run());
        assert_eq!(status(&pki, &pki.agent_client(), address).await.expect("answer"), "HTTP/1.1 200 OK");
        assert_eq!(status(&pki, &other, address).await.expect("answer"), "HTTP/1.1 403 Forbidden");
        let elsewhere = tempfile::tempdir().expect("directory");
        let stranger = Pki::open(elsewhere.path(), &SubjectNames::default(), now).expect("pki");
        assert!(status(&pki, &stranger.agent_client(), address).await.is_err());
        node.api.shutdown.trigger();
        running.await.expect("server ends");
        node.api.shutdown.drained().await;
    }
}

mod kubectl {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::process::{Child, Command};

    use super::Node;
    use super::front::{Front, echo_once, greet_once};

    /// Streaming over WebSocket and over SPDY.
    const BOTH: [&str; 2] = ["true", "false"];

    fn kubectl(front: &Front, websockets: &str, arguments: &str) -> Option<Command> {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join("kubectl").exists())
        });
        if !found {
            eprintln!("skipped: no kubectl");
            return None;
        }
        let mut command = Command::new("kubectl");
        command.args(["--server", &front.url(), "--cache-dir", front.cache()]);
        command.args(arguments.split_whitespace());
        command.env("KUBECONFIG", "/dev/null");
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Some(command)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn exec() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        for websockets in BOTH {
            let Some(mut command) = kubectl(&front, websockets, "exec web -- sh -c") else { return };
            let output = command.arg("echo out; echo err >&2; exit 3").output().await.expect("run");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&output.stdout), "out\n", "{output:?}");
            assert_eq!(text(&output.stderr), "err\ncommand terminated with exit code 3\n");
            assert_eq!(output.status.code(), Some(3));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn exec_carries_much_both_ways() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        let sent: Vec<u8> = (0_u32..1_500_000).flat_map(u32::to_le_bytes).collect();
        for websockets in BOTH {
            let Some(mut command) = kubectl(&front, websockets, "exec -i web -- cat") else { return };
            let mut child = command.spawn().expect("run");
            let (mut stdin, mut stdout) =
                (child.stdin.take().expect("in"), child.stdout.take().expect("out"));
            let sending = sent.clone();
            tokio::spawn(async move {
                stdin.write_all(&sending).await.expect("send");
            });
            let mut received = Vec::new();
            stdout.read_to_end(&mut received).await.expect("receive");
            assert!(child.wait().await.expect("wait").success());
            assert_eq!(received.len(), sent.len(), "websockets {websockets}");
            assert!(received == sent);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn logs_follow() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        super::processes::append(&node.log_path, "one");
        let Some(mut command) = kubectl(&front, "true", "logs -f web") else { return };
        let mut child = command.spawn().expect("run");
        let mut lines = BufReader::new(child.stdout.take().expect("out")).lines();
        assert_eq!(lines.next_line().await.expect("line").as_deref(), Some("one"));
        super::processes::append(&node.log_path, "two");
        assert_eq!(lines.next_line().await.expect("line").as_deref(), Some("two"));
        node.ended.send_replace(true);
        assert_eq!(lines.next_line().await.expect("end"), None);
        assert!(child.wait().await.expect("wait").success());
    }

    /// A connection to a port of the pod through `kubectl port-forward`; `None` without such a kubectl.
    async fn forwarded(front: &Front, websockets: &str, port: u16) -> Option<(Child, TcpStream)> {
        let mut child =
            kubectl(front, websockets, &format!("port-forward web :{port}"))?.spawn().expect("run");
        let mut lines = BufReader::new(child.stdout.as_mut().expect("out")).lines();
        let line = lines.next_line().await.expect("line").expect("forwarding");
        let local = line.split([' ', ':']).find_map(|word| word.parse::<u16>().ok()).expect("port");
        Some((child, TcpStream::connect(("127.0.0.1", local)).await.expect("connect")))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn port_forward_tells_why_not() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        let unused =
            TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address").port();
        for websockets in BOTH {
            let Some((mut child, mut stream)) = forwarded(&front, websockets, unused).await else { return };
            let mut errors = BufReader::new(child.stderr.take().expect("err")).lines();
            stream.write_all(b"hello").await.expect("send");
            let told = errors.next_line().await.expect("line").expect("error");
            assert!(told.contains("failed to connect to localhost"), "{told}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn port_forward() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        for websockets in BOTH {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let port = listener.local_addr().expect("address").port();
            tokio::spawn(echo_once(listener));
            let Some((_child, mut stream)) = forwarded(&front, websockets, port).await else { return };
            stream.write_all(b"through").await.expect("send");
            stream.shutdown().await.expect("half close");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("receive");
            assert_eq!(answer, "through", "websockets {websockets}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_forwarded_port_may_close_first() {
        let node = Node::new();
        let front = Front::start(node.api.clone()).await;
        for websockets in BOTH {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let port = listener.local_addr().expect("address").port();
            tokio::spawn(greet_once(listener));
            let Some((_child, mut stream)) = forwarded(&front, websockets, port).await else { return };
            // The client keeps its side open, so only the pod's end can be what ends this.
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("receive");
            assert_eq!(answer, "greetings", "websockets {websockets}");
        }
    }
}
