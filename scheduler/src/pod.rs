//! What the scheduler knows of a pod, read once from the object.
//!
//! Entry point: [`Pod::read`].

use std::collections::BTreeMap;
use std::sync::Arc;

use client::key::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Affinity, Container, Pod as ApiPod, PodAffinityTerm, PodCondition, PodSpec, Toleration,
    WeightedPodAffinityTerm,
};

use crate::resources::{self, Amounts};
use crate::terms::{Labels, NodeTerm, NodeTerms, PodTerm, Spread};

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses.
    pub ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let everywhere = |port: &Self| port.ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || everywhere(self) || everywhere(other))
    }
}

/// What decides where a pod may and should run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// Its labels, which others select it by.
    pub labels: Labels,
    /// Who places it: `default-scheduler`, or someone else.
    pub scheduler_name: String,
    /// Larger goes first.
    pub priority: i32,
    /// May others be evicted for it?
    pub may_preempt: bool,
    /// It waits until these gates are gone.
    pub gated: bool,
    /// What it asks of a node.
    pub requests: Amounts,
    /// CPU and memory it counts for in scores.
    pub scored: (i64, i64),
    /// Ports of the node it takes.
    pub ports: Vec<HostPort>,
    /// Taints it bears.
    pub tolerations: Vec<Toleration>,
    /// Labels its node must have.
    pub node_selector: Labels,
    /// Required node affinity.
    pub required_nodes: NodeTerms,
    /// Preferred node affinity with weights.
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    /// Required pod affinity.
    pub affinity: Vec<PodTerm>,
    /// Required pod anti-affinity.
    pub anti_affinity: Vec<PodTerm>,
    /// Preferred pod affinity with weights.
    pub preferred_affinity: Vec<(i64, PodTerm)>,
    /// Preferred pod anti-affinity with weights.
    pub preferred_anti_affinity: Vec<(i64, PodTerm)>,
    /// Topology spread constraints.
    pub spread: Vec<Spread>,
    /// uid of its controller.
    pub owner: Option<String>,
    /// Images of its containers, with tag.
    pub images: Vec<String>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// Tells it from a successor of the same name.
    pub uid: Arc<str>,
    /// `metadata.generation`, which its condition reports.
    pub generation: i64,
    /// When it was created.
    pub created: Timestamp,
    /// The node it is on.
    pub node: Option<String>,
    /// It has succeeded or failed and holds nothing any more.
    pub ended: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// What decides where it may run.
    pub needs: Needs,
    /// Its `PodScheduled` condition.
    pub condition: Option<PodCondition>,
}

impl Pod {
    /// Reads a pod.
    pub fn read(pod: &ApiPod) -> Self {
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty());
        Self {
            key: Key::of(meta),
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            generation: meta.generation.unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            node,
            ended: matches!(phase, Some("Succeeded" | "Failed")),
            deleting: meta.deletion_timestamp.is_some(),
            needs: spec.map(|spec| Needs::read(pod, spec)).unwrap_or_default(),
            condition: conditions.iter().find(|condition| condition.type_ == "PodScheduled").cloned(),
        }
    }

    /// Whether its placement, or that of others, depends on its (anti-)affinity to pods.
    pub fn has_pod_affinity(&self) -> bool {
        let needs = &self.needs;
        !(needs.affinity.is_empty()
            && needs.anti_affinity.is_empty()
            && needs.preferred_affinity.is_empty()
            && needs.preferred_anti_affinity.is_empty())
    }
}

impl Needs {
    fn read(pod: &ApiPod, spec: &PodSpec) -> Self {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let spread = spec.topology_spread_constraints.as_deref().unwrap_or_default();
        let mut needs = Self {
            scheduler_name: spec.scheduler_name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            gated: spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()),
            requests: resources::pod_requests(spec, pod.status.as_ref()),
            scored: resources::pod_scored_requests(spec),
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            spread: spread.iter().map(|constraint| Spread::new(constraint, &labels)).collect(),
            owner: owners.iter().find(|o| o.controller == Some(true)).map(|owner| owner.uid.clone()),
            images: containers(spec).filter_map(|c| c.image.as_deref()).map(with_tag).collect(),
            labels,
            ..Self::default()
        };
        if let Some(affinity) = &spec.affinity {
            needs.read_affinity(affinity, namespace);
        }
        needs
    }

    fn read_affinity(&mut self, affinity: &Affinity, namespace: &str) {
        if let Some(nodes) = &affinity.node_affinity {
            let required = nodes.required_during_scheduling_ignored_during_execution.as_ref();
            self.required_nodes = required.map(|r| r.node_selector_terms.iter().map(NodeTerm::new).collect());
            self.preferred_nodes = nodes
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|term| (i64::from(term.weight), NodeTerm::new(&term.preference)))
                .collect();
        }
        if let Some(pods) = &affinity.pod_affinity {
            self.affinity = terms(&pods.required_during_scheduling_ignored_during_execution, namespace);
            self.preferred_affinity =
                weighted(&pods.preferred_during_scheduling_ignored_during_execution, namespace);
        }
        if let Some(pods) = &affinity.pod_anti_affinity {
            self.anti_affinity = terms(&pods.required_during_scheduling_ignored_during_execution, namespace);
            self.preferred_anti_affinity =
                weighted(&pods.preferred_during_scheduling_ignored_during_execution, namespace);
        }
    }

    /// Whether a node with this name and these labels is one of those the pod may run on.
    pub fn allows_node(&self, name: &str, labels: &Labels) -> bool {
        let required = self.required_nodes.as_ref();
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && required.is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }
}

fn terms(terms: &Option<Vec<PodAffinityTerm>>, namespace: &str) -> Vec<PodTerm> {
    terms.iter().flatten().map(|term| PodTerm::new(term, namespace)).collect()
}

fn weighted(terms: &Option<Vec<WeightedPodAffinityTerm>>, namespace: &str) -> Vec<(i64, PodTerm)> {
    let compile = |term: &WeightedPodAffinityTerm| {
        (i64::from(term.weight), PodTerm::new(&term.pod_affinity_term, namespace))
    };
    terms.iter().flatten().map(compile).collect()
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Ports of containers that run for the pod's whole life.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let known = |text: &Option<String>, default: &str| match text.as_deref() {
        None | Some("") => default.to_owned(),
        Some(text) => text.to_owned(),
    };
    let taken: BTreeMap<HostPort, ()> = ports
        .filter_map(|port| {
            let number = port.host_port.filter(|port| *port > 0)?;
            let ip = known(&port.host_ip, "0.0.0.0");
            Some((HostPort { ip, protocol: known(&port.protocol, "TCP"), port: number }, ()))
        })
        .collect();
    taken.into_keys().collect()
}

/// The image's name as nodes report it: `latest` when there is no tag.
fn with_tag(image: &str) -> String {
    if image.rfind(':').map_or(-1, |at| at as i64) <= image.rfind('/').map_or(-1, |at| at as i64) {
        format!("{image}:latest")
    } else {
        image.to_owned()
    }
}
