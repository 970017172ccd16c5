//! THE table of controllers, and what starts them.

use client::controller::{self, Controller, Harness};
use client::events::Recorder;
use client::execute::Executor;
use client::informer::Informers;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;

use crate::deployment::Deployments;
use crate::replica_set::ReplicaSets;

/// What the controllers cannot find out from the cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// PEM of the cluster's certificate authority, published to every namespace.
    pub root_ca: String,
    /// Addresses for pods, such as `10.42.0.0/16`; each node gets a part.
    pub cluster_cidr: String,
    /// Prefix length of each node's part.
    pub node_cidr_mask: u8,
    /// Ended pods kept in the whole cluster before the oldest are removed; 0 keeps all.
    pub terminated_pod_threshold: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root_ca: String::new(),
            cluster_cidr: "10.42.0.0/16".to_owned(),
            node_cidr_mask: 24,
            terminated_pod_threshold: 12_500,
        }
    }
}

/// What starting one controller takes.
struct Start<'a> {
    client: kube::Client,
    config: &'a Config,
    informers: Informers,
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
}

impl Start<'_> {
    fn run<C: Controller>(&self, controller: C) {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let recorder = Recorder::new(client.clone(), clock.clone(), controller.name(), "", &self.shutdown);
        let executor = Executor::new(client, recorder);
        let (informers, shutdown) = (self.informers.clone(), self.shutdown.clone());
        controller::run(controller, Harness { informers, executor, clock, shutdown });
    }
}

/// A name, and what starts the controller.
type Row = (&'static str, fn(&Start<'_>));

/// In no particular order: each runs on its own.
const CONTROLLERS: &[Row] = &[
    ("replicaset", |start| start.run(ReplicaSets::new(&start.informers))),
    ("deployment", |start| start.run(Deployments::new(&start.informers))),
];

/// Starts every controller and returns; they run until shutdown.
///
/// `informers` may be shared with other parts of the process. Must be called inside a tokio runtime.
pub fn run(
    client: kube::Client,
    informers: Informers,
    config: &Config,
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
) {
    let start = Start { client, config, informers, clock, rng, shutdown };
    for (name, begin) in CONTROLLERS {
        tracing::debug!(controller = name, "starting");
        begin(&start);
    }
}
