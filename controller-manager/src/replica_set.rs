//! ReplicaSets: as many pods as wanted, no more and no less.
//!
//! Entry points: [`reconcile`], and [`ReplicaKeeper`] for each kind that [`KeepsReplicas`]. Never deletes below the wanted number: only active pods count, and only
//! the surplus goes, least useful first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::{Act, Failure};
use client::informer::{Informer, Informers, Watched};
use client::key::Key;
use client::plan::{Action, EventDraft, EventType, Plan, Propagation, Report, Target, object_reference};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::{ApiResource, Selector};
use serde_json::{Value, json};

use crate::owners::{
    Claimant, controller_key, controller_of, controller_reference, selector, selects, to_json,
};
use crate::pods;

/// At most this many pods are created or deleted in one go.
const BURST: usize = 500;

/// A ReplicaSet and what it may count on.
pub struct Observed {
    /// What the set is to the server: a ReplicaSet, or a ReplicationController in a ReplicaSet's shape.
    pub resource: ApiResource,
    /// The set.
    pub set: Arc<ReplicaSet>,
    /// Pods of the namespace that it owns or could adopt.
    pub pods: Vec<Arc<Pod>>,
    /// Pods of it and its siblings (sets of the same deployment) by node.
    pub crowd: BTreeMap<String, usize>,
    /// Why the last plan failed.
    pub last: Option<Failure>,
}

/// Adopts, releases, creates, deletes, and reports.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let set = &*observed.set;
    let Some((spec, selector)) = set.spec.as_ref().and_then(|s| Some((s, selector(Some(&s.selector))?)))
    else {
        return Plan::nothing();
    };
    let claimant = Claimant { resource: &observed.resource, meta: &set.metadata, selector: &selector };
    let candidates: Vec<_> = observed.pods.iter().filter(|pod| !pods::is_terminal(pod)).cloned().collect();
    let (claimed, actions) = claimant.claim(&request::resource::<Pod>(), &candidates);
    let (active, terminating): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|pod| pods::is_active(pod));

    let mut plan = Plan { actions, ..Plan::default() };
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let deleting = set.metadata.deletion_timestamp.is_some();
    let (leaving, staying) =
        if deleting { (Vec::new(), active.clone()) } else { split(observed, &active, wanted, now) };
    // Pods that this plan deletes are counted as gone: whoever reads the status must not rely on them.
    let conditions = new_conditions(observed, active.len(), wanted, now);
    let terminating = terminating.len() + leaving.len();
    let status = new_status(observed, &staying, terminating, conditions, now);
    if set.status.as_ref() != Some(&status) {
        plan.actions.push(status_patch(observed, &status));
    }
    if !deleting {
        create(&mut plan, observed, wanted.saturating_sub(active.len()));
        delete(&mut plan, observed, &leaving);
    }
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let waiting = staying.iter().filter_map(|pod| pods::available_in(pod, min_ready, now));
    if let Some(next) = waiting.filter(|left| !left.is_zero()).min() {
        plan.requeue_within(next);
    }
    plan
}

/// The surplus, least useful first, and the rest.
fn split(
    observed: &Observed,
    active: &[Arc<Pod>],
    wanted: usize,
    now: Timestamp,
) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    let crowd = |node: &str| observed.crowd.get(node).copied().unwrap_or(0);
    let mut leaving = active.to_vec();
    if surplus > 0 {
        leaving.sort_by(|a, b| pods::deletion_order(a, b, &crowd, now));
    }
    let staying = leaving.split_off(surplus);
    (leaving, staying)
}

fn create(plan: &mut Plan, observed: &Observed, missing: usize) {
    let pod = new_pod(observed);
    for _ in 0..missing.min(BURST) {
        let create = Action::Create {
            resource: request::resource::<Pod>(),
            namespace: observed.set.metadata.namespace.clone(),
            object: pod.clone(),
        };
        let success = event(observed, EventType::Normal, "SuccessfulCreate", "Created pod: {name}");
        let failure = event(observed, EventType::Warning, "FailedCreate", "Error creating: {error}");
        plan.act_and_report(create, Report { success: Some(success), failure: Some(failure) });
    }
}

fn delete(plan: &mut Plan, observed: &Observed, leaving: &[Arc<Pod>]) {
    for pod in leaving {
        let delete = Action::Delete {
            target: Target::same_object(&request::resource::<Pod>(), &pod.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        };
        let success = event(observed, EventType::Normal, "SuccessfulDelete", "Deleted pod: {name}");
        let failure = event(observed, EventType::Warning, "FailedDelete", "Error deleting: {error}");
        plan.act_and_report(delete, Report { success: Some(success), failure: Some(failure) });
    }
}

fn event(observed: &Observed, event_type: EventType, reason: &'static str, message: &str) -> EventDraft {
    let regarding = object_reference(&observed.resource, &observed.set.metadata);
    EventDraft { regarding, event_type, reason, message: message.to_owned() }
}

fn new_pod(observed: &Observed) -> Value {
    let set = &*observed.set;
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let owner = controller_reference(&observed.resource, &set.metadata);
    let mut metadata = json!({
        "generateName": format!("{}-", set.metadata.name.as_deref().unwrap_or_default()),
        "namespace": set.metadata.namespace,
        "ownerReferences": [owner],
    });
    let copied = [
        ("labels", to_json(&meta.labels)),
        ("annotations", to_json(&meta.annotations)),
        ("finalizers", to_json(&meta.finalizers)),
    ];
    for (field, value) in copied.into_iter().filter(|(_, value)| !value.is_null()) {
        metadata[field] = value;
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec})
}

fn count(pods: &[Arc<Pod>], rule: impl Fn(&Pod) -> bool) -> i32 {
    i32::try_from(pods.iter().filter(|pod| rule(pod)).count()).unwrap_or(i32::MAX)
}

