//! `gantry up`: control plane and node agent in one process, until told to stop.
//!
//! Entry point: [`run`]. Pods are held by their shims, so stopping, crashing and starting again leaves
//! them alone; `down` is what removes them.

mod agent;
pub mod data_dir;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use apiserver::encryption::Encryption;
use apiserver::storage::{Store, embedded, etcd};
use client::informer::Informers;
use client::kubeconfig::ADMIN_KUBECONFIG;
use component_base::clock::{RealClock, SharedClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, SubjectNames, TlsError};
use component_base::user::UserInfo;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Engine, Flags};
pub use data_dir::{DataDir, running};

/// DNS domain of services and pods.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Prefix length of each node's part of the pod addresses.
const NODE_CIDR_MASK: u8 = 24;

/// Open files and connections of the process, unless it may have more anyway.
const MOST_DESCRIPTORS: u64 = 65_536;

/// Runs a cluster until SIGINT or SIGTERM.
///
/// # Errors
/// When a setting is wrong, root is missing, or something cannot be opened; the text says what to do.
pub fn run(flags: Flags) -> Result<()> {
    let config = flags.resolve()?;
    if config.agent && !nix::unistd::geteuid().is_root() {
        bail!("pods need root: run as root, or with --no-agent for the control plane only");
    }
    component_base::telemetry::init();
    allow_connections();
    give_memory_back();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

/// A connection is a descriptor, and what a process may open unasked (1,024 under systemd) is soon used up
/// by clients that only sit there. No more than [`MOST_DESCRIPTORS`]: containers inherit the number, and
/// some programs walk through it.
fn allow_connections() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, most)| {
        setrlimit(Resource::RLIMIT_NOFILE, now.max(most.min(MOST_DESCRIPTORS)), most)
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What a burst needed and nobody uses goes back to the system after ten seconds: by itself the allocator looks only
/// when more is asked for, and an idle server asks for nothing. Not in shims, which have one thread.
fn give_memory_back() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!(%error, "freed memory is kept for later");
    }
}

/// What every part is given.
#[derive(Clone)]
struct Base {
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
}

/// The shutdown as each part of the control plane holds it.
struct Parts {
    controllers: Shutdown,
    scheduler: Shutdown,
}

impl Base {
    fn informers(&self, client: kube::Client) -> Informers {
        Informers::new(client, Arc::clone(&self.clock), self.rng.clone(), self.shutdown.clone())
    }
}

async fn serve(config: Config) -> Result<()> {
    let base = Base { clock: RealClock::shared(), rng: Rng::from_system(), shutdown: Shutdown::new() };
    base.shutdown.on_signals().context("cannot listen for signals")?;
    let data_dir = DataDir::open(&config.data_dir)?;
    let store = open_store(&config, &data_dir, &base).await?;
    let outcome = serve_from(&config, &data_dir, &base, Arc::clone(&store)).await;
    base.shutdown.trigger();
    base.shutdown.drained().await;
    store.close().await;
    outcome
}

/// Who holds the keys of what is encrypted in the store. Its own stand among the cluster's other keys: what is
/// kept to bring a cluster back, or given to a second server, is one directory, and never a part of a snapshot.
fn open_encryption(config: &Config, data_dir: &DataDir, base: &Base) -> Result<Encryption> {
    let settings = &config.api_server;
    let (clock, rng) = (Arc::clone(&base.clock), base.rng.clone());
    Ok(match &settings.encryption_provider_config {
        Some(file) => {
            let follow = settings.encryption_provider_config_automatic_reload;
            Encryption::given(file, follow, clock, rng)?
        }
        None => {
            let shared = matches!(config.store, Engine::Etcd(_));
            Encryption::own(&data_dir.path("pki").join("encryption.yaml"), shared, clock, rng)?
        }
    })
}

async fn open_store(config: &Config, data_dir: &DataDir, base: &Base) -> Result<Arc<dyn Store>> {
    let clock = &base.clock;
    Ok(match &config.store {
        Engine::Memory => apiserver::storage::memory::Memory::open(),
        Engine::Embedded => {
            let usual = embedded::Limits::default();
            let history = config.history.age.unwrap_or(usual.history);
            let history_bytes = config.history.bytes.unwrap_or(usual.history_bytes);
            let limits = embedded::Limits { history, history_bytes, ..usual };
            let encryption = open_encryption(config, data_dir, base)?;
            embedded::Embedded::open_sealed(&data_dir.path("store"), Arc::clone(clock), limits, encryption)?
        }
        Engine::Etcd(endpoints) => {
            let usual = etcd::Options::default();
            let encryption = open_encryption(config, data_dir, base)?;
            let options =
                etcd::Options { history: config.history.age.or(usual.history), encryption, ..usual };
            etcd::Etcd::open_with(endpoints.clone(), Arc::clone(clock), options).await?
        }
    })
}

