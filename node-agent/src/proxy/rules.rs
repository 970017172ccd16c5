//! Which map elements a service needs on a node. Entry point: [`service_elements`], a pure function.
//!
//! A service's frontends (addresses and ports clients use) lead to chains, one per number of endpoints
//! and affinity timeout; a second map has the endpoints by frontend and index. Semantics follow
//! kube-proxy: internal and external traffic policy, terminating endpoints as a last resort, reject
//! where nothing serves and drop where nothing serves here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::nfnetlink::{ElementData, FieldType, RawElement, SetData, SetDefinition, Verdict};
use crate::network::Protocol;

/// `sessionAffinityConfig.clientIP.timeoutSeconds` when absent.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
/// Services with one of these labels are not for this proxy: another has them, or nobody.
const NOT_OURS: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/// How a client's packet finds a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// By the service's own addresses.
    Services,
    /// By external addresses, from outside the cluster, with `externalTrafficPolicy: Local`.
    ServicesExternal,
    /// By a port on any address of the node.
    NodePorts,
    /// The same from outside the cluster, with `externalTrafficPolicy: Local`.
    NodePortsExternal,
}

impl Plane {
    /// In the order packets try them is the table's business.
    pub const ALL: [Self; 4] =
        [Self::Services, Self::ServicesExternal, Self::NodePorts, Self::NodePortsExternal];

    /// Frontends of this plane have an address.
    pub fn by_address(self) -> bool {
        matches!(self, Self::Services | Self::ServicesExternal)
    }

    /// Only traffic from outside the cluster comes here; it keeps its source address.
    pub fn external(self) -> bool {
        matches!(self, Self::ServicesExternal | Self::NodePortsExternal)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::ServicesExternal => "service-external",
            Self::NodePorts => "node-port",
            Self::NodePortsExternal => "node-port-external",
        }
    }
}

/// A set or map of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Frontend to chain.
    Dispatch(Plane),
    /// Frontend and index to endpoint.
    Endpoints(Plane),
    /// Client and frontend to the endpoint it had before; filled by the kernel.
    Remembered(Plane),
    /// Frontend and endpoint: what may still be remembered.
    Allowed(Plane),
    /// Frontends that answer with a refusal.
    Reject,
    /// The same for ports of the node.
    RejectNodePorts,
    /// Addresses that are services' own: what no frontend took is refused.
    ClusterAddresses,
    /// Endpoints on this node, twice: they may reach themselves.
    Hairpin,
}

const ADDRESS_KEY: &[FieldType] = &[FieldType::Ipv4, FieldType::Protocol, FieldType::Port];
const PORT_KEY: &[FieldType] = &[FieldType::Protocol, FieldType::Port];
const ENDPOINT: &[FieldType] = &[FieldType::Ipv4, FieldType::Port];

