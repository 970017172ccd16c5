//! Notices nodes that went silent, and taints nodes by their conditions.
//!
//! Entry point: [`reconcile`]. Silence is measured by this process's clock from when it last saw the
//! node's lease or heartbeat change, so clocks of machines need not agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, EventDraft, EventType, Plan, Target, object_reference};
use client::request;
use component_base::clock::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::json;

use crate::pods;

/// Where nodes keep their leases.
const LEASES: &str = "kube-node-lease";
/// How long a node may be silent.
const GRACE: SignedDuration = SignedDuration::from_secs(40);
/// How long a node may take to say anything at all.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away while true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// Conditions only the node can know.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// A node, when it was last heard of, and its pods.
pub struct Observed {
    /// The node.
    pub node: Arc<Node>,
    /// When this process last saw a sign of life.
    pub heard: Timestamp,
    /// Pods on it that say they are ready; only filled when the node is not ready.
    pub ready_pods: Vec<Arc<Pod>>,
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn ready_status(node: &Node) -> Option<&str> {
    condition(node, "Ready").map(|condition| condition.status.as_str())
}

/// Marks a silent node unknown, keeps the taints that follow from its conditions, and takes its pods
/// out of service.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let node = &*observed.node;
    let mut plan = Plan::default();
    let grace = if condition(node, "Ready").is_some() { GRACE } else { STARTUP_GRACE };
    let left = observed.heard + grace;
    if now < left {
        plan.requeue_within(Duration::try_from(left.duration_since(now)).unwrap_or(Duration::ZERO));
    } else if let Some(action) = mark_unknown(node, now) {
        // The taints follow from the conditions as they are then.
        plan.events.push(status_event(node));
        plan.actions.push(action);
        return plan;
    }
    plan.actions.extend(taint_patch(node, now));
    plan.actions.extend(observed.ready_pods.iter().map(|pod| mark_pod_not_ready(pod, now)));
    plan
}

fn status_event(node: &Node) -> EventDraft {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    EventDraft {
        regarding: object_reference(&request::resource::<Node>(), &node.metadata),
        event_type: EventType::Normal,
        reason: "NodeNotReady",
        message: format!("Node {name} status is now: NodeNotReady"),
    }
}

fn mark_unknown(node: &Node, now: Timestamp) -> Option<Action> {
    let current = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = current.clone();
    for kind in REPORTED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    (conditions != current).then(|| Action::Patch {
        target: Target::same_version(&request::resource::<Node>(), &node.metadata),
        subresource: Some("status"),
        patch: json!({"status": {"conditions": conditions}}),
    })
}

