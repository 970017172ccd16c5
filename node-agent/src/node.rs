//! What every part of the agent shares: configuration, dependencies, facts about the machine.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use client::events::Recorder;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;

use crate::container_runtime::ContainerRuntime;
use crate::environment::PodFacts;
use crate::lookup::PodTable;
use crate::machine::Machine;
use crate::network::PodNetwork;
use crate::sources::Sources;
use crate::stages::ImageService;
use crate::stages::tokens::TokenStore;
use crate::volumes::Locations;

/// Shared by all workers.
pub struct Node {
    /// As configured.
    pub config: crate::Config,
    /// To the API server, as this node.
    pub client: kube::Client,
    /// Time.
    pub clock: SharedClock,
    /// Chance.
    pub rng: Rng,
    /// Ends tasks.
    pub shutdown: Shutdown,
    /// Runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Connects pods.
    pub network: Arc<dyn PodNetwork>,
    /// Has images.
    pub images: Arc<dyn ImageService>,
    /// Takes events.
    pub recorder: Recorder,
    /// Watches the API.
    pub sources: Sources,
    /// Where volumes live.
    pub locations: Locations,
    /// Where logs live.
    pub logs: PathBuf,
    /// Service-account tokens in use.
    pub tokens: TokenStore,
    /// What runs where, for the node API and statistics.
    pub table: Arc<PodTable>,
    /// The machine.
    pub machine: Machine,
}

impl Node {
    /// What the downward API says about a pod with these addresses.
    pub fn pod_facts(&self, addresses: &[IpAddr]) -> PodFacts {
        let texts = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect();
        PodFacts {
            pod_ips: texts(addresses),
            host_ips: texts(&self.config.node_ips),
            node_allocatable_milli_cpu: i128::from(self.machine.cpus) * 1_000,
            node_allocatable_memory_bytes: i128::from(self.machine.allocatable_memory_bytes()),
        }
    }
}
