//! `binding`: the scheduler gives a pod its node, once. Also answers `POST …/bindings`, the older path to
//! the same, where the body names the pod.

use std::sync::Arc;

use api::{Cause, Status, object};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::admission::{self, Attributes, ObjectKind};
use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::output;
use crate::registry::{self, Part};

/// What the body is.
const KIND: (&str, &str, &str) = ("", "v1", "Binding");

pub(crate) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let mut binding =
        body::other(call, request, KIND).await?.ok_or_else(|| super::body_missing("Binding"))?;
    let target = &binding["target"];
    let kind = target["kind"].as_str().unwrap_or_default();
    if !["", "Node"].contains(&kind) {
        let cause = Cause::not_supported("target.kind", &kind.into(), &["Node", "<empty>"]);
        return Err(super::invalid("", "Binding", object::name(&binding), cause));
    }
    let node = target["name"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        let cause = Cause::required("target.name", "");
        return Err(super::invalid("", "Binding", object::name(&binding), cause));
    }
    let now = call.server.now();
    let attributes = Attributes::create(call, &binding).with_kind(ObjectKind::new(KIND));
    admission::admit(&attributes, &mut binding).await?;
    let pods = of_pods(call, &binding)?;
    let call = pods.as_ref().unwrap_or(call);
    registry::update(call, &call.info.name, Part::Whole, |pod| bound(pod, &binding, &node, &now)).await?;
    Ok(output::success(StatusCode::CREATED, None))
}

/// For the older path: the same request as if sent to the pod it names.
fn of_pods(call: &Arc<Call>, binding: &Value) -> Result<Option<Arc<Call>>, Status> {
    if call.kind.is_stored() {
        return Ok(None);
    }
    let name = object::name(binding);
    if name.is_empty() {
        return Err(Status::bad_request("name is required"));
    }
    let kinds = call.server.kinds();
    let row = kinds.resource("", "v1", "pods").ok_or_else(Status::no_such_path)?;
    let mut pods = Call::internal(&call.server, row, &call.info.namespace, name);
    pods.options = call.options.clone();
    Arc::make_mut(&mut pods.info).subresource = "binding".to_owned();
    Ok(Some(Arc::new(pods)))
}

/// The pod on its node.
fn bound(pod: &Value, binding: &Value, node: &str, now: &str) -> Result<Value, Status> {
    let name = object::name(pod);
    let refuse = |detail: String| Err(Status::conflict("", "pods/binding", name, &detail));
    if object::is_deleting(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !assigned.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    let mut pod = pod.clone();
    for key in ["uid", "resourceVersion"] {
        let wanted = object::meta_str(binding, key);
        if !wanted.is_empty() {
            pod["metadata"][key] = wanted.into();
        }
    }
    for key in ["annotations", "labels"] {
        for (name, value) in binding["metadata"][key].as_object().into_iter().flatten() {
            pod["metadata"][key][name] = value.clone();
        }
    }
    pod["spec"]["nodeName"] = node.into();
    set_scheduled(&mut pod, now);
    Ok(pod)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let condition =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let status = object::section(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|c| c["type"] != "PodScheduled");
        list.push(condition);
    }
}
