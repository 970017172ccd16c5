//! `scale`: the number of replicas as an `autoscaling/v1 Scale`, for every kind that has one.

use std::sync::Arc;

use api::schema::facts;
use api::selector::LabelSelector;
use api::{Cause, Status, object};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, parse};
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::handlers::patch::Patch;
use crate::output;
use crate::registry::{self, Part};

/// What the body is.
const KIND: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let written = match call.info.verb {
        "get" => {
            let entry = call.entry(&call.info.name).await?;
            return answer(&parse(&entry.bytes)?);
        }
        "update" => {
            let sent = body::other(call, request, KIND).await?.ok_or_else(|| super::body_missing("Scale"))?;
            registry::update(call, &call.info.name, Part::Object, |current| scaled(current, &sent)).await?
        }
        "patch" => {
            let patch = Patch::parse(&body::read(request).await?)?;
            registry::update(call, &call.info.name, Part::Object, |current| {
                let patched = patch.apply(facts().by_gvk(KIND.0, KIND.1, KIND.2), &scale_of(current)?)?;
                scaled(current, &patched)
            })
            .await?
        }
        _ => return Err(method_not_allowed()),
    };
    answer(&parse(&written.bytes)?)
}

fn answer(object: &Value) -> Result<Response<Body>, Status> {
    Ok(output::json_value(StatusCode::OK, &scale_of(object)?))
}

fn scale_of(object: &Value) -> Result<Value, Status> {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let selector = selector_of(&object["spec"]["selector"])?;
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or_default()},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or_default(),
                   "selector": selector.to_string()},
    }))
}

/// A `LabelSelector`, or the plain map of labels replication controllers have.
fn selector_of(selector: &Value) -> Result<LabelSelector, Status> {
    let plain = selector.as_object().is_some_and(|map| map.values().all(Value::is_string));
    Ok(if plain { LabelSelector::from_map(selector)? } else { LabelSelector::from_object(selector)? })
}

/// The object with the replicas of a Scale; its resourceVersion and uid become preconditions.
fn scaled(current: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale["spec"].get("replicas").map_or(Some(0), Value::as_i64);
    let Some(replicas) = replicas.filter(|n| *n >= 0) else {
        let cause =
            Cause::invalid("spec.replicas", &scale["spec"]["replicas"], "must be greater than or equal to 0");
        return Err(super::invalid("autoscaling", "Scale", object::name(current), cause));
    };
    let mut new = current.clone();
    new["spec"]["replicas"] = replicas.into();
    for key in ["resourceVersion", "uid"] {
        let sent = object::meta_str(scale, key);
        if !sent.is_empty() {
            new["metadata"][key] = sent.into();
        }
    }
    Ok(new)
}
