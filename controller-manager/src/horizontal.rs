//! HorizontalPodAutoscalers: as many pods as the load needs.
//!
//! Entry point: [`decide`]. [`usage`] turns measurements into a number of replicas, [`limits`] keeps
//! changes within bounds, rates and stabilisation windows. Each autoscaler is looked at every 15 s.

mod limits;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::{Act, Failure};
use client::informer::{Change, Informer, Informers};
use client::key::Key;
use client::plan::{Action, EventDraft, EventType, Plan, Report, Target, object_reference};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerSpec, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::core::{ApiResource, GroupVersionKind};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::discovery::Kinds;

pub use limits::History;
pub use usage::Measured;

/// Time between looks at one autoscaler.
const PERIOD: Duration = Duration::from_secs(15);

/// The scale subresource of the target.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The scaled kind.
    pub resource: ApiResource,
    /// Precondition of a change.
    pub resource_version: Option<String>,
    /// Wanted now.
    pub spec_replicas: i32,
    /// There now.
    pub status_replicas: i32,
    /// Which pods count, in text form.
    pub selector: String,
}

/// An autoscaler, its target and what was measured.
pub struct Observed {
    /// The autoscaler.
    pub autoscaler: Arc<HorizontalPodAutoscaler>,
    /// Its target, or why it cannot be read.
    pub scale: Result<Scale, String>,
    /// The target's pods.
    pub pods: Vec<Arc<Pod>>,
    /// Measurements by pod name, or why there are none.
    pub measured: Result<BTreeMap<String, Measured>, String>,
    /// Recent decisions.
    pub history: History,
}

/// What was decided, and what later decisions must know of it.
pub struct Decision {
    /// The writes.
    pub plan: Plan,
    /// What the metrics alone ask for, if they were consulted.
    pub recommendation: Option<i32>,
    /// Change of the target's size.
    pub change: i32,
}

/// The autoscaler's conditions and events while a decision is made.
struct Draft<'a> {
    autoscaler: &'a HorizontalPodAutoscaler,
    spec: &'a HorizontalPodAutoscalerSpec,
    conditions: Vec<HorizontalPodAutoscalerCondition>,
    plan: Plan,
    now: Timestamp,
}

impl Draft<'_> {
    fn condition(&mut self, kind: &str, status: &str, reason: &str, message: impl Into<String>) {
        let known = self.conditions.iter_mut().find(|condition| condition.type_ == kind);
        let same = known.as_ref().is_some_and(|known| known.status == status);
        let transition = known.as_ref().filter(|_| same).and_then(|known| known.last_transition_time.clone());
        let condition = HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            last_transition_time: transition.or(Some(Time(self.now))),
        };
        match known {
            Some(known) => *known = condition,
            None => self.conditions.push(condition),
        }
    }

    fn event(&self, event_type: EventType, reason: &'static str, message: String) -> EventDraft {
        let regarding =
            object_reference(&request::resource::<HorizontalPodAutoscaler>(), &self.autoscaler.metadata);
        EventDraft { regarding, event_type, reason, message }
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        let event = self.event(EventType::Warning, reason, message);
        self.plan.events.push(event);
    }

    /// Ends with the status as it now is; `current` and `desired` only if known.
    fn finish(
        mut self,
        current: Option<i32>,
        desired: Option<i32>,
        metrics: Option<Vec<MetricStatus>>,
        rescaled: bool,
    ) -> Plan {
        let mut status = self.autoscaler.status.clone().unwrap_or_default();
        let before = status.clone();
        status.observed_generation = self.autoscaler.metadata.generation;
        status.conditions = Some(self.conditions.clone());
        status.current_replicas = current.or(status.current_replicas);
        status.desired_replicas = desired.unwrap_or(status.desired_replicas);
        status.current_metrics = metrics.filter(|metrics| !metrics.is_empty());
        if rescaled {
            status.last_scale_time = Some(Time(self.now));
        }
        if status != before {
            let target = Target::same_object(
                &request::resource::<HorizontalPodAutoscaler>(),
                &self.autoscaler.metadata,
            );
            let mut patch = json!({"status": status});
            if status.current_metrics.is_none() {
                patch["status"]["currentMetrics"] = Value::Null;
            }
            self.plan.actions.push(Action::Patch { target, subresource: Some("status"), patch });
        }
        self.plan.requeue_within(PERIOD);
        self.plan
    }
}

