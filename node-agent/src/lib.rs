//! The node agent: pod lifecycle, runtime, images, volumes, network, node API.
//!
//! Entry points: [`run`] and [`teardown`]. Pods come from [`sources`], each gets a worker ([`pod_workers`]) that
//! asks [`pod_actions`] what to do, lets [`stages`] do it and writes what [`pod_status`] says. Everything the
//! agent knows is rebuilt from the runtime and the API, so it may die at any time.

// Pods: from the API to containers and back.
pub mod environment;
pub mod event_loop;
pub mod exec_output;
pub mod hooks;
pub mod lookup;
pub mod machine;
pub mod node;
pub mod node_status;
pub mod observed;
pub mod pod_actions;
pub mod pod_events;
pub mod pod_status;
pub mod pod_workers;
pub mod probes;
pub mod resources;
pub mod sources;
pub mod stages;
pub mod stats;
pub mod termination_message;
pub mod volumes;

// What pods run on.
pub mod container_runtime;
pub mod images;
pub mod network;
pub mod os;
pub mod proxy;
pub mod seccomp;
pub mod server;
pub mod shim;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::events::Recorder;
use client::informer::Informers;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};

use container_runtime::{ContainerRuntime, RuntimeError};
use event_loop::Event;
use lookup::PodTable;
use network::{NetworkError, PodNetwork};
use node::Node;
use sources::Sources;
use stages::ImageService;
use stages::tokens::TokenStore;
use stats::Sampler;
use volumes::{Locations, VolumeError};

/// How this node is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// `metadata.name` of the Node.
    pub node_name: String,
    /// `DIR`; the agent keeps to `DIR/node`.
    pub data_dir: PathBuf,
    /// Root of all pod cgroups, such as `/gantry`.
    pub cgroup_root: String,
    /// Addresses of the node, primary one first.
    pub node_ips: Vec<IpAddr>,
    /// Port of the node API.
    pub port: u16,
    /// `spec.podCIDR`.
    pub pod_cidr: Option<String>,
    /// Labels beside the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Most pods this node takes.
    pub max_pods: u32,
    /// Suffix of cluster names.
    pub cluster_domain: String,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; empty takes the host's.
    pub cluster_dns: Vec<IpAddr>,
    /// The host's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Keep secrets and `medium: Memory` in tmpfs; off only where mounting is not possible (tests).
    pub mount_tmpfs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            data_dir: PathBuf::from("/var/lib/gantry"),
            cgroup_root: "/gantry".to_owned(),
            node_ips: Vec::new(),
            port: 10_250,
            pod_cidr: None,
            labels: BTreeMap::new(),
            max_pods: 110,
            cluster_domain: "cluster.local".to_owned(),
            cluster_dns: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            mount_tmpfs: true,
        }
    }
}

impl Config {
    /// Where volumes live.
    pub fn locations(&self) -> Locations {
        let node = self.data_dir.join("node");
        Locations { pods: node.join("pods"), memory: node.join("memory"), mount_tmpfs: self.mount_tmpfs }
    }

    /// Where logs live: `<namespace>_<pod>_<uid>/<container>/<attempt>.log`.
    pub fn logs(&self) -> PathBuf {
        self.data_dir.join("node").join("logs")
    }
}