impl Set {
    /// Every set of the table.
    pub fn all() -> Vec<Self> {
        let planes = Plane::ALL.into_iter().flat_map(|plane| {
            [Self::Dispatch(plane), Self::Endpoints(plane), Self::Remembered(plane), Self::Allowed(plane)]
        });
        planes.chain([Self::Reject, Self::RejectNodePorts, Self::ClusterAddresses, Self::Hairpin]).collect()
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatch(Plane::Services) => "services",
            Self::Dispatch(Plane::ServicesExternal) => "services-external",
            Self::Dispatch(Plane::NodePorts) => "node-ports",
            Self::Dispatch(Plane::NodePortsExternal) => "node-ports-external",
            Self::Endpoints(Plane::Services) => "service-endpoints",
            Self::Endpoints(Plane::ServicesExternal) => "service-external-endpoints",
            Self::Endpoints(Plane::NodePorts) => "node-port-endpoints",
            Self::Endpoints(Plane::NodePortsExternal) => "node-port-external-endpoints",
            Self::Remembered(Plane::Services) => "service-affinity",
            Self::Remembered(Plane::ServicesExternal) => "service-external-affinity",
            Self::Remembered(Plane::NodePorts) => "node-port-affinity",
            Self::Remembered(Plane::NodePortsExternal) => "node-port-external-affinity",
            Self::Allowed(Plane::Services) => "service-allowed",
            Self::Allowed(Plane::ServicesExternal) => "service-external-allowed",
            Self::Allowed(Plane::NodePorts) => "node-port-allowed",
            Self::Allowed(Plane::NodePortsExternal) => "node-port-external-allowed",
            Self::Reject => "no-endpoints",
            Self::RejectNodePorts => "no-endpoints-node-ports",
            Self::ClusterAddresses => "cluster-addresses",
            Self::Hairpin => "hairpin",
        }
    }

    /// As the kernel wants to know it.
    pub fn definition(self) -> SetDefinition {
        use FieldType::{Ipv4, Mark, Port, Protocol};
        let (key, data): (&'static [FieldType], SetData) = match self {
            Self::Dispatch(plane) if plane.by_address() => (ADDRESS_KEY, SetData::Verdict),
            Self::Dispatch(_) => (PORT_KEY, SetData::Verdict),
            Self::Endpoints(plane) if plane.by_address() => {
                (&[Ipv4, Protocol, Port, Mark], SetData::Fields(ENDPOINT))
            }
            Self::Endpoints(_) => (&[Protocol, Port, Mark], SetData::Fields(ENDPOINT)),
            Self::Remembered(plane) if plane.by_address() => {
                (&[Ipv4, Ipv4, Protocol, Port], SetData::Fields(ENDPOINT))
            }
            Self::Remembered(_) => (&[Ipv4, Protocol, Port], SetData::Fields(ENDPOINT)),
            Self::Allowed(plane) if plane.by_address() => {
                (&[Ipv4, Protocol, Port, Ipv4, Port], SetData::Absent)
            }
            Self::Allowed(_) => (&[Protocol, Port, Ipv4, Port], SetData::Absent),
            Self::Reject => (ADDRESS_KEY, SetData::Absent),
            Self::RejectNodePorts => (PORT_KEY, SetData::Absent),
            Self::ClusterAddresses => (&[Ipv4], SetData::Absent),
            Self::Hairpin => (&[Ipv4, Ipv4], SetData::Absent),
        };
        SetDefinition { name: self.name(), key, data, dynamic: matches!(self, Self::Remembered(_)) }
    }
}

/// What clients address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// `None` is any address of the node.
    pub address: Option<Ipv4Addr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// Where packets end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A pod's address, usually.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
}

/// The key of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A frontend.
    Frontend(Frontend),
    /// One of a frontend's endpoints by number.
    Index(Frontend, u32),
    /// One of a frontend's endpoints by address.
    Backend(Frontend, Endpoint),
    /// An address.
    Address(Ipv4Addr),
    /// An address as source and destination.
    Twice(Ipv4Addr),
}

/// A chain that picks an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// Of which plane's frontends.
    pub plane: Plane,
    /// Out of how many, at least 1.
    pub endpoints: u32,
    /// How long a client keeps its endpoint, seconds.
    pub affinity_seconds: Option<u32>,
}

impl fmt::Display for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.plane.word(), self.endpoints)?;
        match self.affinity_seconds {
            Some(seconds) => write!(formatter, "-sticky-{seconds}"),
            None => Ok(()),
        }
    }
}

/// What an element leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Being in the set is all.
    Member,
    /// A chain.
    Chain(Chain),
    /// Packets are thrown away.
    Drop,
    /// An endpoint.
    Endpoint(Endpoint),
}

/// Where an element is: set and key.
pub type Place = (Set, Key);

/// Everything a service needs, on the node named `node`.
///
/// `slices` are the service's EndpointSlices, of any address type.
pub fn service_elements<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    node: &str,
) -> Vec<(Place, Target)> {
    let Some(spec) = service.spec.as_ref().filter(|spec| is_proxied(service, spec)) else {
        return Vec::new();
    };
    let mut elements = Elements::default();
    for address in cluster_addresses(spec) {
        elements.push(Set::ClusterAddresses, Key::Address(address), Target::Member);
    }
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        let endpoints = Available::of(port, protocol, slices.clone(), node);
        add_port(&mut elements, service, spec, (port, protocol), &endpoints);
        let local = &endpoints.local;
        for address in local.iter().map(|endpoint| endpoint.address).collect::<BTreeSet<_>>() {
            elements.push(Set::Hairpin, Key::Twice(address), Target::Member);
        }
    }
    elements.0
}

