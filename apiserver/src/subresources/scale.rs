//! `scale`: the number of replicas as an `autoscaling/v1 Scale`, for every kind that has one.

use std::sync::Arc;

use api::custom::ScalePaths;
use api::schema::facts;
use api::selector::LabelSelector;
use api::{Cause, Status, object};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::admission::{self, Attributes, ObjectKind};
use crate::call::{Call, parse};
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::handlers::patch::Patch;
use crate::output;
use crate::registry::owners::{self, Owners};
use crate::registry::{self, Part, Written};

/// What the body is.
const KIND: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let written = match call.info.verb {
        "get" => {
            let entry = call.entry(&call.info.name).await?;
            return answer(call, &parse(&entry.bytes)?);
        }
        "update" => {
            let sent = body::other(call, request, KIND).await?.ok_or_else(|| super::body_missing("Scale"))?;
            scale(call, |current| scaled(call, current, &sent)).await?
        }
        "patch" => {
            let patch = Patch::parse(call, &body::read(request).await?)?;
            if patch.is_apply() {
                let config = patch.configuration(call)?;
                let applied = |current: &Value| {
                    let (new, replicas) = owners::apply_scale(call, current, config)?;
                    let mut scale = config.clone();
                    scale["spec"]["replicas"] = replicas;
                    scaled(call, &new, &scale)
                };
                let name = &call.info.name;
                let owners = Owners::Settled;
                let written = registry::update_owned(call, name, Part::Object, owners, applied).await?;
                return answer(call, &parse(&written.bytes)?);
            }
            scale(call, |current| {
                let scale = scale_of(call, current)?;
                let patched = patch.apply(facts().by_gvk(KIND.0, KIND.1, KIND.2), &scale)?;
                scaled(call, current, &patched)
            })
            .await?
        }
        _ => return Err(method_not_allowed()),
    };
    answer(call, &parse(&written.bytes)?)
}

/// Admits a change of the number of replicas as what it is to callers: a Scale. Objects are in the stored form.
pub(crate) async fn admit(call: &Call, new: &mut Value, old: &Value) -> Result<(), Status> {
    let (before, mut wanted) = (scale_of(call, old)?, scale_of(call, new)?);
    let attributes = Attributes::update(call, &before).with_kind(ObjectKind::new(KIND));
    admission::admit(&attributes, &mut wanted).await?;
    *new = scaled(call, new, &wanted)?;
    Ok(())
}

/// A change of the number of replicas.
async fn scale<F>(call: &Call, change: F) -> Result<Written, Status>
where
    F: FnMut(&Value) -> Result<Value, Status> + Send,
{
    registry::update_owned(call, &call.info.name, Part::Object, Owners::Scale, change).await
}

fn answer(call: &Call, object: &Value) -> Result<Response<Body>, Status> {
    Ok(output::json_value(StatusCode::OK, &scale_of(call, object)?))
}

/// Where a kind keeps its numbers: a custom one says so, built-in ones agree.
struct Places<'a> {
    object: &'a Value,
    paths: Option<&'a ScalePaths>,
}

impl<'a> Places<'a> {
    fn of(call: &'a Call, object: &'a Value) -> Self {
        Self { object, paths: call.kind.custom.as_ref().and_then(|custom| custom.scale.as_ref()) }
    }

    fn find(&self, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(self.object, |value, key| value.get(key))
    }

    fn wanted(&self) -> Option<i64> {
        match self.paths {
            Some(paths) => self.find(&paths.spec)?.as_i64(),
            None => self.object["spec"]["replicas"].as_i64(),
        }
    }

    fn present(&self) -> Option<i64> {
        match self.paths {
            Some(paths) => self.find(&paths.status)?.as_i64(),
            None => self.object["status"]["replicas"].as_i64(),
        }
    }

    fn selector(&self) -> Result<String, Status> {
        match self.paths {
            Some(paths) => {
                let found = paths.selector.as_ref().and_then(|path| self.find(path));
                Ok(found.and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            None => Ok(selector_of(&self.object["spec"]["selector"])?.to_string()),
        }
    }
}

/// Sets a value at a path, making objects on the way.
fn put(object: &mut Value, path: &[String], value: Value) {
    let mut place = object;
    for key in path {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key.as_str()];
    }
    *place = value;
}

fn scale_of(call: &Call, object: &Value) -> Result<Value, Status> {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let places = Places::of(call, object);
    if let Some(paths) = places.paths.filter(|_| places.wanted().is_none()) {
        // Upstream's words; a Scale without a number would scale to none.
        let path = paths.spec.join(".");
        return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    let mut status = json!({"replicas": places.present().unwrap_or_default()});
    let selector = places.selector()?;
    if !selector.is_empty() || places.paths.is_none() {
        status["selector"] = selector.into();
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": places.wanted().unwrap_or_default()}, "status": status,
    }))
}

/// A `LabelSelector`, or the plain map of labels replication controllers have.
fn selector_of(selector: &Value) -> Result<LabelSelector, Status> {
    let plain = selector.as_object().is_some_and(|map| map.values().all(Value::is_string));
    Ok(if plain { LabelSelector::from_map(selector)? } else { LabelSelector::from_object(selector)? })
}

/// The object with the replicas of a Scale; its resourceVersion and uid become preconditions.
fn scaled(call: &Call, current: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale["spec"].get("replicas").map_or(Some(0), Value::as_i64);
    let Some(replicas) = replicas.filter(|n| *n >= 0) else {
        let cause =
            Cause::invalid("spec.replicas", &scale["spec"]["replicas"], "must be greater than or equal to 0");
        return Err(super::invalid("autoscaling", "Scale", object::name(current), cause));
    };
    let mut new = current.clone();
    match call.kind.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => put(&mut new, &paths.spec, replicas.into()),
        None => new["spec"]["replicas"] = replicas.into(),
    }
    for key in ["resourceVersion", "uid"] {
        let sent = object::meta_str(scale, key);
        if !sent.is_empty() {
            new["metadata"][key] = sent.into();
        }
    }
    Ok(new)
}
