//! The node's own API: exec, attach, port-forward, logs, usage. Entry points: [`NodeServer`], [`NodeApi`].
//!
//! The API server is its only client: it authorises users and passes their streams on. What the server
//! shows comes from the runtime and from a [`PodLookup`], which the pod manager provides.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::shutdown::Shutdown;
use component_base::tls::peer_user;
use futures::FutureExt as _;
use http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::container_runtime::{ContainerRuntime, ExecRequest};
use crate::stats::Sampler;
use logs::LogOptions;
use query::Query;
use streaming::{CommandEnds, Outcome, Wanted};

pub mod attach;
pub mod exec;
pub mod logs;
pub mod port_forward;
pub mod query;
pub mod spdy;
pub mod spdy_command;
pub mod spdy_session;
pub mod streaming;
pub mod websocket;

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Who may use this API: the API server's client certificate is of this group.
const CLIENT_GROUP: &str = "system:masters";
/// Chunks of log on their way.
const LOG_QUEUE: usize = 16;
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

/// A running (or ended) container, to reach its streams and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlace {
    /// The pod's `metadata.uid`.
    pub uid: String,
    /// The runtime's id of the current or last attempt.
    pub container_id: String,
    /// It has a terminal.
    pub tty: bool,
    /// Its input ends with that of the first client.
    pub stdin_once: bool,
    /// Its log, in CRI format.
    pub log_path: PathBuf,
    /// The log of the attempt before, if there was one.
    pub previous_log_path: Option<PathBuf>,
}

/// A pod, to reach its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPlace {
    /// `metadata.uid`.
    pub uid: String,
    /// Path that names its network namespace; the host's for host-network pods.
    pub netns: PathBuf,
}

/// A running container's names, for usage reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its pod's `metadata.uid`.
    pub uid: String,
    /// Its name in the pod.
    pub container: String,
    /// The runtime's id.
    pub container_id: String,
}

/// Answers what is where on this node.
#[async_trait]
pub trait PodLookup: Send + Sync {
    /// A pod with a network.
    fn pod(&self, namespace: &str, pod: &str) -> Option<PodPlace>;

    /// A container that was started at least once; init and ephemeral containers too.
    fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerPlace>;

    /// All running containers.
    fn running(&self) -> Vec<RunningContainer>;

    /// Completes when this attempt of a container has ended (at once if it has, or is not known), so that
    /// nothing more will be written to its log.
    async fn ended(&self, uid: &str, container_id: &str);
}

/// What the node API needs.
#[derive(Clone)]
pub struct NodeApi {
    /// Runs commands.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Knows pods.
    pub lookup: Arc<dyn PodLookup>,
    /// Knows what containers use.
    pub stats: Arc<Sampler>,
    /// Time.
    pub clock: SharedClock,
    /// Ends streams.
    pub shutdown: Shutdown,
}

/// Binds `address`; when its port is taken (another cluster's node on this machine) some free one. The port goes
/// into the node's `status.daemonEndpoints.kubeletEndpoint`.
///
/// # Errors
/// When no port can be bound.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
        }
        outcome => outcome,
    }
}

/// The node API on a socket, with TLS.
pub struct NodeServer {
    listener: TcpListener,
    tls: TlsAcceptor,
    api: NodeApi,
}

impl NodeServer {
    /// Serves on `listener` (see [`listen`]). `tls` must require client certificates of the cluster's authority and
    /// offer HTTP/1.1 (`component_base::tls::Pki::node_server_config`).
    pub fn new(listener: TcpListener, tls: Arc<ServerConfig>, api: NodeApi) -> Self {
        Self { listener, tls: TlsAcceptor::from(tls), api }
    }