fn is_proxied(service: &Service, spec: &ServiceSpec) -> bool {
    let labels = service.metadata.labels.as_ref();
    spec.type_.as_deref() != Some("ExternalName")
        && spec.cluster_ip.as_deref().is_some_and(|ip| ip != "None" && !ip.is_empty())
        && !labels.is_some_and(|labels| NOT_OURS.iter().any(|label| labels.contains_key(*label)))
}

fn cluster_addresses(spec: &ServiceSpec) -> Vec<Ipv4Addr> {
    let several = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect::<Vec<_>>();
    if several.is_empty() {
        spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect()
    } else {
        several
    }
}

/// `spec.externalIPs` and the load balancer's addresses, unless it is a proxy with the node as its client.
fn external_addresses(service: &Service, spec: &ServiceSpec) -> BTreeSet<Ipv4Addr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let balanced = ingress
        .into_iter()
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref());
    let fixed = spec.external_ips.iter().flatten();
    fixed.chain(balanced).filter_map(|ip| ip.parse().ok()).collect()
}

#[derive(Default)]
struct Elements(Vec<(Place, Target)>);

impl Elements {
    fn push(&mut self, set: Set, key: Key, target: Target) {
        self.0.push(((set, key), target));
    }

    /// A frontend with its endpoints, of which there is at least one.
    fn route(&mut self, plane: Plane, frontend: Frontend, endpoints: &[Endpoint], affinity: Option<u32>) {
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let chain = Chain { plane, endpoints: count, affinity_seconds: affinity };
        self.push(Set::Dispatch(plane), Key::Frontend(frontend), Target::Chain(chain));
        for (index, endpoint) in (0..).zip(endpoints) {
            self.push(Set::Endpoints(plane), Key::Index(frontend, index), Target::Endpoint(*endpoint));
            if affinity.is_some() {
                self.push(Set::Allowed(plane), Key::Backend(frontend, *endpoint), Target::Member);
            }
        }
    }

    /// A frontend none of whose endpoints is here.
    fn drop(&mut self, plane: Plane, frontend: Frontend) {
        self.push(Set::Dispatch(plane), Key::Frontend(frontend), Target::Drop);
    }

    /// A frontend without endpoints anywhere.
    fn reject(&mut self, frontend: Frontend) {
        let set = if frontend.address.is_some() { Set::Reject } else { Set::RejectNodePorts };
        self.push(set, Key::Frontend(frontend), Target::Member);
    }
}

fn add_port(
    elements: &mut Elements,
    service: &Service,
    spec: &ServiceSpec,
    (port, protocol): (&ServicePort, Protocol),
    endpoints: &Available,
) {
    let Ok(number) = u16::try_from(port.port) else { return };
    let affinity = affinity_seconds(spec);
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let anywhere = !endpoints.cluster.is_empty() || !endpoints.local.is_empty();
    for address in cluster_addresses(spec) {
        let frontend = Frontend { address: Some(address), protocol, port: number };
        let chosen = if internal_local { &endpoints.local } else { &endpoints.cluster };
        if !anywhere {
            elements.reject(frontend);
        } else if chosen.is_empty() {
            elements.drop(Plane::Services, frontend);
        } else {
            elements.route(Plane::Services, frontend, chosen, affinity);
        }
    }
    let mut open = |frontend: Frontend, inside: Plane, outside: Plane| {
        if !anywhere {
            elements.reject(frontend);
            return;
        }
        if !endpoints.cluster.is_empty() {
            elements.route(inside, frontend, &endpoints.cluster, affinity);
        }
        if external_local && endpoints.local.is_empty() {
            elements.drop(outside, frontend);
        } else if external_local {
            elements.route(outside, frontend, &endpoints.local, affinity);
        }
    };
    for address in external_addresses(service, spec) {
        let frontend = Frontend { address: Some(address), protocol, port: number };
        open(frontend, Plane::Services, Plane::ServicesExternal);
    }
    if let Some(number) = port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0) {
        let frontend = Frontend { address: None, protocol, port: number };
        open(frontend, Plane::NodePorts, Plane::NodePortsExternal);
    }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client.and_then(|client| client.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
    u32::try_from(seconds).ok()
}

/// A port's endpoints that take traffic, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Available {
    /// On all nodes.
    cluster: Vec<Endpoint>,
    /// On this one.
    local: Vec<Endpoint>,
}

