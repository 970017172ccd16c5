//! Where pods and what they refer to come from: the API, by watching.
//!
//! Entry point: [`Sources`]. Pods of this node and all Services are watched throughout; a ConfigMap or Secret
//! only while some pod here refers to it, so the node sees no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::informer::{Change, Informer, Informers, Watched};
use client::key::Key;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret, Service, Volume};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::environment::{Lookups, linked_services};
use crate::event_loop::Event;

/// An object a pod refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A ConfigMap.
    ConfigMap(Key),
    /// A Secret.
    Secret(Key),
    /// All ClusterTrustBundles: which of them are meant may be up to their labels.
    TrustBundles,
}

/// Everything a pod refers to, in its environment and its volumes.
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut out = BTreeSet::new();
    let Some(spec) = &pod.spec else { return out };
    let mut names = Names::default();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        names.container(container);
    }
    for volume in spec.volumes.iter().flatten() {
        names.volume(volume);
    }
    let key = |name: String| Key::new(namespace.clone(), name);
    out.extend(names.config_maps.into_iter().map(|name| Reference::ConfigMap(key(name))));
    out.extend(names.secrets.into_iter().map(|name| Reference::Secret(key(name))));
    out.extend(names.trust_bundles.then_some(Reference::TrustBundles));
    out
}

#[derive(Default)]
struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    trust_bundles: bool,
}

impl Names {
    fn container(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            self.config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
            self.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
            self.secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
        }
    }

    fn volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        self.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        let parts = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for part in parts {
            self.config_maps.extend(part.config_map.iter().map(|source| source.name.clone()));
            self.secrets.extend(part.secret.iter().map(|source| source.name.clone()));
            self.trust_bundles |= part.cluster_trust_bundle.is_some();
        }
    }
}

enum View {
    ConfigMap(Informer<ConfigMap>),
    Secret(Informer<Secret>),
    TrustBundles(Informer<ClusterTrustBundle>),
}

struct Used {
    view: View,
    pods: BTreeSet<String>,
}

/// The watches. Clones share them.
#[derive(Clone)]
pub struct Sources {
    informers: Informers,
    pods: Informer<Pod>,
    services: Informer<Service>,
    used: Arc<Mutex<BTreeMap<Reference, Used>>>,
    events: mpsc::UnboundedSender<Event>,
}

impl Sources {
    /// Starts watching; changes go to `events`, and [`Event::PodsSynced`] once the first list is in.
    pub fn start(informers: Informers, node_name: &str, events: mpsc::UnboundedSender<Event>) -> Self {
        let pods = informers.selected::<Pod>(&format!("spec.nodeName={node_name}"));
        let services = informers.of::<Service>();
        let sender = events.clone();
        pods.on_change(move |change: &Change<Pod>| sender.send(Event::Pod(change.clone())).is_ok());
        let (sender, synced) = (events.clone(), pods.clone());
        tokio::spawn(async move {
            synced.synced().await;
            // A closed channel means that the agent has stopped.
            let _stopped = sender.send(Event::PodsSynced).is_err();
        });
        Self { informers, pods, services, used: Arc::default(), events }
    }

    /// The pods of this node as last seen.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.list()
    }

    /// Watches exactly what this pod refers to, and stops watching what nobody refers to any more.
    pub fn keep(&self, uid: &str, wanted: &BTreeSet<Reference>) {
        let mut used = self.used.lock();
        for reference in wanted {
            let entry = used
                .entry(reference.clone())
                .or_insert_with(|| Used { view: self.watch(reference), pods: BTreeSet::new() });
            entry.pods.insert(uid.to_owned());
        }
        used.retain(|reference, entry| {
            if !wanted.contains(reference) {
                entry.pods.remove(uid);
            }
            if entry.pods.is_empty() {
                match &entry.view {
                    View::ConfigMap(view) => view.stop(),
                    View::Secret(view) => view.stop(),
                    View::TrustBundles(view) => view.stop(),
                }
            }
            !entry.pods.is_empty()
        });
    }

    /// The pods that refer to an object.
    pub fn users(&self, reference: &Reference) -> Vec<String> {
        let used = self.used.lock();
        used.get(reference).map(|entry| entry.pods.iter().cloned().collect()).unwrap_or_default()
    }

    fn watch(&self, reference: &Reference) -> View {
        match reference {
            Reference::ConfigMap(key) => View::ConfigMap(self.watch_one(key, reference)),
            Reference::Secret(key) => View::Secret(self.watch_one(key, reference)),
            Reference::TrustBundles => View::TrustBundles(self.watch_some("", reference)),
        }
    }

    fn watch_one<K>(&self, key: &Key, reference: &Reference) -> Informer<K>
    where
        K: Watched + kube::Resource<DynamicType = ()>,
    {
        let fields = format!("metadata.namespace={},metadata.name={}", key.namespace, key.name);
        self.watch_some(&fields, reference)
    }

    fn watch_some<K>(&self, fields: &str, reference: &Reference) -> Informer<K>
    where
        K: Watched + kube::Resource<DynamicType = ()>,
    {
        let informer = self.informers.selected::<K>(fields);
        let (sender, reference) = (self.events.clone(), reference.clone());
        informer.on_change(move |_| sender.send(Event::Reference(reference.clone())).is_ok());
        informer
    }

    /// What the pod's references resolve to now. Waits for the first answer of the API to each.
    /// [`Self::keep`] must have been called for the pod.
    pub async fn lookups(&self, pod: &Pod) -> Lookups {
        let mut lookups = Lookups::default();
        for reference in references(pod) {
            match self.view(&reference) {
                Some(View::ConfigMap(view)) => {
                    view.synced().await;
                    if let Reference::ConfigMap(key) = &reference {
                        lookups.config_maps.insert(key.name.clone(), view.get(key));
                    }
                }
                Some(View::Secret(view)) => {
                    view.synced().await;
                    if let Reference::Secret(key) = &reference {
                        lookups.secrets.insert(key.name.clone(), view.get(key));
                    }
                }
                Some(View::TrustBundles(view)) => {
                    view.synced().await;
                    lookups.trust_bundles = view.list();
                }
                None => {}
            }
        }
        self.services.synced().await;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        lookups.services = linked_services(self.services.list(), namespace, wants_links(pod.spec.as_ref()));
        lookups
    }

    fn view(&self, reference: &Reference) -> Option<View> {
        self.used.lock().get(reference).map(|entry| match &entry.view {
            View::ConfigMap(view) => View::ConfigMap(view.clone()),
            View::Secret(view) => View::Secret(view.clone()),
            View::TrustBundles(view) => View::TrustBundles(view.clone()),
        })
    }
}

/// `enableServiceLinks`, true unless said otherwise.
fn wants_links(spec: Option<&PodSpec>) -> bool {
    spec.and_then(|spec| spec.enable_service_links).unwrap_or(true)
}