/// The taints a node must have because of its conditions, as key and effect.
fn due_taints(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut due = Vec::new();
    // Until a node has said anything, admission's not-ready taint stays as it is.
    match ready_status(node) {
        Some("False") | None => due.extend([(NOT_READY, "NoSchedule")]),
        Some("Unknown") => due.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        Some(_) => {}
    }
    if ready_status(node) == Some("False") {
        due.push((NOT_READY, "NoExecute"));
    }
    for (kind, taint) in PRESSURES {
        if condition(node, kind).is_some_and(|condition| condition.status == "True") {
            due.push((taint, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        due.push((UNSCHEDULABLE, "NoSchedule"));
    }
    due
}

/// Whether a taint is this controller's to set and remove.
fn is_ours(taint: &Taint) -> bool {
    match (taint.key.as_str(), taint.effect.as_str()) {
        (NOT_READY | UNREACHABLE, "NoSchedule" | "NoExecute") | (UNSCHEDULABLE, "NoSchedule") => true,
        (key, "NoSchedule") => PRESSURES.iter().any(|(_, pressure)| *pressure == key),
        _ => false,
    }
}

fn taint_patch(node: &Node, now: Timestamp) -> Option<Action> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let due = due_taints(node);
    let same = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let mut taints: Vec<Taint> = current
        .iter()
        .filter(|taint| !is_ours(taint) || due.iter().any(|due| same(taint, due)))
        .cloned()
        .collect();
    for due in &due {
        if !taints.iter().any(|taint| same(taint, due)) {
            let (key, effect) = (due.0.to_owned(), due.1.to_owned());
            taints.push(Taint { key, effect, time_added: Some(Time(now)), value: None });
        }
    }
    (taints != current).then(|| Action::Patch {
        target: Target::same_version(&request::resource::<Node>(), &node.metadata),
        subresource: None,
        patch: json!({"spec": {"taints": taints}}),
    })
}

/// Nobody can tell whether the pods of a silent node still serve, so they leave their services.
fn mark_pod_not_ready(pod: &Pod, now: Timestamp) -> Action {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.last_transition_time = Some(Time(now));
    }
    Action::Patch {
        target: Target::same_version(&request::resource::<Pod>(), &pod.metadata),
        subresource: Some("status"),
        patch: json!({"status": {"conditions": conditions}}),
    }
}

/// The last sign of life: what it was, and when it was first seen.
struct Sign {
    mark: (Option<Timestamp>, Option<Timestamp>),
    at: Timestamp,
}

/// Watches nodes and their leases.
pub struct NodeLifecycle {
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    clock: SharedClock,
    signs: Mutex<BTreeMap<String, Sign>>,
}

impl NodeLifecycle {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers, clock: SharedClock) -> Self {
        let signs = Mutex::default();
        Self { nodes: informers.of(), leases: informers.of(), pods: informers.of(), clock, signs }
    }

    fn heard(&self, node: &Node) -> Timestamp {
        let name = node.metadata.name.clone().unwrap_or_default();
        let lease = self.leases.get(&Key::new(LEASES, &name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let heartbeat =
            condition(node, "Ready").and_then(|c| c.last_heartbeat_time.as_ref().map(|time| time.0));
        let (mark, now) = ((renewed, heartbeat), self.clock.now());
        let mut signs = self.signs.lock();
        let sign = signs.entry(name).or_insert(Sign { mark, at: now });
        if sign.mark != mark {
            *sign = Sign { mark, at: now };
        }
        sign.at
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.nodes);
        wake.on(&self.leases, |change| {
            let key = change.key();
            (key.namespace == LEASES).then(|| Key::cluster(key.name))
        });
        wake.reads(&self.pods);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(node) = self.nodes.get(key) else {
            self.signs.lock().remove(&key.name);
            return Ok(None);
        };
        let heard = self.heard(&node);
        let mut ready_pods = Vec::new();
        if ready_status(&node) == Some("Unknown") {
            ready_pods = self.pods.list();
            ready_pods.retain(|pod| on_node(pod) == Some(key.name.as_str()) && pods::is_ready(pod));
        }
        Ok(Some(Observed { node, heard, ready_pods }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}

/// The node a pod is on.
pub(crate) fn on_node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(node: Value, silent_seconds: i64, expect: &[&str]) {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let node: Node = serde_json::from_value(node).expect("a node");
        let heard = now - SignedDuration::from_secs(silent_seconds);
        let plan = reconcile(&Observed { node: Arc::new(node), heard, ready_pods: Vec::new() }, now);
        let mut got = Vec::new();
        for action in &plan.actions {
            let Action::Patch { patch, .. } = action else { panic!("{action:?}") };
            for condition in patch["status"]["conditions"].as_array().into_iter().flatten() {
                got.push(format!(
                    "{}={}",
                    condition["type"].as_str().unwrap_or(""),
                    condition["status"].as_str().unwrap_or("")
                ));
            }
            if let Some(taints) = patch["spec"]["taints"].as_array() {
                got.push(format!("{} taints", taints.len()));
                for taint in taints {
                    got.push(format!(
                        "{}:{}",
                        taint["key"].as_str().unwrap_or(""),
                        taint["effect"].as_str().unwrap_or("")
                    ));
                }
            }
        }
        assert_eq!(got, expect);
    }

    fn node(ready: &str, taints: &[(&str, &str)], unschedulable: bool) -> Value {
        let taints: Vec<Value> =
            taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        json!({"metadata": {"name": "n"}, "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn silence_and_taints() {
        check(node("True", &[], false), 10, &[]);
        check(
            node("True", &[], false),
            41,
            &["Ready=Unknown", "MemoryPressure=Unknown", "DiskPressure=Unknown", "PIDPressure=Unknown"],
        );
        let (ns, ne) = ("NoSchedule", "NoExecute");
        check(
            node("False", &[("mine", ne)], false),
            1,
            &[
                "3 taints",
                "mine:NoExecute",
                "node.kubernetes.io/not-ready:NoSchedule",
                "node.kubernetes.io/not-ready:NoExecute",
            ],
        );
        check(node("True", &[(NOT_READY, ns), (NOT_READY, ne)], false), 1, &["0 taints"]);
        check(node("True", &[], true), 1, &["1 taints", "node.kubernetes.io/unschedulable:NoSchedule"]);
        check(
            node("Unknown", &[(NOT_READY, ns), (NOT_READY, ne)], false),
            1,
            &[
                "2 taints",
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute",
            ],
        );
    }
}