/// One endpoint's state, as kube-proxy sees it.
struct Candidate {
    endpoint: Endpoint,
    ready: bool,
    last_resort: bool,
    local: bool,
}

impl Available {
    /// Ready ones; if there is none, those that end but still serve (KEP-1669).
    fn of<'a>(
        port: &ServicePort,
        protocol: Protocol,
        slices: impl Iterator<Item = &'a EndpointSlice>,
        node: &str,
    ) -> Self {
        let candidates: Vec<Candidate> =
            slices.flat_map(|slice| slice_candidates(port, protocol, slice, node)).collect();
        let choose = |local: bool| {
            let mut best = BTreeSet::new();
            let mut rest = BTreeSet::new();
            for candidate in candidates.iter().filter(|candidate| candidate.local || !local) {
                if candidate.ready {
                    best.insert(candidate.endpoint);
                } else if candidate.last_resort {
                    rest.insert(candidate.endpoint);
                }
            }
            Vec::from_iter(if best.is_empty() { rest } else { best })
        };
        Self { cluster: choose(false), local: choose(true) }
    }
}

fn slice_candidates<'a>(
    port: &ServicePort,
    protocol: Protocol,
    slice: &'a EndpointSlice,
    node: &'a str,
) -> Vec<Candidate> {
    let name = |name: Option<&String>| name.map_or("", String::as_str).to_owned();
    let wanted = name(port.name.as_ref());
    let number = slice
        .ports
        .iter()
        .flatten()
        .filter(|one| name(one.name.as_ref()) == wanted)
        .filter(|one| Protocol::parse(one.protocol.as_deref()) == Some(protocol))
        .find_map(|one| one.port.or(fallback_port(port)))
        .and_then(|number| u16::try_from(number).ok());
    let Some(number) = number.filter(|_| slice.address_type == "IPv4") else { return Vec::new() };
    slice.endpoints.iter().flatten().filter_map(|endpoint| candidate(endpoint, number, node)).collect()
}

/// A slice without a number means all ports; the target port then says which.
fn fallback_port(port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    }
}

fn candidate(endpoint: &SliceEndpoint, port: u16, node: &str) -> Option<Candidate> {
    // Consumers use the first address only (EndpointSlice API).
    let address = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    Some(Candidate {
        endpoint: Endpoint { address, port },
        ready,
        last_resort: serving && terminating,
        local: endpoint.node_name.as_deref() == Some(node),
    })
}

fn word(bytes: &[u8]) -> [u8; 4] {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    word
}

impl Frontend {
    fn encode(self, bytes: &mut Vec<u8>) {
        if let Some(address) = self.address {
            bytes.extend_from_slice(&address.octets());
        }
        bytes.extend_from_slice(&word(&[self.protocol.number()]));
        bytes.extend_from_slice(&word(&self.port.to_be_bytes()));
    }
}

impl Endpoint {
    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.address.octets());
        bytes.extend_from_slice(&word(&self.port.to_be_bytes()));
    }
}

/// As the kernel stores it.
pub fn raw(key: &Key, target: &Target) -> RawElement {
    let mut bytes = Vec::with_capacity(20);
    match key {
        Key::Frontend(frontend) => frontend.encode(&mut bytes),
        Key::Index(frontend, index) => {
            frontend.encode(&mut bytes);
            bytes.extend_from_slice(&index.to_ne_bytes());
        }
        Key::Backend(frontend, endpoint) => {
            frontend.encode(&mut bytes);
            endpoint.encode(&mut bytes);
        }
        Key::Address(address) => bytes.extend_from_slice(&address.octets()),
        Key::Twice(address) => bytes.extend_from_slice(&[address.octets(), address.octets()].concat()),
    }
    let data = match target {
        Target::Member => ElementData::Absent,
        Target::Drop => ElementData::Verdict(Verdict::Drop),
        Target::Chain(chain) => ElementData::Verdict(Verdict::Goto(chain.to_string())),
        Target::Endpoint(endpoint) => {
            let mut value = Vec::with_capacity(8);
            endpoint.encode(&mut value);
            ElementData::Value(value)
        }
    };
    RawElement { key: bytes, data }
}

#[cfg(test)]
mod tests;
