//! Removes pods that nobody else will: on nodes that are gone, deleted before they got a node, or ended
//! and too many.
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
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use component_base::clock::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::json;

use crate::node_lifecycle::on_node;
use crate::pods;

/// How long a node must be missing before its pods are given up: it may come back at once.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// The key that stands for the number of ended pods.
const ENDED: &str = "ended";

/// What the decision is about.
pub enum Observed {
    /// One pod, and since when its node has been missing.
    Pod {
        /// The pod.
        pod: Arc<Pod>,
        /// None while its node exists, or it has none.
        node_missing_since: Option<Timestamp>,
    },
    /// Ended pods beyond the limit, oldest first.
    Ended(Vec<Arc<Pod>>),
}

/// Removes what is to go.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    match observed {
        Observed::Ended(surplus) => plan.actions.extend(surplus.iter().map(|pod| remove(pod))),
        Observed::Pod { pod, node_missing_since: Some(since) } => {
            let due = *since + QUARANTINE;
            if now < due {
                plan.requeue_within(Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO));
            } else {
                plan.actions.extend((!pods::is_terminal(pod)).then(|| fail(pod, now)));
                plan.actions.push(remove(pod));
            }
        }
        Observed::Pod { pod, node_missing_since: None } => {
            if on_node(pod).is_none() && pod.metadata.deletion_timestamp.is_some() {
                plan.actions.push(remove(pod));
            }
        }
    }
    plan
}

fn remove(pod: &Pod) -> Action {
    Action::Delete {
        target: Target::same_object(&request::resource::<Pod>(), &pod.metadata),
        propagation: Propagation::Background,
        grace_period_seconds: Some(0),
    }
}

/// A pod whose node is gone has failed, whatever it last said.
fn fail(pod: &Pod, now: Timestamp) -> Action {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByPodGC".to_owned()),
        message: Some("PodGC: node no longer exists".to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    Action::Patch {
        target: Target::same_object(&request::resource::<Pod>(), &pod.metadata),
        subresource: Some("status"),
        patch: json!({"status": {"phase": "Failed", "conditions": conditions}}),
    }
}

/// Watches pods and nodes.
pub struct PodGarbage {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    clock: SharedClock,
    limit: usize,
    missing: Mutex<BTreeMap<String, Timestamp>>,
}

impl PodGarbage {
    /// Keeps at most `limit` ended pods; 0 keeps all.
    pub fn new(informers: &Informers, clock: SharedClock, limit: usize) -> Self {
        Self { nodes: informers.of(), pods: informers.of(), clock, limit, missing: Mutex::default() }
    }

    fn surplus(&self) -> Vec<Arc<Pod>> {
        let mut ended = self.pods.list();
        ended.retain(|pod| pods::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none());
        ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        ended.truncate(ended.len().saturating_sub(self.limit));
        ended
    }
}

#[async_trait]
impl Controller for PodGarbage {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn watch(&self, wake: &mut Wake) {
        let (nodes, limit) = (self.nodes.clone(), self.limit);
        wake.on(&self.pods, move |change| {
            let Some(pod) = change.current() else { return Vec::new() };
            let node_missing = on_node(pod).is_some_and(|name| nodes.get(&Key::cluster(name)).is_none());
            let never_placed = on_node(pod).is_none() && pod.metadata.deletion_timestamp.is_some();
            let mut keys = Vec::new();
            keys.extend((node_missing || never_placed).then(|| change.key()));
            let ended = pods::is_terminal(pod) && change.old().is_none_or(|old| !pods::is_terminal(old));
            keys.extend((limit > 0 && ended).then(|| Key::cluster(ENDED)));
            keys
        });
        let pods = self.pods.clone();
        wake.on(&self.nodes, move |change| {
            let name = change.key().name;
            let concerned = if matches!(change, Change::Removed(_)) { pods.list() } else { Vec::new() };
            let here = concerned.into_iter().filter(move |pod| on_node(pod) == Some(name.as_str()));
            here.map(|pod| Key::of(&pod.metadata)).collect::<Vec<_>>()
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        if key.namespace.is_empty() {
            return Ok(Some(Observed::Ended(self.surplus())));
        }
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let mut missing = self.missing.lock();
        missing.retain(|node, _| self.nodes.get(&Key::cluster(node)).is_none());
        let gone = on_node(&pod).filter(|name| self.nodes.get(&Key::cluster(*name)).is_none());
        let node_missing_since =
            gone.map(|name| *missing.entry(name.to_owned()).or_insert_with(|| self.clock.now()));
        Ok(Some(Observed::Pod { pod, node_missing_since }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
