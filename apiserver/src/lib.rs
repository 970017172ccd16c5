//! The API server: request chain, verbs, the registry pipeline, storage engines.
//!
//! Entry point: [`run`]. Reading order: `chain` (the filters), `request`, `authn`, `authz`, `handlers`
//! (one file per verb), `registry` (the pipeline of every write), `deletion`, `subresources`, `storage`.
//! Only this crate touches storage.

mod admission;
mod aggregator;
mod allocators;
mod api_services;
mod authn;
mod authz;
mod backends;
mod bootstrap;
mod call;
mod chain;
mod component_status;
mod compression;
mod custom_resources;
mod deletion;
mod encode;
mod expiry;
mod flow_control;
mod followed;
mod followed_file;
mod handlers;
mod health;
mod methods;
mod metrics;
mod metrics_api;
mod negotiation;
mod node_proxy;
mod output;
mod paths;
mod registry;
mod relay;
mod request;
mod reviews;
mod serve;
mod subresources;
mod transport;
mod warnings;
mod webhook_client;

pub mod audit;
pub mod discovery;
pub mod document;
pub mod encryption;
pub mod openapi;
pub mod storage;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{KindTable, Status};
use axum::body::Body;
use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, TlsError};
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio_rustls::TlsAcceptor;

use admission::policy::policies;
use admission::webhook::{configurations as hooks, namespaces};
pub use admission::{EventLimit, EventLimitType, Standards, Switches};
pub use allocators::{Ipv4Range, NODE_PORTS};
pub use authn::{
    AnonymousCondition, AuthenticationSettings, OidcSettings, RequestHeaderSettings, SettingsError,
};
use call::Server;
pub use flow_control::SEATS;
use followed::{Followed, Index};
use storage::{Store, StoreError};

/// The port in the `kubernetes` Service's endpoints when nothing listens.
const DEFAULT_PORT: u16 = 6443;

/// What a server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; `None` serves in process only.
    pub bind: Option<SocketAddr>,
    /// The address of this machine that others use; goes into the `kubernetes` endpoints.
    pub advertise: IpAddr,
    /// Certificates and keys.
    pub pki: Arc<Pki>,
    /// Where cluster IPs come from; the first address is the API server's own service.
    pub service_range: Ipv4Range,
    /// DNS domain, such as `cluster.local`.
    pub cluster_domain: String,
    /// What is served; usually [`api::kinds::builtin`].
    pub kinds: KindTable,
    /// How long peers may take.
    pub timeouts: Timeouts,
    /// An `AuthorizationConfiguration` file; without one, nodes and RBAC decide.
    pub authorization: Option<PathBuf>,
    /// Which admission plugins run.
    pub admission: Switches,
    /// Who may be who.
    pub authentication: AuthenticationSettings,
    /// What is written down of who did what.
    pub audit: audit::Options,
    /// Seats for which requests wait (upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`
    /// together); `None` lets all run at once (`--enable-priority-and-fairness=false`).
    pub seats: Option<u64>,
    /// The other parts of the control plane that run in this process, by their names in `componentstatuses`.
    pub parts: Vec<(&'static str, Shutdown)>,
}

/// How long a peer may take before its connection, or its request, ends.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the TLS handshake, and for the whole header of a request.
    pub read_header: Duration,
    /// Between requests.
    pub idle: Duration,
    /// For a request, its body included, unless it is one that lasts (a watch, a log, a stream).
    pub request: Duration,
    /// For reading anything of what is written to it.
    pub stall: Duration,
}