async fn serve_from(config: &Config, data_dir: &DataDir, base: &Base, store: Arc<dyn Store>) -> Result<()> {
    let service_range = apiserver::Ipv4Range::parse(&config.service_cidr)
        .with_context(|| format!("{} is no address range", config.service_cidr))?;
    let names = SubjectNames::for_api_server(
        CLUSTER_DOMAIN,
        std::slice::from_ref(&config.node_name),
        &[config.advertise, config.bind.ip(), service_range.address(1).into()],
    );
    let pki = Arc::new(Pki::open_with(&data_dir.path("pki"), &names, base.clock.now(), config.lifetimes)?);
    let parts = Parts { controllers: base.shutdown.part(), scheduler: base.shutdown.part() };
    let server = apiserver::run(
        apiserver::Config {
            bind: Some(config.bind),
            advertise: config.advertise,
            pki: Arc::clone(&pki),
            service_range,
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            kinds: api::kinds::builtin(),
            timeouts: apiserver::Timeouts::default(),
            authentication: config.api_server.authentication()?,
            authorization: config.api_server.authorization_config.clone(),
            admission: config.admission.clone(),
            audit: config.api_server.audit(&config.data_dir)?,
            seats: config.api_server.seats()?,
            parts: vec![
                ("controller-manager", parts.controllers.clone()),
                ("scheduler", parts.scheduler.clone()),
            ],
        },
        store,
        Arc::clone(&base.clock),
        base.rng.clone(),
        base.shutdown.clone(),
    )
    .await?;
    let address = server.address.unwrap_or(config.bind);
    let url = format!("https://{}", reachable(address, config));
    let kubeconfig = data_dir.path(ADMIN_KUBECONFIG);
    let kubeconfigs: Vec<PathBuf> =
        std::iter::once(kubeconfig.clone()).chain(config.kubeconfig_out.clone()).collect();
    write_kubeconfigs(&pki, &kubeconfigs, &url)?;
    keep_certificates(base, &pki, kubeconfigs, url.clone())?;
    let local = |name: &str, groups: &[&str]| {
        client::transport::in_process(server.local.clone(), UserInfo::component(name, groups))
    };
    start_control_plane(config, base, parts, &pki, &local);
    if config.agent {
        let user = format!("system:node:{}", config.node_name);
        let proxy = local("system:kube-proxy", &[]);
        agent::start(config, base, &pki, local(&user, &["system:nodes"]), proxy).await?;
    }
    announce(config, &url, &kubeconfig, base.clock.monotonic());
    base.shutdown.triggered().await;
    Ok(())
}

fn write_kubeconfigs(pki: &Pki, paths: &[PathBuf], url: &str) -> Result<(), TlsError> {
    paths.iter().try_for_each(|path| pki.write_admin_kubeconfig(path, url))
}

/// Certificates are renewed as long as the process runs, at once when it is told that somebody changed them
/// (SIGUSR1, as `gantry certs` does); kubeconfigs follow.
fn keep_certificates(base: &Base, pki: &Arc<Pki>, paths: Vec<PathBuf>, url: String) -> Result<()> {
    base.shutdown.spawn_until(Arc::clone(pki).keep(Arc::clone(&base.clock)));
    let mut told = signal(SignalKind::user_defined1()).context("cannot listen for signals")?;
    let reloaded = Arc::clone(pki);
    base.shutdown.spawn_until(async move {
        while told.recv().await.is_some() {
            reloaded.reload();
        }
    });
    let (pki, mut changed) = (Arc::clone(pki), pki.changed());
    base.shutdown.spawn_until(async move {
        while changed.changed().await.is_ok() {
            if let Err(error) = write_kubeconfigs(&pki, &paths, &url) {
                tracing::error!(%error, "the administrator's kubeconfig is not up to date");
            }
        }
    });
    Ok(())
}

/// Controllers and scheduler share one set of informers: each kind is watched, and kept, once.
fn start_control_plane(
    config: &Config,
    base: &Base,
    parts: Parts,
    pki: &Arc<Pki>,
    local: &dyn Fn(&str, &[&str]) -> kube::Client,
) {
    let controllers = local("system:kube-controller-manager", &[]);
    let informers = base.informers(controllers.clone());
    let settings = controller_manager::Config {
        pki: Some(Arc::clone(pki)),
        cluster_cidr: config.pod_cidr.clone(),
        node_cidr_mask: NODE_CIDR_MASK,
        ..controller_manager::Config::default()
    };
    let Base { clock, rng, .. } = base.clone();
    controller_manager::run(controllers, informers.clone(), &settings, clock, rng, parts.controllers);
    let Base { clock, rng, .. } = base.clone();
    let scheduler = local("system:kube-scheduler", &[]);
    let explanations = scheduler::Explanations::default();
    let shutdown = parts.scheduler.clone();
    let run = scheduler::run_sharing(scheduler, informers, clock, rng, shutdown, explanations);
    parts.scheduler.spawn(run);
}

/// The only line on standard output: where the cluster is and how to use it.
fn announce(config: &Config, url: &str, kubeconfig: &std::path::Path, took: Duration) {
    let node = if config.agent { format!("node {}, ", config.node_name) } else { String::new() };
    let seconds = took.as_secs_f64();
    println!("gantry is ready at {url} ({node}{seconds:.2} s); export KUBECONFIG={}", kubeconfig.display());
}

/// The address that kubeconfigs name: the bound one, or for a wildcard the advertised one.
fn reachable(bound: SocketAddr, config: &Config) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(config.advertise, bound.port()) } else { bound }
}
