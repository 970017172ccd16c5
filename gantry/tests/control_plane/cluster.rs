//! A cluster of one pretended node, which can be stopped and started on the same store and machine.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver::storage::memory::Memory;
use client::informer::Informers;
use component_base::clock::{RealClock, SharedClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, SubjectNames};
use component_base::user::UserInfo;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use node_agent::container_runtime::fake::FakeRuntime;
use serde_json::{Value, json};

use crate::machine::{Addresses, Images};
use crate::waiting::{Objects, until};

/// The namespace of the tests.
pub const NAMESPACE: &str = "default";

/// What outlives the cluster's processes.
pub struct Cluster {
    clock: SharedClock,
    store: Arc<Memory>,
    pki: Arc<Pki>,
    network: Arc<Addresses>,
    directory: tempfile::TempDir,
    /// Where the containers run.
    pub runtime: Arc<FakeRuntime>,
    /// As the administrator.
    pub client: kube::Client,
    shutdown: Shutdown,
}

impl Cluster {
    /// A fresh cluster whose node is Ready.
    pub async fn start() -> Self {
        let clock = RealClock::shared();
        let directory = tempfile::tempdir().expect("a directory");
        let names = SubjectNames::for_api_server("cluster.local", &[], &[]);
        let pki = Pki::open(&directory.path().join("pki"), &names, clock.now()).expect("certificates");
        let (store, pki) = (Memory::open(), Arc::new(pki));
        let (network, runtime) =
            (Arc::new(Addresses::default()), Arc::new(FakeRuntime::new(Arc::clone(&clock))));
        let shutdown = Shutdown::new();
        let client = api_server(&clock, &store, &pki, &shutdown).await;
        let cluster = Self { clock, store, pki, network, directory, runtime, client, shutdown };
        cluster.start_parts().await;
        let accounts: Api<ServiceAccount> = cluster.api();
        until(&accounts, "the namespace has its account", |all| all.contains_key("default")).await;
        cluster
    }

    /// Everything but the store and the machine ends, then starts again.
    pub async fn restart(&mut self) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        self.shutdown = Shutdown::new();
        self.client = api_server(&self.clock, &self.store, &self.pki, &self.shutdown).await;
        self.start_parts().await;
    }

    async fn start_parts(&self) {
        let (clock, shutdown) = (Arc::clone(&self.clock), self.shutdown.clone());
        let informers =
            Informers::new(self.client.clone(), Arc::clone(&clock), Rng::seeded(2), shutdown.clone());
        let settings = controller_manager::Config {
            pki: Some(Arc::clone(&self.pki)),
            ..controller_manager::Config::default()
        };
        controller_manager::run(
            self.client.clone(),
            informers.clone(),
            &settings,
            Arc::clone(&clock),
            Rng::seeded(5),
            shutdown.clone(),
        );
        shutdown.spawn(scheduler::run(self.client.clone(), clock, Rng::seeded(3), shutdown.clone()));
        self.start_agent(informers).await;
    }

    async fn start_agent(&self, informers: Informers) {
        let config = node_agent::Config {
            node_name: "n1".to_owned(),
            data_dir: self.directory.path().to_owned(),
            node_ips: vec!["192.0.2.1".parse().expect("an address")],
            mount_tmpfs: false,
            ..node_agent::Config::default()
        };
        let dependencies = node_agent::Dependencies {
            clock: Arc::clone(&self.clock),
            rng: Rng::seeded(4),
            runtime: Arc::clone(&self.runtime) as _,
            network: Arc::clone(&self.network) as _,
            informers,
            images: Arc::new(Images(BTreeSet::from(["web:1", "web:2", "side:1"]))),
        };
        let mut agent = node_agent::run(config, self.client.clone(), dependencies, self.shutdown.clone())
            .await
            .expect("an agent");
        agent.until_ready().await;
    }

    /// Objects of the tests' namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates the Deployment `web`.
    pub async fn deploy(&self, deployment: &Value) {
        let object = serde_json::from_value(deployment.clone()).expect("a deployment");
        self.api::<Deployment>().create(&PostParams::default(), &object).await.expect("created");
    }

    /// Changes the Deployment `web`, as `kubectl patch` does.
    pub async fn change(&self, patch: Value) {
        let patch = Patch::Strategic(patch);
        self.api::<Deployment>().patch("web", &PatchParams::default(), &patch).await.expect("patched");
    }

    /// Waits until `count` pods are ready and there is no other pod, and the Deployment says so.
    pub async fn until_ready(&self, count: usize) -> Objects<Pod> {
        let what = format!("{count} pods ready, no others");
        let pods =
            until(&self.api::<Pod>(), &what, |all| all.len() == count && all.values().all(is_ready)).await;
        let wanted = i32::try_from(count).expect("a small number");
        until(&self.api::<Deployment>(), &format!("the deployment shows {what}"), |all| {
            all.get("web").is_some_and(|web| shows(web, wanted))
        })
        .await;
        pods
    }

    /// Waits until no object of the kind is left.
    pub async fn until_no_pods_and_replica_sets(&self) {
        until(&self.api::<Pod>(), "no pods", Objects::is_empty).await;
        until(&self.api::<ReplicaSet>(), "no replica sets", Objects::is_empty).await;
    }
}

async fn api_server(
    clock: &SharedClock,
    store: &Arc<Memory>,
    pki: &Arc<Pki>,
    shutdown: &Shutdown,
) -> kube::Client {
    let config = apiserver::Config {
        bind: None,
        advertise: [192, 0, 2, 1].into(),
        pki: Arc::clone(pki),
        service_range: apiserver::Ipv4Range::parse("10.43.0.0/16").expect("a range"),
        cluster_domain: "cluster.local".to_owned(),
        kinds: api::kinds::builtin(),
        timeouts: apiserver::Timeouts::default(),
        admission: apiserver::Switches::default(),
        authentication: apiserver::AuthenticationSettings::default(),
        authorization: None,
        audit: apiserver::audit::Options::default(),
        seats: None,
        parts: Vec::new(),
    };
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    let server = apiserver::run(config, store, clock, Rng::from_system(), shutdown.clone()).await;
    let server = server.expect("an API server");
    client::transport::in_process(server.local, UserInfo::component("admin", &["system:masters"]))
}

/// The Deployment `web`: a container and a sidecar; `strategy` is that of the rolling update.
pub fn web(replicas: i32, strategy: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": strategy},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [
                    {"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 80}]},
                    {"name": "side", "image": "side:1"},
                ]},
            },
        },
    })
}

/// A strategic patch to another image of the container `web`.
pub fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": name}]}}}})
}

/// Whether it is ready and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The image of a pod's container `web`.
pub fn image_of(pod: &Pod) -> &str {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter(|container| container.name == "web")
        .find_map(|c| c.image.as_deref())
        .unwrap_or_default()
}

fn shows(deployment: &Deployment, count: i32) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.ready_replicas, status.available_replicas, status.updated_replicas]
            .iter()
            .all(|shown| shown.unwrap_or_default() == count)
}