fn new_status(
    observed: &Observed,
    active: &[Arc<Pod>],
    terminating: usize,
    conditions: Option<Vec<ReplicaSetCondition>>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = observed.set.spec.clone().unwrap_or_default();
    let template_labels = spec.template.and_then(|t| t.metadata).and_then(|m| m.labels).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let some = |count: i32| (count != 0).then_some(count);
    let labelled = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template_labels.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    };
    ReplicaSetStatus {
        replicas: count(active, |_| true),
        fully_labeled_replicas: some(count(active, labelled)),
        ready_replicas: some(count(active, pods::is_ready)),
        available_replicas: some(count(active, |pod| pods::is_available(pod, min_ready, now))),
        // A ReplicationController's status has no such field.
        terminating_replicas: i32::try_from(terminating)
            .ok()
            .filter(|_| observed.resource.kind == "ReplicaSet"),
        observed_generation: observed.set.metadata.generation,
        conditions,
    }
}

/// `ReplicaFailure` stands as long as creating or deleting pods is refused.
fn new_conditions(
    observed: &Observed,
    active: usize,
    wanted: usize,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let current =
        observed.set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let (known, mut kept): (Vec<_>, Vec<_>) = current.into_iter().partition(|c| c.type_ == "ReplicaFailure");
    let refused = observed.last.as_ref().filter(|last| last.plural == "pods");
    let reason = match refused {
        Some(last) if last.act == Act::Create && active < wanted => Some("FailedCreate"),
        Some(last) if last.act == Act::Delete && active > wanted => Some("FailedDelete"),
        _ => None,
    };
    if let (Some(reason), Some(last)) = (reason, refused) {
        kept.push(known.into_iter().next().unwrap_or_else(|| ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(last.message.clone()),
            last_transition_time: Some(Time(now)),
        }));
    }
    (!kept.is_empty()).then_some(kept)
}

fn status_patch(observed: &Observed, status: &ReplicaSetStatus) -> Action {
    let patch = json!({"status": {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": status.conditions,
    }});
    let target = Target::same_version(&observed.resource, &observed.set.metadata);
    Action::Patch { target, subresource: Some("status"), patch }
}

/// A kind that keeps a number of pods as a ReplicaSet does.
pub trait KeepsReplicas: Watched + kube::Resource<DynamicType = ()> {
    /// What its controller is called.
    const CONTROLLER: &'static str;

    /// The ReplicaSet that would keep the same pods.
    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet>;

    /// Which pods it keeps.
    fn pod_selector(&self) -> Option<Selector>;
}

impl KeepsReplicas for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::clone(this)
    }

    fn pod_selector(&self) -> Option<Selector> {
        selector(self.spec.as_ref().map(|spec| &spec.selector))
    }
}

/// Watches objects of a kind that keeps pods, and pods.
pub struct ReplicaKeeper<K> {
    sets: Informer<K>,
    pods: Informer<Pod>,
}

impl<K: KeepsReplicas> ReplicaKeeper<K> {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { sets: informers.of(), pods: informers.of() }
    }

    fn crowd(&self, set: &ObjectMeta) -> BTreeMap<String, usize> {
        let siblings = match controller_of(set) {
            Some(owner) => self.sets.owned_by(&owner.uid),
            None => Vec::new(),
        };
        let own = set.uid.iter().cloned();
        let uids: BTreeSet<String> =
            siblings.iter().filter_map(|sibling| sibling.meta().uid.clone()).chain(own).collect();
        by_node(uids.iter().flat_map(|uid| self.pods.owned_by(uid)))
    }
}

/// How many of the pods are active on each node.
fn by_node(pods: impl Iterator<Item = Arc<Pod>>) -> BTreeMap<String, usize> {
    let mut crowd = BTreeMap::new();
    for pod in pods.filter(|pod| pods::is_active(pod)) {
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            *crowd.entry(node).or_default() += 1;
        }
    }
    crowd
}

/// The pods a set owns, and those of its namespace that nobody controls.
fn candidates(pods: &Informer<Pod>, meta: &ObjectMeta) -> Vec<Arc<Pod>> {
    let mut candidates = pods.owned_by(meta.uid.as_deref().unwrap_or_default());
    let in_namespace = pods.in_namespace(meta.namespace.as_deref().unwrap_or_default());
    candidates.extend(in_namespace.into_iter().filter(|pod| controller_of(&pod.metadata).is_none()));
    candidates
}

#[async_trait]
impl<K: KeepsReplicas> Controller for ReplicaKeeper<K> {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        K::CONTROLLER
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.sets);
        let (resource, sets) = (request::resource::<K>(), self.sets.clone());
        wake.on(&self.pods, move |change| {
            before_and_after(change, |pod: &Pod| match controller_of(&pod.metadata) {
                Some(_) => controller_key(&pod.metadata, &resource).into_iter().collect(),
                None => matching(&sets, pod),
            })
        });
    }

    async fn observe(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        Ok(Some(Observed {
            resource: request::resource::<K>(),
            set: K::as_set(&set),
            pods: candidates(&self.pods, set.meta()),
            crowd: self.crowd(set.meta()),
            last: last.cloned(),
        }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}

/// Sets that might adopt this orphan.
fn matching<K: KeepsReplicas>(sets: &Informer<K>, pod: &Pod) -> Vec<Key> {
    let in_namespace = sets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let adopts = |set: &Arc<K>| {
        set.pod_selector()
            .is_some_and(|selector| !selector.selects_all() && selects(&selector, &pod.metadata))
    };
    in_namespace.into_iter().filter(adopts).map(|set| Key::of(set.meta())).collect()
}
