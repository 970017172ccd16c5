//! THE table of controllers, and what starts them.

use std::sync::Arc;

use client::controller::{self, Controller, Harness};
use client::events::Recorder;
use client::execute::Executor;
use client::informer::Informers;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::Pki;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;

use crate::bootstrap_tokens;
use crate::certificates;
use crate::certificates::approving::Approving;
use crate::certificates::signing::Signing;
use crate::cluster_role_aggregation::ClusterRoleAggregation;
use crate::deployment::Deployments;
use crate::discovery::Kinds;
use crate::endpoint_slice::EndpointSlices;
use crate::endpoints::EndpointsObjects;
use crate::garbage_collector::Collector;
use crate::horizontal::Horizontal;
use crate::namespace::Namespaces;
use crate::node_ipam::{NodeAddresses, Range};
use crate::node_lifecycle::NodeLifecycle;
use crate::pod_gc::PodGarbage;
use crate::replica_set::ReplicaKeeper;
use crate::resource_quota::Quotas;
use crate::root_ca::RootAuthorities;
use crate::service_account::ServiceAccounts;
use crate::service_account_token::Tokens;
use crate::taint_eviction::TaintEviction;
use crate::volume_protection::{Claims, Volumes};

/// What the controllers cannot find out from the cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's certificates and keys. Controllers that publish or sign with them do not run without.
    pub pki: Option<Arc<Pki>>,
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
            pki: None,
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
    kinds: Kinds,
    clock: SharedClock,
    shutdown: Shutdown,
}

impl Start<'_> {
    fn harness(&self, name: &str) -> Harness {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let recorder = Recorder::new(client.clone(), clock.clone(), name, "", &self.shutdown);
        let executor = Executor::new(client, recorder);
        Harness { informers: self.informers.clone(), executor, clock, shutdown: self.shutdown.clone() }
    }

    fn run<C: Controller>(&self, controller: C) {
        let harness = self.harness(controller.name());
        controller::run(controller, harness);
    }

    fn with_pki<C: Controller>(&self, make: impl FnOnce(Arc<Pki>) -> C) {
        if let Some(pki) = &self.config.pki {
            self.run(make(Arc::clone(pki)));
        }
    }
}

/// A name, and what starts the controller.
type Row = (&'static str, fn(&Start<'_>));

/// In no particular order: each runs on its own.
const CONTROLLERS: &[Row] = &[
    ("namespace", |start| start.run(Namespaces::new(&start.informers, &start.kinds))),
    ("serviceaccount", |start| start.run(ServiceAccounts::new(&start.informers))),
    ("clusterrole-aggregation", |start| start.run(ClusterRoleAggregation::new(&start.informers))),
    ("root-ca-certificate-publisher", |start| {
        start.with_pki(|pki| RootAuthorities::new(&start.informers, pki, start.shutdown.clone()));
    }),
    ("serviceaccount-token", |start| start.with_pki(|pki| Tokens::new(&start.informers, pki))),
    ("certificatesigningrequest-approving", |start| start.run(Approving::new(&start.informers))),
    ("certificatesigningrequest-signing", |start| {
        start.with_pki(|pki| Signing::new(&start.informers, pki));
    }),
    ("certificatesigningrequest-cleaner", |start| {
        start.run(certificates::cleaner::Cleaner::new(&start.informers));
    }),
    ("kube-apiserver-serving-clustertrustbundle-publisher", |start| {
        start.with_pki(|pki| {
            certificates::publisher::Publisher::new(&start.informers, pki, start.shutdown.clone())
        });
    }),
    ("token-cleaner", |start| start.run(bootstrap_tokens::cleaner::Cleaner::new(&start.informers))),
    ("bootstrap-signer", |start| start.run(bootstrap_tokens::signer::Signer::new(&start.informers))),
    ("nodeipam", start_node_ipam),
    ("nodelifecycle", |start| start.run(NodeLifecycle::new(&start.informers, start.clock.clone()))),
    ("taint-eviction", |start| start.run(TaintEviction::new(&start.informers, start.clock.clone()))),
    ("podgc", |start| {
        let limit = start.config.terminated_pod_threshold;
        start.run(PodGarbage::new(&start.informers, start.clock.clone(), limit));
    }),
    ("replicaset", |start| start.run(ReplicaKeeper::<ReplicaSet>::new(&start.informers))),
    ("replicationcontroller", |start| {
        start.run(ReplicaKeeper::<ReplicationController>::new(&start.informers))
    }),
    ("deployment", |start| start.run(Deployments::new(&start.informers))),
    ("endpointslice", |start| start.run(EndpointSlices::new(&start.informers))),
    ("endpoints", |start| start.run(EndpointsObjects::new(&start.informers))),
    ("resourcequota", |start| start.run(Quotas::new(&start.informers, &start.kinds))),
    ("persistentvolumeclaim-protection", |start| start.run(Claims::new(&start.informers))),
    ("persistentvolume-protection", |start| start.run(Volumes::new(&start.informers))),
    ("horizontalpodautoscaling", |start| start.run(Horizontal::new(&start.informers, &start.kinds))),
    ("garbage-collector", |start| start.run(Collector::new(&start.informers, &start.kinds))),
];

fn start_node_ipam(start: &Start<'_>) {
    match Range::parse(&start.config.cluster_cidr, start.config.node_cidr_mask) {
        Some(range) => start.run(NodeAddresses::new(&start.informers, range)),
        None => tracing::error!(
            cidr = start.config.cluster_cidr,
            "not a usable pod address range; nodes get none"
        ),
    }
}

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
    let kinds = Kinds::start(&informers, clock.clone(), rng, &shutdown);
    let start = Start { client, config, informers, kinds, clock, shutdown };
    for (name, begin) in CONTROLLERS {
        tracing::debug!(controller = name, "starting");
        begin(&start);
    }
}