/// What the agent works with.
pub struct Dependencies {
    /// Time.
    pub clock: SharedClock,
    /// Chance.
    pub rng: Rng,
    /// Runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Connects pods.
    pub network: Arc<dyn PodNetwork>,
    /// Has images.
    pub images: Arc<dyn ImageService>,
    /// Watches the API as this node.
    pub informers: Informers,
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory or mount of the data directory cannot be made.
    #[error("prepare {path}: {source}")]
    Prepare {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tmpfs for secrets cannot be mounted.
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    /// The runtime cannot tell what runs.
    #[error("recover pods: {0}")]
    Runtime(#[from] RuntimeError),
    /// The pod network cannot be taken over.
    #[error("recover the pod network: {0}")]
    Network(#[from] NetworkError),
}

/// A started agent.
pub struct Running {
    /// For the node API: which pod is which container, and where its logs are.
    pub pods: Arc<PodTable>,
    /// For the node API: `GET /metrics/usage`.
    pub stats: Arc<Sampler>,
    /// True once the API shows the node as Ready.
    pub ready: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
}

impl Running {
    /// Images were added to the store: containers that wait for one try again at once.
    pub fn images_changed(&self) {
        let _stopped = self.events.send(Event::Images).is_err();
    }

    /// Completes when the node is Ready in the API.
    pub async fn until_ready(&mut self) {
        let _stopped = self.ready.wait_for(|ready| *ready).await.is_err();
    }
}

/// Starts the agent: takes over what runs, registers the node, works on its pods until `shutdown`. Returns as
/// soon as everything is started; pods keep running after shutdown.
///
/// # Errors
/// When the data directory, the runtime or the network cannot be used.
pub async fn run(
    config: Config,
    client: kube::Client,
    dependencies: Dependencies,
    shutdown: Shutdown,
) -> Result<Running, StartError> {
    let Dependencies { clock, rng, runtime, network, images, informers } = dependencies;
    let (locations, logs) = (config.locations(), config.logs());
    for dir in [&locations.pods, &logs] {
        let failed = |source| StartError::Prepare { path: dir.clone(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    volumes::prepare_memory(&locations)?;
    let recovered = runtime.recover().await?;
    let live: Vec<(String, PathBuf)> = recovered
        .iter()
        .filter(|record| !record.config.host_network && record.shim_pid != 0)
        .map(|record| (record.config.uid.clone(), record.netns.clone()))
        .collect();
    network.recover(&live).await?;
    let runtime_events = runtime.events();

    let (sender, events) = mpsc::unbounded_channel();
    let sources = Sources::start(informers, &config.node_name, sender.clone());
    let recorder = Recorder::new(client.clone(), clock.clone(), "kubelet", &config.node_name, &shutdown);
    let table = Arc::new(PodTable::new(logs.clone()));
    let stats = Arc::new(Sampler::new(runtime.clone(), table.clone(), clock.clone()));
    let machine = machine::Machine::read(&config.data_dir);
    let node = Arc::new(Node {
        config,
        client,
        clock,
        rng,
        shutdown: shutdown.clone(),
        runtime,
        network,
        images,
        recorder,
        sources,
        locations,
        logs,
        tokens: TokenStore::default(),
        table: table.clone(),
        machine,
    });
    let (ready_sender, ready) = watch::channel(false);
    shutdown.spawn_until(node_status::Reporter::new(node.clone(), ready_sender).run());
    shutdown.spawn_until(event_loop::run(node, recovered, sender.clone(), events, runtime_events));
    let sampler = stats.clone();
    shutdown.spawn_until(async move { sampler.run().await });
    Ok(Running { pods: table, stats, ready, events: sender })
}

/// Stops and removes every pod of a data directory, with its volumes and logs, from what is on disk alone
/// (`gantry down`). The caller then removes the pod network and the service proxy ([`network::teardown`]).
///
/// # Errors
/// What could not be removed; everything else is removed nevertheless.
pub async fn teardown(data_dir: &Path, runtime: &dyn ContainerRuntime) -> Result<(), TeardownError> {
    let mut failures = Vec::new();
    match runtime.recover().await {
        Ok(records) => {
            for record in records {
                if let Err(error) = runtime.remove_pod(&record.config.uid).await {
                    failures.push(format!("pod {}: {error}", record.config.uid));
                }
            }
        }
        Err(error) => failures.push(format!("list pods: {error}")),
    }
    let node = data_dir.join("node");
    for part in ["pods", "memory", "logs"] {
        let dir = node.join(part);
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        // Nothing is deleted below a mount that could not be removed: it may be somebody's hostPath.
        if let Err(error) = volumes::unmount_below(&real) {
            failures.push(error.to_string());
        } else if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            failures.push(format!("remove {}: {error}", dir.display()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(TeardownError(failures)) }
}

/// What [`teardown`] could not remove.
#[derive(Debug, thiserror::Error)]
#[error("not removed: {}", .0.join("; "))]
pub struct TeardownError(pub Vec<String>);
