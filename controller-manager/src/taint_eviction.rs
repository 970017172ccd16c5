//! Removes pods from nodes with `NoExecute` taints they do not tolerate, or no longer.
//!
//! Entry point: [`reconcile`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Change, Informer, Informers};
use client::key::Key;
use client::plan::{Action, EventDraft, EventType, Plan, Propagation, Target, object_reference};
use client::request;
use component_base::clock::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::json;

use crate::node_lifecycle::on_node;
use crate::pods;

/// A pod, and the taints of its node that concern it.
pub struct Observed {
    /// The pod.
    pub pod: Arc<Pod>,
    /// `NoExecute` taints of its node.
    pub taints: Vec<Taint>,
    /// When each taint (by key and value) was first seen with this pod.
    pub since: Timestamp,
}

/// How long a pod may stay.
#[derive(Debug, PartialEq, Eq)]
enum Stay {
    Forever,
    AtMost(u64),
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
    }
}

/// The shortest time any of the tolerations in use allows; a taint that none tolerates allows none.
fn stay(pod: &Pod, taints: &[Taint]) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let mut shortest = None;
    for taint in taints {
        let mut any = false;
        for toleration in tolerations.iter().filter(|toleration| tolerates(toleration, taint)) {
            any = true;
            if let Some(seconds) = toleration.toleration_seconds {
                let seconds = u64::try_from(seconds).unwrap_or(0);
                shortest = Some(shortest.map_or(seconds, |other: u64| other.min(seconds)));
            }
        }
        if !any {
            return Stay::AtMost(0);
        }
    }
    shortest.map_or(Stay::Forever, Stay::AtMost)
}

/// Lets the pod stay, waits, or removes it.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let pod = &*observed.pod;
    if observed.taints.is_empty() || !pods::is_active(pod) {
        return Plan::nothing();
    }
    let Stay::AtMost(seconds) = stay(pod, &observed.taints) else { return Plan::nothing() };
    let due = observed.since + SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 2));
    let mut plan = Plan::default();
    if now < due {
        plan.requeue_within(Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO));
        return plan;
    }
    let resource = request::resource::<Pod>();
    plan.actions.push(disruption(pod, now));
    plan.actions.push(Action::Delete {
        target: Target::same_object(&resource, &pod.metadata),
        propagation: Propagation::Background,
        grace_period_seconds: None,
    });
    plan.events.push(EventDraft {
        regarding: object_reference(&resource, &pod.metadata),
        event_type: EventType::Normal,
        reason: "TaintManagerEviction",
        message: format!("Marking for deletion Pod {}", Key::of(&pod.metadata)),
    });
    plan
}

fn disruption(pod: &Pod, now: Timestamp) -> Action {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByTaintManager".to_owned()),
        message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    Action::Patch {
        target: Target::same_version(&request::resource::<Pod>(), &pod.metadata),
        subresource: Some("status"),
        patch: json!({"status": {"conditions": conditions}}),
    }
}

/// Watches pods and the taints of nodes.
pub struct TaintEviction {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    clock: SharedClock,
    since: Mutex<BTreeMap<String, Timestamp>>,
}

fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

impl TaintEviction {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers, clock: SharedClock) -> Self {
        Self { nodes: informers.of(), pods: informers.of(), clock, since: Mutex::default() }
    }
}

#[async_trait]
impl Controller for TaintEviction {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        let nodes = self.nodes.clone();
        wake.on(&self.pods, move |change| {
            let node = on_node(change.latest()).and_then(|name| nodes.get(&Key::cluster(name)));
            let concerned =
                change.current().is_none() || node.is_some_and(|node| !evicting(&node).is_empty());
            concerned.then(|| change.key())
        });
        let pods = self.pods.clone();
        wake.on(&self.nodes, move |change: &Change<Node>| {
            let name = change.key().name;
            let taints = |node: Option<&Arc<Node>>| node.map(|node| evicting(node)).unwrap_or_default();
            let changed = taints(change.old()) != taints(change.current());
            let concerned = if changed { pods.list() } else { Vec::new() };
            let here = concerned.into_iter().filter(move |pod| on_node(pod) == Some(name.as_str()));
            here.map(|pod| Key::of(&pod.metadata)).collect::<Vec<_>>()
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let node = on_node(&pod).and_then(|name| self.nodes.get(&Key::cluster(name)));
        let taints = node.map(|node| evicting(&node)).unwrap_or_default();
        let mut since = self.since.lock();
        if taints.is_empty() {
            since.remove(&uid);
            return Ok(None);
        }
        let added = taints.iter().filter_map(|taint| taint.time_added.as_ref().map(|time| time.0)).min();
        let since = *since.entry(uid).or_insert_with(|| added.unwrap_or_else(|| self.clock.now()));
        Ok(Some(Observed { pod, taints, since }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(tolerations: Value, expect: &Stay) {
        let pod = json!({"spec": {"containers": [], "tolerations": tolerations}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let taint = |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
        assert_eq!(&stay(&pod, &[taint("a"), taint("b")]), expect);
    }

    #[test]
    fn shortest_toleration_counts() {
        check(json!([]), &Stay::AtMost(0));
        check(json!([{"operator": "Exists"}]), &Stay::Forever);
        check(json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}]), &Stay::AtMost(0));
        let both = json!([
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20},
        ]);
        check(both, &Stay::AtMost(20));
    }
}
