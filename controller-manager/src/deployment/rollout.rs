//! The working copy of a deployment: replica sets with the sizes they are to get, conditions, events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::plan::{Action, EventDraft, EventType, Plan, Propagation, Report, Target, object_reference};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{progress, revision};
use crate::owners::to_json;

/// Wanted size of the deployment when the set was last scaled, for proportional scaling.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same plus surge.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// One replica set and what is to become of it.
pub(super) struct Set {
    /// As observed, or as it will be created.
    pub(super) object: Arc<ReplicaSet>,
    pub(super) exists: bool,
    pub(super) replicas: i32,
    pub(super) min_ready_seconds: i32,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) delete: bool,
    /// Told once its change is made.
    pub(super) said: Option<EventDraft>,
    /// Told if its change is refused.
    pub(super) complaint: Option<EventDraft>,
}

impl Set {
    pub(super) fn existing(object: Arc<ReplicaSet>) -> Self {
        let spec = object.spec.as_ref();
        Self {
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
            annotations: object.metadata.annotations.clone().unwrap_or_default(),
            exists: true,
            delete: false,
            said: None,
            complaint: None,
            object,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        self.object.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    pub(super) fn available(&self) -> i32 {
        self.object.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    /// Available pods that can be counted on: those beyond the set's size are about to go, even if its
    /// status does not say so yet.
    pub(super) fn lasting(&self) -> i32 {
        self.available().min(self.object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))
    }

    pub(super) fn ready(&self) -> i32 {
        self.object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    /// Pods that there are, as opposed to pods that are wanted.
    pub(super) fn actual(&self) -> i32 {
        self.object.status.as_ref().map_or(0, |status| status.replicas)
    }

    pub(super) fn number(&self, annotation: &str) -> Option<i32> {
        self.annotations.get(annotation)?.parse().ok()
    }

    fn patch(&self) -> Option<Action> {
        let before = Self::existing(self.object.clone());
        let mut patch = json!({});
        if self.annotations != before.annotations {
            let gone = before.annotations.keys().filter(|key| !self.annotations.contains_key(*key));
            let mut annotations = to_json(&self.annotations);
            gone.for_each(|key| annotations[key] = Value::Null);
            patch["metadata"] = json!({"annotations": annotations});
        }
        if self.replicas != before.replicas {
            patch["spec"]["replicas"] = json!(self.replicas);
        }
        if self.min_ready_seconds != before.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(self.min_ready_seconds);
        }
        let target = Target::same_version(&request::resource::<ReplicaSet>(), &self.object.metadata);
        (patch != json!({})).then_some(Action::Patch { target, subresource: None, patch })
    }

    fn action(&self) -> Option<Action> {
        if self.delete {
            let target = Target::same_version(&request::resource::<ReplicaSet>(), &self.object.metadata);
            let propagation = Propagation::Background;
            return Some(Action::Delete { target, propagation, grace_period_seconds: None });
        }
        if self.exists {
            return self.patch();
        }
        let mut object = to_json(&*self.object);
        object["spec"]["replicas"] = json!(self.replicas);
        object["metadata"]["annotations"] = to_json(&self.annotations);
        Some(Action::Create {
            resource: request::resource::<ReplicaSet>(),
            namespace: self.object.metadata.namespace.clone(),
            object,
        })
    }
}

/// A deployment in the middle of a decision.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) spec: &'a DeploymentSpec,
    pub(super) now: Timestamp,
    pub(super) sets: Vec<Set>,
    /// The set whose template is the deployment's.
    pub(super) new: Option<usize>,
    pub(super) conditions: Vec<DeploymentCondition>,
    pub(super) collision_count: Option<i32>,
    /// The deployment's own revision annotation, if it is to change.
    pub(super) revision: Option<String>,
    /// The status is written before anything else (it explains why the rest may fail).
    pub(super) status_first: bool,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        mut sets: Vec<Arc<ReplicaSet>>,
        now: Timestamp,
    ) -> Self {
        let key = |set: &ReplicaSet| {
            (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
        };
        sets.sort_by_key(|set| key(set));
        let status = deployment.status.as_ref();
        Self {
            deployment,
            spec,
            now,
            sets: sets.into_iter().map(Set::existing).collect(),
            new: None,
            conditions: status.and_then(|status| status.conditions.clone()).unwrap_or_default(),
            collision_count: status.and_then(|status| status.collision_count),
            revision: None,
            status_first: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }

    /// How many pods are wanted.
    pub(super) fn wanted(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Finds the oldest set with the deployment's template.
    pub(super) fn find_new(&mut self) {
        self.new = self.sets.iter().position(|set| revision::same_template(self.spec, &set.object));
    }

    pub(super) fn new_set(&self) -> Option<&Set> {
        self.new.map(|index| &self.sets[index])
    }

    /// Indexes of all sets but the new one, oldest first.
    pub(super) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    /// Wanted pods of all sets.
    pub(super) fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    /// Whether the strategy is RollingUpdate, the default.
    pub(super) fn is_rolling(&self) -> bool {
        let strategy = self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy != Some("Recreate")
    }

    /// Pods allowed beyond the wanted number, and pods that may be missing. Percentages of surge round
    /// up, of unavailability down; both zero would never move, so one may then be missing.
    fn fenceposts(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let (surge, missing) = (resolve(surge, self.wanted(), true), resolve(missing, self.wanted(), false));
        if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
    }

    pub(super) fn max_surge(&self) -> i32 {
        self.fenceposts().0
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        if self.wanted() == 0 { 0 } else { self.fenceposts().1.min(self.wanted()) }
    }

    /// Gives a set another size and says so; returns whether it changes.
    pub(super) fn resize(&mut self, index: usize, replicas: i32) -> bool {
        let (desired, max) = (self.wanted(), self.wanted() + self.max_surge());
        let set = &mut self.sets[index];
        let before = set.replicas;
        set.annotations.insert(DESIRED.to_owned(), desired.to_string());
        set.annotations.insert(MAX.to_owned(), max.to_string());
        if before == replicas {
            return false;
        }
        set.replicas = replicas;
        let direction = if before < replicas { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {before} to {replicas}", set.name());
        self.sets[index].said = Some(self.event(EventType::Normal, "ScalingReplicaSet", message));
        true
    }

    pub(super) fn event(&self, event_type: EventType, reason: &'static str, message: String) -> EventDraft {
        let regarding = object_reference(&request::resource::<Deployment>(), &self.deployment.metadata);
        EventDraft { regarding, event_type, reason, message }
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets a condition unless it already has this status and reason.
    pub(super) fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let condition = self.new_condition(kind, status, reason, message);
        set_condition(&mut self.conditions, condition);
    }

    pub(super) fn new_condition(
        &self,
        kind: &str,
        status: &str,
        reason: &str,
        message: String,
    ) -> DeploymentCondition {
        DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        }
    }

    /// The progress deadline; the largest number means none.
    pub(super) fn deadline(&self) -> Option<i32> {
        self.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
    }

    /// Ends with the status computed but progress not judged (paused, scaling, deleting).
    pub(super) fn finish_with_status_only(mut self) -> Plan {
        let availability = progress::availability(&self);
        set_condition(&mut self.conditions, availability);
        self.finish()
    }

    /// Turns the differences into a plan.
    pub(super) fn finish(self) -> Plan {
        let mut plan = Plan::default();
        let status = progress::status(&self);
        let mut status_change = self.status_patch(&status);
        if self.status_first {
            plan.actions.extend(status_change.take());
        }
        // What is to come before what is to go.
        for set in self.new.into_iter().chain(self.old()).map(|index| &self.sets[index]) {
            if let Some(action) = set.action() {
                let report = Report { success: set.said.clone(), failure: set.complaint.clone() };
                plan.act_and_report(action, report);
            }
        }
        plan.actions.extend(status_change);
        if let Some(after) = progress::look_again(&self, &status) {
            plan.requeue_within(after.max(Duration::from_secs(1)));
        }
        plan
    }

    fn status_patch(&self, status: &DeploymentStatus) -> Option<Action> {
        let unchanged = self.deployment.status.as_ref() == Some(status);
        if unchanged && self.revision.is_none() {
            return None;
        }
        let mut patch = json!({"status": {
            "observedGeneration": status.observed_generation,
            "replicas": status.replicas,
            "updatedReplicas": status.updated_replicas,
            "readyReplicas": status.ready_replicas,
            "availableReplicas": status.available_replicas,
            "unavailableReplicas": status.unavailable_replicas,
            "terminatingReplicas": status.terminating_replicas,
            "collisionCount": status.collision_count,
            "conditions": status.conditions,
        }});
        if let Some(revision) = &self.revision {
            patch["metadata"] = json!({"annotations": {revision::REVISION: revision}});
        }
        let target = Target::same_version(&request::resource::<Deployment>(), &self.deployment.metadata);
        Some(Action::Patch { target, subresource: Some("status"), patch })
    }
}

/// Replaces a condition of the same type unless status and reason are the same; the transition time
/// survives if the status does.
pub(super) fn set_condition(conditions: &mut Vec<DeploymentCondition>, mut condition: DeploymentCondition) {
    let current = conditions.iter().position(|c| c.type_ == condition.type_);
    if let Some(index) = current {
        let known = &conditions[index];
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time.clone_from(&known.last_transition_time);
        }
        conditions.remove(index);
    }
    conditions.push(condition);
}

/// A number, or a percentage of `of`.
pub(super) fn resolve(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(of);
            let result = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(result).unwrap_or(i32::MAX)
        }
    }
}
