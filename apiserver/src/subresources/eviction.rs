//! `eviction`: a delete that a disruption budget may refuse.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go`. A pod that does no work goes at once. For others the
//! budget is charged first, in its status, where its controller sees who is about to go.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Cause, Reason, Status, object};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::admission::{self, Attributes, ObjectKind};
use crate::call::{Call, parse, store_status};
use crate::chain::method_not_allowed;
use crate::deletion::{self, DeleteOptions};
use crate::handlers::body;
use crate::output;
use crate::registry::{self, Part};

/// What the body is.
const KIND: (&str, &str, &str) = ("policy", "v1", "Eviction");
/// How often a pod that changes meanwhile is looked at again (upstream's `EvictionsRetry`).
const MAX_ATTEMPTS: usize = 20;
/// Evictions a budget's controller has not seen yet; with more, something is wrong with it.
const MAX_DISRUPTED_PODS: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let mut eviction =
        body::other(call, request, KIND).await?.ok_or_else(|| super::body_missing("Eviction"))?;
    if object::name(&eviction) != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let namespace = object::namespace(&eviction);
    if !namespace.is_empty() && namespace != call.info.namespace {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text));
    }
    let attributes = Attributes::create(call, &eviction).with_kind(ObjectKind::new(KIND));
    admission::admit(&attributes, &mut eviction).await?;
    let mut options = DeleteOptions::of(call, Some(&eviction["deleteOptions"]))?;
    options.dry_run |= call.options.dry_run;
    if !evict_idle(call, &options).await? {
        evict_working(call, &options).await?;
    }
    Ok(output::success(StatusCode::CREATED, None))
}

/// Deletes a pod whose going disrupts nothing; false if it is no such pod.
async fn evict_idle(call: &Call, options: &DeleteOptions) -> Result<bool, Status> {
    let mut last = None;
    for _attempt in 0..MAX_ATTEMPTS {
        let pod = parse(&call.entry(&call.info.name).await?.bytes)?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let over = ["Succeeded", "Failed"].contains(&phase) || object::is_deleting(&pod);
        if !over && phase != "Pending" {
            return Ok(false);
        }
        // A pending pod may become ready at any moment, and then its budget counts.
        let exact = if over { options.clone() } else { at_revision_of(options, &pod) };
        match mark_and_delete(call, &exact).await {
            Err(status) if status.reason == Reason::Conflict && options.resource_version.is_none() => {
                last = Some(status);
            }
            outcome => return outcome.map(|()| true),
        }
    }
    Err(last.unwrap_or_else(|| Status::modified("", "pods", &call.info.name)))
}

fn at_revision_of(options: &DeleteOptions, pod: &Value) -> DeleteOptions {
    let mut options = options.clone();
    options.resource_version.get_or_insert_with(|| object::resource_version(pod).to_owned());
    options
}

/// Charges the pod's budget, then deletes it.
async fn evict_working(call: &Call, options: &DeleteOptions) -> Result<(), Status> {
    let pod = parse(&call.entry(&call.info.name).await?.bytes)?;
    let Some(budget) = budget_of(call, &pod).await? else { return mark_and_delete(call, options).await };
    if !is_ready(&pod) && may_lose_unready(&budget) {
        // It must still be unready when it goes.
        let exact = at_revision_of(options, &pod);
        return match mark_and_delete(call, &exact).await {
            Err(status) if status.reason == Reason::Conflict && options.resource_version.is_none() => {
                Err(still_processed(object::name(&budget)))
            }
            outcome => outcome,
        };
    }
    charge(call, object::name(&budget), options.dry_run).await?;
    mark_and_delete(call, options).await
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod that is not ready is not counted as healthy, so it need not be missed.
fn may_lose_unready(budget: &Value) -> bool {
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (healthy >= desired && desired > 0)
}

/// The one budget that covers a pod. An empty selector covers none here, as upstream has it.
async fn budget_of(call: &Call, pod: &Value) -> Result<Option<Value>, Status> {
    let prefix = api::names::storage_prefix("policy", "poddisruptionbudgets", call.info.namespace());
    let page = call.server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let mut found = Vec::new();
    for entry in &page.entries {
        let budget = parse(&entry.bytes)?;
        let selector = LabelSelector::from_object(&budget["spec"]["selector"]);
        if selector.is_ok_and(|selector| !selector.is_everything() && selector.matches_object(pod)) {
            found.push(budget);
        }
    }
    if found.len() > 1 {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(Reason::InternalError, text));
    }
    Ok(found.pop())
}

