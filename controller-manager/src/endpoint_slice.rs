//! EndpointSlices: the pods behind each service, at most 100 to a slice, written as rarely as possible.
//!
//! Entry point: [`reconcile`]. Endpoints stay in the slice they are in; new ones fill slices that are
//! written anyway, then the fullest with room, then a new one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use serde_json::{Value, json};

use crate::owners::controller_reference;
use crate::pods;
use crate::services::{self, HEADLESS, OfferedPort};

/// Upstream's default for `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who we are in [`MANAGED_BY`]; slices of others are left alone.
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A service with its pods and slices.
pub struct Observed {
    /// The service.
    pub service: Arc<Service>,
    /// The pods it selects.
    pub pods: Vec<Arc<Pod>>,
    /// Slices of ours for it.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Zone of each node that has one.
    pub zones: BTreeMap<String, String>,
}

/// Endpoints that may share a slice.
type Group = (String, Vec<OfferedPort>);

/// Decides which slices to write.
pub fn reconcile(observed: &Observed) -> Plan {
    let service = &*observed.service;
    if service.metadata.deletion_timestamp.is_some() || services::pod_selector(service).is_none() {
        return Plan::nothing();
    }
    let mut wanted = wanted(observed);
    let mut slices: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &observed.slices {
        slices.entry(group_of(slice)).or_default().push(slice.clone());
    }
    let mut drafts = Vec::new();
    for (group, known) in slices {
        let endpoints = wanted.remove(&group).unwrap_or_default();
        drafts.extend(place(&group, known, endpoints));
    }
    for (group, endpoints) in wanted {
        drafts.extend(place(&group, Vec::new(), endpoints));
    }
    keep_one(service, &mut drafts);
    Plan { actions: drafts.iter().filter_map(|draft| draft.action(service)).collect(), ..Plan::default() }
}

/// A slice as it is to become.
struct Draft {
    known: Option<Arc<EndpointSlice>>,
    group: Group,
    endpoints: Vec<Endpoint>,
    /// Not needed any more.
    surplus: bool,
}

impl Draft {
    fn changed(&self) -> bool {
        self.known.as_ref().is_none_or(|slice| slice.endpoints.clone().unwrap_or_default() != self.endpoints)
    }

    fn action(&self, service: &Service) -> Option<Action> {
        let resource = request::resource::<EndpointSlice>();
        let Some(known) = &self.known else {
            let namespace = service.metadata.namespace.clone();
            return Some(Action::Create { resource, namespace, object: self.whole(service) });
        };
        let target = Target::same_version(&resource, &known.metadata);
        if self.surplus {
            let propagation = Propagation::Background;
            return Some(Action::Delete { target, propagation, grace_period_seconds: None });
        }
        let labels = labels(service);
        let mut patch = json!({});
        if self.changed() {
            patch["endpoints"] = json!(self.endpoints);
        }
        if known.metadata.labels.as_ref() != Some(&labels) {
            patch["metadata"] = json!({"labels": relabelled(known, &labels)});
        }
        (patch != json!({})).then_some(Action::Patch { target, subresource: None, patch })
    }

    fn whole(&self, service: &Service) -> Value {
        let owner = controller_reference(&request::resource::<Service>(), &service.metadata);
        let ports: Vec<EndpointPort> = self.group.1.iter().map(port).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.metadata.name.as_deref().unwrap_or_default()),
                "namespace": service.metadata.namespace,
                "labels": labels(service),
                "ownerReferences": [owner],
            },
            "addressType": self.group.0,
            "ports": ports,
            "endpoints": self.endpoints,
        })
    }
}

fn relabelled(known: &EndpointSlice, labels: &BTreeMap<String, String>) -> Value {
    let mut patch = json!(labels);
    let gone = known.metadata.labels.iter().flatten().filter(|(key, _)| !labels.contains_key(*key));
    gone.for_each(|(key, _)| patch[key] = Value::Null);
    patch
}

fn port(port: &OfferedPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn group_of(slice: &EndpointSlice) -> Group {
    let ports = slice.ports.iter().flatten().map(|port| OfferedPort {
        name: port.name.clone().unwrap_or_default(),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    });
    (slice.address_type.clone(), ports.collect())
}

/// The service's labels and ours.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if services::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn families(service: &Service) -> Vec<&str> {
    let families: Vec<&str> =
        service.spec.iter().flat_map(|spec| spec.ip_families.iter().flatten()).map(String::as_str).collect();
    if families.is_empty() { vec!["IPv4"] } else { families }
}

