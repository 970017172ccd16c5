//! Endpoints: the older form of what EndpointSlices say, one object per service.
//!
//! Entry point: [`reconcile`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use serde_json::{Value, json};

use crate::endpoint_slice::services_of;
use crate::pods;
use crate::services::{self, HEADLESS, OfferedPort};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// A service, if it still exists, with its pods and Endpoints.
pub struct Observed {
    /// The service; none when it is gone.
    pub service: Option<Arc<Service>>,
    /// The pods it selects.
    pub pods: Vec<Arc<Pod>>,
    /// The Endpoints of that name.
    pub endpoints: Option<Arc<Endpoints>>,
}

/// Writes the Endpoints of a service, or removes those of one that is gone.
pub fn reconcile(observed: &Observed) -> Plan {
    let resource = request::resource::<Endpoints>();
    let Some(service) = &observed.service else {
        let ours = observed.endpoints.iter().filter(|endpoints| is_ours(endpoints));
        let delete = ours.map(|endpoints| Action::Delete {
            target: Target::same_object(&resource, &endpoints.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        });
        return Plan { actions: delete.collect(), ..Plan::default() };
    };
    if services::pod_selector(service).is_none() || service.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let (subsets, labels) = (subsets(observed, service), labels(service));
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let Some(known) = &observed.endpoints else {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": service.metadata.name,
                "namespace": service.metadata.namespace,
                "labels": labels,
            },
            "subsets": subsets,
        });
        let namespace = service.metadata.namespace.clone();
        return Plan { actions: vec![Action::Create { resource, namespace, object }], ..Plan::default() };
    };
    if known.subsets == subsets && known.metadata.labels.as_ref() == Some(&labels) {
        return Plan::nothing();
    }
    let mut new_labels = json!(labels);
    let gone = known.metadata.labels.iter().flatten().filter(|(key, _)| !labels.contains_key(*key));
    gone.for_each(|(key, _)| new_labels[key] = Value::Null);
    let patch = json!({"metadata": {"labels": new_labels}, "subsets": subsets});
    let target = Target::same_version(&resource, &known.metadata);
    Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if services::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Pods with the same ports share a subset.
fn subsets(observed: &Observed, service: &Service) -> Vec<EndpointSubset> {
    let not_ready_too = services::publishes_not_ready(service);
    let mut groups: BTreeMap<Vec<OfferedPort>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> =
        BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| services::is_present(pod, not_ready_too)) {
        let ports = services::offered_ports(service, pod);
        let has_ports =
            service.spec.as_ref().is_some_and(|spec| spec.ports.as_ref().is_some_and(|p| !p.is_empty()));
        if ports.is_empty() && has_ports {
            continue;
        }
        let (ready, not_ready) = groups.entry(ports).or_default();
        let list = if not_ready_too || pods::is_ready(pod) { ready } else { not_ready };
        list.extend(address(service, pod));
    }
    let subset = |(ports, (ready, not_ready)): (Vec<OfferedPort>, (Vec<_>, Vec<_>))| EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(not_ready),
        ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
    };
    groups.into_iter().map(subset).collect()
}

fn sorted(mut addresses: Vec<EndpointAddress>) -> Option<Vec<EndpointAddress>> {
    addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    (!addresses.is_empty()).then_some(addresses)
}

fn port(port: &OfferedPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        port: port.port,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let v6 =
        service.spec.as_ref()?.ip_families.as_ref().is_some_and(|f| f.first().is_some_and(|f| f == "IPv6"));
    let ip = services::addresses(pod).into_iter().find(|ip| ip.contains(':') == v6)?.to_owned();
    Some(EndpointAddress {
        ip,
        hostname: services::hostname(service, pod),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Watches services, their pods and Endpoints.
pub struct EndpointsObjects {
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

impl EndpointsObjects {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { services: informers.of(), pods: informers.of(), endpoints: informers.of() }
    }
}

#[async_trait]
impl Controller for EndpointsObjects {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.services);
        wake.on(&self.endpoints, |change| is_ours(change.latest()).then(|| change.key()));
        let services = self.services.clone();
        wake.on(&self.pods, move |change| before_and_after(change, |pod| services_of(&services, pod)));
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let (service, endpoints) = (self.services.get(key), self.endpoints.get(key));
        let mut pods = Vec::new();
        if let Some(service) = &service {
            pods = self.pods.in_namespace(&key.namespace);
            pods.retain(|pod| services::backs(service, pod));
        }
        Ok(Some(Observed { service, pods, endpoints }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed)
    }
}