/// Decides the size of the target.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let autoscaler = &*observed.autoscaler;
    let spec = &autoscaler.spec;
    let conditions =
        autoscaler.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut draft = Draft { autoscaler, spec, conditions, plan: Plan::default(), now };
    let scale = match &observed.scale {
        Ok(scale) => scale,
        Err(error) => {
            let message = format!("the HPA controller was unable to get the target's current scale: {error}");
            draft.condition("AbleToScale", "False", "FailedGetScale", message);
            draft.warn("FailedGetScale", error.clone());
            let plan = draft.finish(None, None, None, false);
            return Decision { plan, recommendation: None, change: 0 };
        }
    };
    let found = "the HPA controller was able to get the target's current scale";
    draft.condition("AbleToScale", "True", "SucceededGetScale", found);
    let (current, min) = (scale.spec_replicas, spec.min_replicas.unwrap_or(1));
    let chosen = choose(&mut draft, observed, scale, min);
    match chosen {
        Choice::Failed { metrics } => {
            let plan = draft.finish(Some(scale.status_replicas), Some(current), metrics, false);
            Decision { plan, recommendation: None, change: 0 }
        }
        Choice::Size { desired, reason, metrics, recommendation } => {
            let rescaled = desired != current;
            if rescaled {
                rescale(&mut draft, scale, desired, &reason);
            }
            let plan = draft.finish(Some(scale.status_replicas), Some(desired), metrics, rescaled);
            Decision { plan, recommendation, change: desired - current }
        }
    }
}

enum Choice {
    Failed { metrics: Option<Vec<MetricStatus>> },
    Size { desired: i32, reason: String, metrics: Option<Vec<MetricStatus>>, recommendation: Option<i32> },
}

fn choose(draft: &mut Draft<'_>, observed: &Observed, scale: &Scale, min: i32) -> Choice {
    let (current, max) = (scale.spec_replicas, draft.spec.max_replicas);
    let forced = |desired, reason: &str| Choice::Size {
        desired,
        reason: reason.to_owned(),
        metrics: None,
        recommendation: None,
    };
    if current == 0 && min != 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        draft.condition("ScalingActive", "False", "ScalingDisabled", message);
        return forced(0, "");
    }
    if current > max {
        return forced(max, "Current number of replicas above Spec.MaxReplicas");
    }
    if current < min {
        return forced(min, "Current number of replicas below Spec.MinReplicas");
    }
    let proposal = match usage::propose(draft.spec, scale, &observed.pods, &observed.measured, draft.now) {
        Ok(proposal) => proposal,
        Err(error) => {
            draft.condition("ScalingActive", "False", error.reason, error.condition_message());
            for (reason, message) in error.events() {
                draft.warn(reason, message);
            }
            return Choice::Failed { metrics: Some(error.metrics).filter(|metrics| !metrics.is_empty()) };
        }
    };
    for (reason, message) in &proposal.warnings {
        draft.warn(reason, message.clone());
    }
    let valid =
        format!("the HPA was able to successfully calculate a replica count from {}", proposal.metric);
    draft.condition("ScalingActive", "True", "ValidMetricFound", valid);
    let reason = match proposal.replicas {
        wanted if wanted > current => format!("{} above target", proposal.metric),
        wanted if wanted < current => "All metrics below target".to_owned(),
        _ => String::new(),
    };
    let bounds = limits::Bounds { current, min, max };
    let limited = limits::limit(draft.spec, &observed.history, &bounds, proposal.replicas, draft.now);
    let (able, able_message) = limited.able;
    draft.condition("AbleToScale", "True", able, able_message);
    let (status, why, message) = limited.limited;
    draft.condition("ScalingLimited", status, why, message);
    Choice::Size {
        desired: limited.replicas,
        reason,
        metrics: Some(proposal.statuses),
        recommendation: Some(proposal.replicas),
    }
}

fn rescale(draft: &mut Draft<'_>, scale: &Scale, desired: i32, reason: &str) {
    let reference = &draft.spec.scale_target_ref;
    let namespace = draft.autoscaler.metadata.namespace.as_deref();
    let mut target = Target::named(&scale.resource, namespace, &reference.name);
    target.resource_version.clone_from(&scale.resource_version);
    let patch =
        Action::Patch { target, subresource: Some("scale"), patch: json!({"spec": {"replicas": desired}}) };
    let message = format!("New size: {desired}; reason: {reason}");
    let success = draft.event(EventType::Normal, "SuccessfulRescale", message.clone());
    let failure = draft.event(EventType::Warning, "FailedRescale", format!("{message}; error: {{error}}"));
    draft.plan.act_and_report(patch, Report { success: Some(success), failure: Some(failure) });
    let message = format!("the HPA controller was able to update the target scale to {desired}");
    draft.condition("AbleToScale", "True", "SucceededRescale", message);
}