    /// Serves until shutdown.
    pub async fn run(self) {
        let shutdown = self.api.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.triggered() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (tls, api) = (self.tls.clone(), self.api.clone());
                    shutdown.spawn_until(async move { api.serve_tls(tls, stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "node API cannot accept connections");
                    self.api.clock.sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

type Body = BoxBody<Bytes, io::Error>;

impl NodeApi {
    async fn serve_tls(self, tls: TlsAcceptor, stream: TcpStream) {
        // Interactive streams are small writes.
        drop(stream.set_nodelay(true));
        let stream = tokio::select! {
            stream = tls.accept(stream) => stream,
            () = self.clock.sleep(HANDSHAKE) => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let user = certificate.and_then(peer_user);
        let allowed = user.is_some_and(|user| user.groups.iter().any(|group| group == CLIENT_GROUP));
        self.serve(stream, allowed).await;
    }

    /// Serves HTTP/1.1 on a connection; with `allowed` false everything but health is forbidden.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, allowed: bool) {
        let service = hyper::service::service_fn(move |request| {
            let api = self.clone();
            async move { Ok::<_, Infallible>(api.handle(request, allowed).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "node API connection ended");
        }
    }

    async fn handle(&self, mut request: Request<Incoming>, allowed: bool) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if segments == ["healthz"] {
            return text(StatusCode::OK, "ok");
        }
        if !allowed {
            return text(StatusCode::FORBIDDEN, "Forbidden");
        }
        let answer = match segments.as_slice() {
            ["exec", namespace, pod, container] => {
                self.place(namespace, pod, container).and_then(|place| self.exec(&mut request, &query, place))
            }
            ["attach", namespace, pod, container] => self
                .place(namespace, pod, container)
                .and_then(|place| self.attach(&mut request, &query, place)),
            ["portForward", namespace, pod] => self.port_forward(&mut request, &query, namespace, pod),
            ["containerLogs", namespace, pod, container] => {
                self.place(namespace, pod, container).and_then(|place| self.logs(&query, place))
            }
            ["metrics", "usage"] => Ok(self.usage().await),
            _ => Err(refusal(StatusCode::NOT_FOUND, "404 page not found")),
        };
        answer.unwrap_or_else(|refused| *refused)
    }

    fn place(&self, namespace: &str, pod: &str, container: &str) -> Result<ContainerPlace, Refused> {
        self.lookup.container(namespace, pod, container).ok_or_else(|| {
            let message = format!("container {container} of pod {namespace}/{pod} is not running here");
            refusal(StatusCode::NOT_FOUND, &message)
        })
    }

    fn exec(&self, request: &mut Request<Incoming>, query: &Query, place: ContainerPlace) -> Answer {
        let command = query.all("command");
        if command.is_empty() {
            return Err(refusal(StatusCode::BAD_REQUEST, "you must specify a command"));
        }
        let wanted = wanted(query, query.is_set(&["tty"]))?;
        let exec = ExecRequest {
            pod_uid: place.uid,
            container_id: place.container_id,
            command,
            tty: wanted.tty,
            stdin: wanted.stdin,
        };
        let runtime = Arc::clone(&self.runtime);
        self.command(request, wanted, move |ends| exec::run(runtime, exec, wanted, ends).boxed())
    }

    fn attach(&self, request: &mut Request<Incoming>, query: &Query, place: ContainerPlace) -> Answer {
        let wanted = wanted(query, place.tty)?;
        let runtime = Arc::clone(&self.runtime);
        self.command(request, wanted, move |ends| attach::run(runtime, place, wanted, ends).boxed())
    }

    /// Upgrades the connection and runs a command on it in the background.
    fn command(
        &self,
        request: &mut Request<Incoming>,
        wanted: Wanted,
        command: impl FnOnce(CommandEnds) -> futures::future::BoxFuture<'static, Outcome> + Send + 'static,
    ) -> Answer {
        let clock = Arc::clone(&self.clock);
        match Upgrade::of(request.headers())? {
            Upgrade::WebSocket { accept, offered } => {
                let dialect = websocket::choose(&offered).ok_or_else(|| unknown_protocols(&offered))?;
                self.upgraded(request, move |io| async move {
                    websocket::serve(io, dialect, wanted, &clock, command).await;
                });
                Ok(switch_to_websocket(&accept, dialect.name))
            }
            Upgrade::Spdy { offered } => {
                let (name, version) =
                    spdy_command::choose(&offered).ok_or_else(|| unknown_protocols(&offered))?;
                self.upgraded(request, move |io| async move {
                    spdy_command::serve(io, version, wanted, &clock, command).await;
                });
                Ok(switch_to_spdy(name))
            }
        }
    }

    fn port_forward(
        &self,
        request: &mut Request<Incoming>,
        query: &Query,
        namespace: &str,
        pod: &str,
    ) -> Answer {
        let place = self.lookup.pod(namespace, pod);
        let place = place.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "pod does not exist"))?;
        match Upgrade::of(request.headers())? {
            Upgrade::Spdy { offered } => {
                if !offered.is_empty() && !offered.iter().any(|offer| offer == port_forward::PROTOCOL) {
                    return Err(unknown_protocols(&offered));
                }
                self.upgraded(request, move |io| port_forward::serve_spdy(io, place));
                Ok(switch_to_spdy(port_forward::PROTOCOL))
            }
            Upgrade::WebSocket { accept, offered } => {
                if offered.iter().any(|offer| offer == websocket::SPDY_TUNNEL) {
                    self.upgraded(request, move |io| {
                        websocket::tunnel(io, move |pipe| port_forward::serve_spdy(pipe, place))
                    });
                    return Ok(switch_to_websocket(&accept, websocket::SPDY_TUNNEL));
                }
                let dialect = websocket::choose(&offered).ok_or_else(|| unknown_protocols(&offered))?;
                let ports = ports(query)?;
                self.upgraded(request, move |io| port_forward::serve_channels(io, dialect, ports, place));
                Ok(switch_to_websocket(&accept, dialect.name))
            }
        }
    }

    /// Runs `serve` on the connection once the answer is out, until shutdown.
    fn upgraded<F: Future<Output = ()> + Send + 'static>(
        &self,
        request: &mut Request<Incoming>,
        serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) {
        let upgrade: OnUpgrade = hyper::upgrade::on(request);
        self.shutdown.spawn_until(async move {
            match upgrade.await {
                Ok(io) => serve(TokioIo::new(io)).await,
                Err(error) => tracing::debug!(%error, "connection not upgraded"),
            }
        });
    }

    fn logs(&self, query: &Query, place: ContainerPlace) -> Answer {
        let options = LogOptions::parse(query, self.clock.now())
            .map_err(|message| refusal(StatusCode::BAD_REQUEST, &message))?;
        let path = if options.previous { place.previous_log_path } else { Some(place.log_path) };
        let path =
            path.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "previous terminated container not found"))?;
        let options = LogOptions { follow: options.follow && !options.previous, ..options };
        let (sink, source) = mpsc::channel(LOG_QUEUE);
        let lookup = Arc::clone(&self.lookup);
        self.shutdown.spawn_until(async move {
            let ended = lookup.ended(&place.uid, &place.container_id);
            if let Err(error) = logs::stream(&path, options, ended, sink).await {
                tracing::warn!(%error, path = %path.display(), "log not read");
            }
        });
        let frames = futures::stream::unfold(source, |mut source| async move {
            source.recv().await.map(|bytes| (Ok(Frame::data(bytes)), source))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    /// The newest rates.
    async fn usage(&self) -> Response<Body> {
        let report = self.stats.report().await.and_then(|summary| serde_json::to_string(&summary).ok());
        let mut response = text(StatusCode::OK, report.as_deref().unwrap_or("{}"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// An answer that refuses; boxed, being large and rare.
type Refused = Box<Response<Body>>;
type Answer = Result<Response<Body>, Refused>;

fn text(status: StatusCode, message: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(message.as_bytes())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn refusal(status: StatusCode, message: &str) -> Refused {
    Box::new(text(status, message))
}

fn unknown_protocols(offered: &[String]) -> Refused {
    let message = format!("unable to upgrade: unable to negotiate protocol: client supports {offered:?}");
    let mut response = refusal(StatusCode::FORBIDDEN, &message);
    for name in spdy_command::versions() {
        response.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
    }
    response
}

/// The API's names and the kubelet's own for the same switches.
fn wanted(query: &Query, tty: bool) -> Result<Wanted, Refused> {
    let wanted = Wanted {
        stdin: query.is_set(&["stdin", "input"]),
        stdout: query.is_set(&["stdout", "output"]),
        // A terminal has only one output.
        stderr: query.is_set(&["stderr", "error"]) && !tty,
        tty,
    };
    if wanted.stdin || wanted.stdout || wanted.stderr {
        Ok(wanted)
    } else {
        Err(refusal(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"))
    }
}

fn ports(query: &Query) -> Result<Vec<u16>, Refused> {
    let texts = query.all("port").into_iter().chain(query.all("ports"));
    let parsed: Result<Vec<u16>, _> = texts
        .flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
        .map(|port| port.parse())
        .collect();
    match parsed {
        // Channels are numbered by one byte, two per port.
        Ok(ports) if (1..=127).contains(&ports.len()) && !ports.contains(&0) => Ok(ports),
        _ => Err(refusal(StatusCode::BAD_REQUEST, "query parameter \"port\" is required and must be a port")),
    }
}

/// What the client wants the connection to become.
enum Upgrade {
    WebSocket { accept: String, offered: Vec<String> },
    Spdy { offered: Vec<String> },
}

impl Upgrade {
    fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let is = |wanted: &str| {
            let values = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
        };
        if is("websocket") {
            let key = headers.get(SEC_WEBSOCKET_KEY);
            let key = key.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"))?;
            let accept = derive_accept_key(key.as_bytes());
            return Ok(Self::WebSocket { accept, offered: listed(headers, &SEC_WEBSOCKET_PROTOCOL) });
        }
        if is(SPDY) {
            return Ok(Self::Spdy { offered: listed(headers, &STREAM_PROTOCOL) });
        }
        Err(refusal(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request"))
    }
}

/// All values of a header that may repeat and have commas.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let values = values.flat_map(|value| value.split(',')).map(str::trim);
    values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
}

fn switch(protocol: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

fn switch_to_spdy(version: &'static str) -> Response<Body> {
    let mut response = switch(SPDY);
    if !version.is_empty() {
        response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(version));
    }
    response
}

fn switch_to_websocket(accept: &str, protocol: &'static str) -> Response<Body> {
    let mut response = switch("websocket");
    if let Ok(accept) = HeaderValue::from_str(accept) {
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if !protocol.is_empty() {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}
