//! What both endpoint controllers agree on: which pods back a service, with which ports. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt as _};

use crate::pods;

/// Marks slices and endpoints of services without a cluster address.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// The service's pod selector; `None` if somebody else looks after its endpoints.
pub fn pod_selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.clone().map(Selector::from_iter)
}

/// Whether the service selects this pod.
pub fn backs(service: &Service, pod: &Pod) -> bool {
    pod_selector(service).is_some_and(|selector| {
        selector.matches(pod.metadata.labels.as_ref().unwrap_or(&std::collections::BTreeMap::new()))
    })
}

/// Whether the service has no cluster address.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods that are not ready are published too.
pub fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// All addresses of a pod.
pub fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if all.is_empty() {
        status.pod_ip.iter().map(String::as_str).filter(|ip| !ip.is_empty()).collect()
    } else {
        all
    }
}

/// Whether a pod may appear at all: it has an address and has not ended.
pub fn is_present(pod: &Pod, with_terminating: bool) -> bool {
    !pods::is_terminal(pod)
        && !addresses(pod).is_empty()
        && (with_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's own DNS name below the service, if it asked for one.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = spec.hostname.clone().filter(|name| !name.is_empty())?;
    (spec.subdomain.is_some() && spec.subdomain == service.metadata.name).then_some(named)
}

/// A service port as one pod offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedPort {
    /// The service port's name, may be empty.
    pub name: String,
    /// The number on the pod.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// What is spoken on it, if told.
    pub app_protocol: Option<String>,
}

/// The service's ports on this pod; a named target port the pod does not have is left out.
pub fn offered_ports(service: &Service, pod: &Pod) -> Vec<OfferedPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(OfferedPort {
                name: port.name.clone().unwrap_or_default(),
                port: target(port, pod)?,
                protocol: protocol(port.protocol.as_ref()).to_owned(),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn protocol(protocol: Option<&String>) -> &str {
    protocol.map_or("TCP", String::as_str)
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    // Init containers that keep running serve too.
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .find(|offered| {
            offered.name.as_ref() == Some(name)
                && protocol(offered.protocol.as_ref()) == protocol(port.protocol.as_ref())
        })
        .map(|offered| offered.container_port)
}