/// Takes one disruption from a budget, if it has one.
async fn charge(call: &Call, budget: &str, dry_run: bool) -> Result<(), Status> {
    let kinds = call.server.kinds();
    let row = kinds.resource("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::no_such_path)?;
    let mut budgets = Call::internal(&call.server, row, &call.info.namespace, budget);
    Arc::make_mut(&mut budgets.info).subresource = "status".to_owned();
    budgets.options.dry_run = dry_run;
    let now = call.server.now();
    let charged = registry::update(&budgets, budget, Part::Status, |current| {
        let mut new = current.clone();
        check_and_decrement(&mut new, &call.info.name, &now)?;
        Ok(new)
    })
    .await;
    match charged {
        Ok(_) => Ok(()),
        Err(status) if status.reason == Reason::Conflict => {
            let text = format!("couldn't update PodDisruptionBudget {budget:?} due to conflicts");
            let mut timeout = Status::new(Reason::Timeout, format!("Timeout: {text}"));
            timeout.retry_after_seconds = Some(10);
            Err(timeout)
        }
        Err(status) => Err(status),
    }
}

fn check_and_decrement(budget: &mut Value, pod: &str, now: &str) -> Result<(), Status> {
    let name = object::name(budget).to_owned();
    let status = &budget["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", &name, why));
    if count("observedGeneration") < object::generation(budget) {
        return Err(still_processed(&name));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_DISRUPTED_PODS) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return forbidden(why);
    }
    if allowed == 0 {
        let (desired, healthy) = (count("desiredHealthy"), count("currentHealthy"));
        let text =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(too_many(text, None));
    }
    let observed = status["observedGeneration"].clone();
    let status = object::section(budget, "status");
    status.insert("disruptionsAllowed".to_owned(), (allowed - 1).into());
    if allowed == 1 {
        exhausted(status, &observed, now);
    }
    let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if let Value::Object(pods) = disrupted {
        pods.insert(pod.to_owned(), now.into());
    }
    Ok(())
}

/// Says in the conditions that there is nothing left to take.
fn exhausted(status: &mut serde_json::Map<String, Value>, observed: &Value, now: &str) {
    const TYPE: &str = "DisruptionAllowed";
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(list) = conditions else { return };
    let known = list.iter().find(|c| c["type"] == TYPE && c["status"] == "False");
    let since = known.map_or_else(|| now.into(), |c| c["lastTransitionTime"].clone());
    let condition = json!({"type": TYPE, "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": observed, "lastTransitionTime": since});
    match list.iter_mut().find(|c| c["type"] == TYPE) {
        Some(known) => *known = condition,
        None => list.push(condition),
    }
}

fn still_processed(budget: &str) -> Status {
    too_many(format!("The disruption budget {budget} is still being processed by the server."), Some(10))
}

fn too_many(cause: String, retry_after_seconds: Option<u32>) -> Status {
    let mut status = Status::new(Reason::TooManyRequests, VIOLATES);
    status.causes = vec![Cause { reason: "DisruptionBudget", field: String::new(), message: cause }];
    status.retry_after_seconds = retry_after_seconds;
    status
}

/// Writes down why the pod goes, then deletes it.
async fn mark_and_delete(call: &Call, options: &DeleteOptions) -> Result<(), Status> {
    let name = &call.info.name;
    let mut options = options.clone();
    if !options.dry_run {
        let now = call.server.now();
        let marked = registry::update(call, name, Part::Whole, |pod| {
            deletion::preconditions(call, pod, &options)?;
            Ok(disruption_target(pod, &now))
        })
        .await?;
        if options.resource_version.is_some() {
            // The writer of the newest version is this very request.
            let revision = object::resource_version(&parse(&marked.bytes)?).to_owned();
            options.resource_version = Some(revision);
        }
    }
    // Admitted as an eviction.
    deletion::delete_admitted(call, name, &options).await.map(drop)
}

fn disruption_target(pod: &Value, now: &str) -> Value {
    const TYPE: &str = "DisruptionTarget";
    let mut pod = pod.clone();
    let mut condition = json!({"type": TYPE, "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now});
    let generation = object::generation(&pod);
    if generation > 0 {
        condition["observedGeneration"] = generation.into();
    }
    let conditions = object::section(&mut pod, "status").entry("conditions").or_insert_with(|| json!([]));
    if let Value::Array(list) = conditions {
        match list.iter_mut().find(|c| c["type"] == TYPE) {
            Some(known) if known["status"] == "True" => {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
                *known = condition;
            }
            Some(known) => *known = condition,
            None => list.push(condition),
        }
    }
    pod
}