/// Watches autoscalers and pods; targets and measurements are read live.
pub struct Horizontal {
    client: kube::Client,
    kinds: Kinds,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    histories: Mutex<BTreeMap<Key, History>>,
}

impl Horizontal {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers, kinds: &Kinds) -> Self {
        Self {
            client: informers.client().clone(),
            kinds: kinds.clone(),
            autoscalers: informers.of(),
            pods: informers.of(),
            histories: Mutex::default(),
        }
    }

    async fn scale(&self, namespace: &str, target: &CrossVersionObjectReference) -> Result<Scale, Failure> {
        let resource = scaled_resource(target, &self.kinds);
        let key = Key::new(namespace, &target.name);
        let failure = |error: kube::Error| Failure::new(Act::Observe, &resource, key.clone(), &error);
        let requests = request::requests(&resource, Some(namespace));
        let request = requests.get_subresource("scale", &target.name);
        let request = request.map_err(|error| failure(kube::Error::BuildRequest(error)))?;
        let scale: Value = self.client.request(request).await.map_err(failure)?;
        let number = |value: &Value| value.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
        Ok(Scale {
            resource_version: scale["metadata"]["resourceVersion"].as_str().map(str::to_owned),
            spec_replicas: number(&scale["spec"]["replicas"]),
            status_replicas: number(&scale["status"]["replicas"]),
            selector: scale["status"]["selector"].as_str().unwrap_or_default().to_owned(),
            resource,
        })
    }

    async fn measure(&self, namespace: &str, selector: &str) -> Result<BTreeMap<String, Measured>, Failure> {
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics"),
            "pods",
        );
        let failure =
            |error: kube::Error| Failure::new(Act::Observe, &resource, Key::new(namespace, ""), &error);
        let params = ListParams::default().labels(selector);
        let request = request::requests(&resource, Some(namespace)).list(&params);
        let request = request.map_err(|error| failure(kube::Error::BuildRequest(error)))?;
        let list: Value = self.client.request(request).await.map_err(failure)?;
        Ok(list["items"].as_array().into_iter().flatten().filter_map(Measured::from_json).collect())
    }
}

/// The scaled kind, in the version asked for, by the plural it is served under.
fn scaled_resource(target: &CrossVersionObjectReference, kinds: &Kinds) -> ApiResource {
    let api_version = target.api_version.as_deref().unwrap_or("v1");
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let wanted = GroupVersionKind::gvk(group, version, &target.kind);
    match kinds.find(group, &target.kind) {
        Some(served) => ApiResource::from_gvk_with_plural(&wanted, &served.resource.plural),
        // Nobody serves it: the request will say so.
        None => ApiResource::from_gvk(&wanted),
    }
}

/// The text form a scale reports, as a matcher.
fn parse_selector(text: &str) -> Option<api::selector::LabelSelector> {
    api::selector::LabelSelector::parse(text).ok()
}

#[async_trait]
impl Controller for Horizontal {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn watch(&self, wake: &mut Wake) {
        // Its own status writes must not wake it: it would never wait.
        wake.on(&self.autoscalers, |change| match change {
            Change::Updated { old, new } if old.spec == new.spec => None,
            _ => Some(change.key()),
        });
        wake.reads(&self.pods);
        let kinds = self.kinds.clone();
        wake.after(async move { kinds.ready().await });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            self.histories.lock().remove(key);
            return Ok(None);
        };
        let scale = self
            .scale(&key.namespace, &autoscaler.spec.scale_target_ref)
            .await
            .map_err(|failure| failure.message);
        let (mut pods, mut measured) = (Vec::new(), Err("no target".to_owned()));
        if let Ok(scale) = &scale
            && let Some(selector) = parse_selector(&scale.selector)
        {
            pods = self.pods.in_namespace(&key.namespace);
            pods.retain(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| selector.matches(labels)));
            measured = self.measure(&key.namespace, &scale.selector).await.map_err(|failure| failure.message);
        }
        let mut histories = self.histories.lock();
        let history = histories.entry(key.clone()).or_default();
        if let Ok(scale) = &scale {
            history.begin(scale.spec_replicas);
        }
        let history = history.clone();
        drop(histories);
        Ok(Some(Observed { autoscaler, scale, pods, measured, history }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let decision = decide(observed, now);
        let key = Key::of(&observed.autoscaler.metadata);
        self.histories.lock().entry(key).or_default().record(decision.recommendation, decision.change, now);
        decision.plan
    }
}

#[cfg(test)]
mod tests;
