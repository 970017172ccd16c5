//! An API server in this process, all controllers, and a node that only pretends to run pods.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apiserver::Ipv4Range;
use apiserver::storage::Store;
use apiserver::storage::memory::Memory;
use client::informer::{Informer, Informers, Watched};
use client::key::Key;
use component_base::clock::{RealClock, SharedClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::{Pki, SubjectNames};
use component_base::user::UserInfo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub client: kube::Client,
    pub informers: Informers,
    shutdown: Shutdown,
    store: Arc<dyn Store>,
    pub pki: Arc<Pki>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        let (clock, rng, shutdown) = (RealClock::shared(), Rng::from_system(), Shutdown::new());
        let directory = tempfile::tempdir().expect("a directory");
        let names = SubjectNames::for_api_server("cluster.local", &[], &[]);
        let config = apiserver::Config {
            bind: None,
            advertise: [192, 0, 2, 1].into(),
            pki: Arc::new(Pki::open(directory.path(), &names, clock.now()).expect("certificates")),
            service_range: Ipv4Range::parse("10.43.0.0/16").expect("a range"),
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
        let (store, pki): (Arc<dyn Store>, _) = (Memory::open(), Arc::clone(&config.pki));
        let server = apiserver::run(config, store.clone(), clock.clone(), rng.clone(), shutdown.clone())
            .await
            .expect("an API server");
        let user = UserInfo::component("system:kube-controller-manager", &["system:masters"]);
        let client = client::transport::in_process(server.local, user);
        let informers = Informers::new(client.clone(), clock.clone(), rng.clone(), shutdown.clone());
        let config = controller_manager::Config { pki: Some(Arc::clone(&pki)), ..Default::default() };
        controller_manager::run(
            client.clone(),
            informers.clone(),
            &config,
            clock.clone(),
            rng,
            shutdown.clone(),
        );
        pretend_node(&client, &informers, clock, &shutdown);
        Self { client, informers, shutdown, store, pki, _directory: directory }
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        self.store.close().await;
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Watched + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Watched + serde::Serialize + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let object = serde_json::from_value(object).expect("decodes");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("created")
    }

    pub async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: Watched + serde::Serialize + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    pub async fn delete<K>(&self, name: &str, params: DeleteParams)
    where
        K: Watched + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.api::<K>().delete(name, &params).await.expect("deleted");
    }

    /// Waits until the objects of a kind in `default` are as wanted.
    pub async fn until<K>(&self, what: &str, holds: impl Fn(&[Arc<K>]) -> bool)
    where
        K: Watched + kube::Resource<DynamicType = ()>,
    {
        let informer = self.informers.of::<K>();
        let wait = until(&informer, || {
            let objects = informer.list();
            let here: Vec<_> = objects
                .into_iter()
                .filter(|object| matches!(object.meta().namespace.as_deref(), None | Some("default")))
                .collect();
            holds(&here)
        });
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never happened: {what}; there is {:#?}", informer.list());
    }
}

async fn until<K: Watched>(informer: &Informer<K>, holds: impl Fn() -> bool) {
    let mut changes = informer.subscribe();
    informer.synced().await;
    while !holds() {
        changes.recv().await.expect("the informer runs");
    }
}

/// Every pod gets an address and becomes ready at once; one being deleted goes at once.
fn pretend_node(client: &kube::Client, informers: &Informers, clock: SharedClock, shutdown: &Shutdown) {
    let mut changes = informers.of::<Pod>().subscribe();
    let client = client.clone();
    shutdown.spawn_until(async move {
        let mut number = 0_u8;
        while let Some(change) = changes.recv().await {
            let Some(pod) = change.current() else { continue };
            let key = Key::of(&pod.metadata);
            let api: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
            if pod.metadata.deletion_timestamp.is_some() {
                ignore(api.delete(&key.name, &DeleteParams::default().grace_period(0))).await;
            } else if !controller_manager::pods::is_ready(pod) {
                number = number.wrapping_add(1);
                let since = component_base::clock::rfc3339_seconds(clock.now());
                let (ip, ready) = (format!("10.42.0.{number}"), json!([
                    {"type": "Ready", "status": "True", "lastTransitionTime": since}]));
                let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": ready}});
                ignore(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status))).await;
            }
        }
    });
}

/// The pod may have gone meanwhile; the next change tells.
async fn ignore<T>(request: impl Future<Output = kube::Result<T>>) {
    let _gone = request.await.is_err();
}