impl Default for Timeouts {
    /// Upstream's. It lets connections stall for ever; ours may for as long as a person pauses `kubectl logs -f`.
    fn default() -> Self {
        Self {
            read_header: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            request: Duration::from_secs(60),
            stall: Duration::from_secs(600),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("{}", bind_text(*.address, .source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// Certificates are not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Authentication cannot be set up as asked.
    #[error("authentication: {0}")]
    Authentication(#[from] SettingsError),
    /// Auditing did not start.
    #[error(transparent)]
    Audit(#[from] audit::AuditError),
    /// The store failed.
    #[error("reading the store: {0}")]
    Store(#[from] StoreError),
    /// Admission is not configured as it can be.
    #[error("{0}")]
    Admission(String),
    /// The file that says who decides who may do what cannot be used.
    #[error("authorization: {0}")]
    Authorization(String),
    /// The first objects could not be written.
    #[error("writing the first objects: {0}")]
    Bootstrap(#[source] Status),
}

fn bind_text(address: SocketAddr, source: &std::io::Error) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: another program uses this address; stop it (`ss -ltnp` shows which) or choose another with --bind"
        ),
        std::io::ErrorKind::AddrNotAvailable => format!(
            "cannot listen on {address}: this machine has no such address; choose another with --bind"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {address}: not permitted; ports below 1024 need root, choose another with --bind"
        ),
        _ => format!("cannot listen on {address}: {source}"),
    }
}

/// A server that runs.
pub struct Running {
    /// The way in for parts of the same process.
    pub local: LocalService,
    /// Where it listens; `None` when it serves in process only. With port 0 asked for, the real port.
    pub address: Option<SocketAddr>,
}

/// Starts an API server and returns once it can serve: allocators are rebuilt, the first objects are
/// there, the port is bound. It runs until `shutdown` is triggered; `shutdown.drained()` then waits for
/// open requests (watches end at once). The store stays the caller's to close.
///
/// # Errors
/// When the port, the certificates or the store cannot be used.
pub async fn run(
    config: Config,
    store: Arc<dyn Store>,
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
) -> Result<Running, Error> {
    let listener = match config.bind {
        Some(address) => Some(serve::bind(address).await?),
        None => None,
    };
    let address = match (&listener, config.bind) {
        (Some(listener), Some(asked)) => Some(listener.local_addr().unwrap_or(asked)),
        _ => None,
    };
    let acceptor = TlsAcceptor::from(config.pki.server_config()?);
    let nodes = node_proxy::Nodes::new(config.pki.agent_client_config()?, Arc::clone(&clock))?;
    let authentication =
        authn::Authentication::new(config.authentication.clone(), &authn::issuer_of(&config.cluster_domain))?;
    let credentials = authentication.credentials.load(&*store).await?;
    let allocators = stored_services(&config, &*store).await?;
    let port = address.map_or(DEFAULT_PORT, |address| address.port());
    let admission = admission::Chain::new(&config.admission).map_err(Error::Admission)?;
    let (advertise, seats) = (config.advertise, config.seats.unwrap_or(SEATS));
    let authz = authz::Authorizers::new(config.authorization.as_deref()).map_err(Error::Authorization)?;
    let audit = audit::Audit::open(config.audit.clone(), &clock, &shutdown)?;
    let (served, _) = tokio::sync::watch::channel(Arc::new(call::Served::new(config.kinds.clone())));
    let delegations = Followed::<aggregator::Delegations>::new(&[aggregator::SERVICES]);
    let delegation_events = delegations.load(&*store).await?;
    let server = Arc::new(Server {
        served,
        delegations,
        custom_rows: custom_resources::Rows::default(),
        cleaning: parking_lot::Mutex::default(),
        authentication,
        config,
        store,
        clock,
        rng,
        shutdown: shutdown.clone(),
        allocators,
        admission,
        hooks: Followed::new(&hooks::KINDS),
        policies: Followed::new(&policies::KINDS),
        namespaces: Followed::new(&namespaces::KINDS),
        backends: Followed::new(&backends::KINDS),
        webhook_clients: webhook_client::Clients::default(),
        audit,
        flow_control: flow_control::FlowControl::new(seats),
        address: SocketAddr::new(advertise, port).to_string(),
        nodes,
        authz,
    });
    custom_resources::load(&server).await.map_err(Error::Bootstrap)?;
    bootstrap::run(&server, port).await.map_err(Error::Bootstrap)?;
    shutdown.spawn_until(Followed::keep(
        Arc::clone(&server),
        |server| &server.authentication.credentials,
        credentials,
    ));
    follow(&server, &shutdown, |server| &server.namespaces).await?;
    follow(&server, &shutdown, |server| &server.backends).await?;
    follow(&server, &shutdown, |server| &server.hooks).await?;
    follow(&server, &shutdown, |server| &server.policies).await?;
    follow(&server, &shutdown, |server| &server.authz.rbac).await?;
    follow(&server, &shutdown, |server| &server.authz.node).await?;
    if server.config.seats.is_some() {
        flow_control::bootstrap::run(&server).await.map_err(Error::Bootstrap)?;
        follow(&server, &shutdown, |server| &server.flow_control.followed).await?;
        shutdown.spawn_until(flow_control::bootstrap::keep(Arc::clone(&server)));
    }
    shutdown.spawn(audit::flush_at_end(Arc::clone(&server)));
    shutdown.spawn_until(custom_resources::run(Arc::clone(&server)));
    shutdown.spawn_until(admission::policy::type_checking::run(Arc::clone(&server)));
    shutdown.spawn_until(bootstrap::keep(Arc::clone(&server), port));
    shutdown.spawn_until(api_services::keep(Arc::clone(&server)));
    shutdown.spawn_until(expiry::run(Arc::clone(&server)));
    shutdown.spawn_until(authn::jwt::keep(Arc::clone(&server)));
    shutdown.spawn_until(authz::keep(Arc::clone(&server)));
    shutdown.spawn_until(Followed::keep(
        Arc::clone(&server),
        |server| &server.delegations,
        delegation_events,
    ));
    shutdown.spawn_until(aggregator::keep(Arc::clone(&server)));
    shutdown.spawn_until(encryption::upkeep::run(Arc::clone(&server)));
    if let Some(listener) = listener {
        // Nobody else can reach a server that does not listen.
        authn::published::publish(&server).await.map_err(Error::Bootstrap)?;
        shutdown.spawn_until(authn::published::keep(Arc::clone(&server)));
        shutdown.spawn(serve::accept_loop(Arc::clone(&server), listener, acceptor));
    }
    Ok(Running { local: LocalService { server }, address })
}

/// Loads an index, and keeps it as long as the server lives.
async fn follow<I: Index>(
    server: &Arc<Server>,
    shutdown: &Shutdown,
    of: fn(&Server) -> &Followed<I>,
) -> Result<(), StoreError> {
    let events = of(server).load(&*server.store).await?;
    shutdown.spawn_until(Followed::keep(Arc::clone(server), of, events));
    Ok(())
}

async fn stored_services(config: &Config, store: &dyn Store) -> Result<allocators::Allocators, StoreError> {
    let page = store.list(&api::names::storage_prefix("", "services", None), None, 0, None).await?;
    let services: Vec<serde_json::Value> =
        page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.bytes).ok()).collect();
    Ok(allocators::Allocators::new(config.service_range, services.iter()))
}

/// The server as a `tower` service for callers in the same process: no TLS, no sockets. The caller's
/// identity is the [`component_base::user::UserInfo`] in the request's extensions.
#[derive(Clone)]
pub struct LocalService {
    server: Arc<Server>,
}

impl LocalService {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        chain::handle(Arc::clone(&self.server), request.map(Body::new)).await
    }
}

impl<B> tower::Service<Request<B>> for LocalService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = Arc::clone(&self.server);
        Box::pin(async move { Ok(chain::handle(server, request.map(Body::new)).await) })
    }
}