fn wanted(observed: &Observed) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in families(&observed.service) {
        for pod in observed.pods.iter().filter(|pod| services::is_present(pod, true)) {
            let of_family = |address: &&&str| match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => family == "IPv4",
                Ok(IpAddr::V6(_)) => family == "IPv6",
                Err(_) => false,
            };
            let addresses = services::addresses(pod);
            let Some(address) = addresses.iter().find(of_family) else { continue };
            let group = (family.to_owned(), services::offered_ports(&observed.service, pod));
            groups.entry(group).or_default().push(endpoint(observed, pod, address));
        }
    }
    groups
}

fn endpoint(observed: &Observed, pod: &Pod, address: &str) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    let ready = services::publishes_not_ready(&observed.service) || (serving && !terminating);
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: services::hostname(&observed.service, pod),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: node_name.as_ref().and_then(|node| observed.zones.get(node).cloned()),
        node_name,
        ..Endpoint::default()
    }
}

/// What makes an endpoint the same one.
fn identity(endpoint: &Endpoint) -> (Option<String>, Vec<String>) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (uid, endpoint.addresses.clone())
}

/// Distributes the endpoints of one group over its slices.
fn place(group: &Group, known: Vec<Arc<EndpointSlice>>, endpoints: Vec<Endpoint>) -> Vec<Draft> {
    let mut left: BTreeMap<_, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut drafts: Vec<Draft> = Vec::new();
    for slice in known {
        let here = slice.endpoints.iter().flatten();
        let kept = here.filter_map(|endpoint| left.remove(&identity(endpoint))).collect();
        drafts.push(Draft { group: group.clone(), endpoints: kept, known: Some(slice), surplus: false });
    }
    // Slices written anyway first, then the fullest: fewest writes, fewest slices.
    drafts.sort_by_key(|draft| (!draft.changed(), std::cmp::Reverse(draft.endpoints.len())));
    let mut left = left.into_values().peekable();
    for draft in &mut drafts {
        let room = PER_SLICE.saturating_sub(draft.endpoints.len());
        draft.endpoints.extend(left.by_ref().take(room));
    }
    while left.peek().is_some() {
        let endpoints = left.by_ref().take(PER_SLICE).collect();
        drafts.push(Draft { known: None, group: group.clone(), endpoints, surplus: false });
    }
    drafts
}

/// A service without endpoints keeps one empty slice without ports, so that watchers know that it is
/// known to have none. Other empty slices go.
fn keep_one(service: &Service, drafts: &mut Vec<Draft>) {
    let full = drafts.iter().any(|draft| !draft.endpoints.is_empty());
    for draft in drafts.iter_mut() {
        draft.surplus = draft.endpoints.is_empty() && (full || !draft.group.1.is_empty());
    }
    for family in families(service).into_iter().filter(|_| !full) {
        let mut kept = drafts.iter().filter(|draft| !draft.surplus && draft.group.0 == family);
        if kept.next().is_none() {
            let group = (family.to_owned(), Vec::new());
            drafts.push(Draft { known: None, group, endpoints: Vec::new(), surplus: false });
        }
    }
}

/// Watches services, their pods and slices.
pub struct EndpointSlices {
    services: Informer<Service>,
    pods: Informer<Pod>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
}

impl EndpointSlices {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { services: informers.of(), pods: informers.of(), slices: informers.of(), nodes: informers.of() }
    }
}

/// The services that select a pod, by its labels before and after a change.
pub(crate) fn services_of(services: &Informer<Service>, pod: &Pod) -> Vec<Key> {
    let in_namespace = services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selecting = in_namespace.into_iter().filter(|service| services::backs(service, pod));
    selecting.map(|service| Key::of(&service.metadata)).collect()
}

fn service_of(slice: &EndpointSlice) -> Vec<Key> {
    let labels = slice.metadata.labels.as_ref();
    let ours = labels.and_then(|l| l.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER);
    let name = labels.and_then(|labels| labels.get(SERVICE_NAME)).filter(|_| ours);
    name.map(|name| Key::new(slice.metadata.namespace.clone().unwrap_or_default(), name))
        .into_iter()
        .collect()
}

#[async_trait]
impl Controller for EndpointSlices {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.services);
        wake.on(&self.slices, |change| before_and_after(change, service_of));
        let services = self.services.clone();
        wake.on(&self.pods, move |change| before_and_after(change, |pod| services_of(&services, pod)));
        wake.reads(&self.nodes);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(service) = self.services.get(key) else { return Ok(None) };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| services::backs(&service, pod));
        let mut slices = self.slices.in_namespace(&key.namespace);
        slices.retain(|slice| service_of(slice).contains(key) && slice.metadata.deletion_timestamp.is_none());
        let zone = |node: Arc<Node>| {
            let zone = node.metadata.labels.as_ref()?.get(ZONE)?.clone();
            Some((node.metadata.name.clone()?, zone))
        };
        let zones = self.nodes.list().into_iter().filter_map(zone).collect();
        Ok(Some(Observed { service, pods, slices, zones }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed)
    }
}
