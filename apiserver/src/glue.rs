//! Where the server meets the `api` crate's walks: decode, default, patch, tables.

use api::pruning::{self, FieldValidation};
use api::schema::{Schema, facts};
use api::{Kind, Status, defaulting, object, patch, validation};
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, Server};
use crate::handlers::body::Sent;
use crate::handlers::patch::Patch;
use crate::output;

fn schema(kind: &Kind) -> Option<Schema<'static>> {
    facts().schema(&kind.definition)
}

/// Fills the defaults the schema publishes.
pub(crate) fn schema_defaults(kind: &Kind, object: &mut Value) {
    if let Some(schema) = schema(kind) {
        defaulting::apply(schema, object);
    }
}

/// Decodes a body of the call's kind.
pub(crate) fn decode(call: &Call, sent: &Sent) -> Result<Value, Status> {
    let mut object = decode_other(call, sent)?;
    let kind = &call.kind;
    let version = object["apiVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != kind.api_version() {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    check(call, &mut object)?;
    Ok(object)
}

/// Checks and cleans a decoded object: types, unknown fields.
pub(crate) fn check(call: &Call, object: &mut Value) -> Result<(), Status> {
    let kind = &call.kind;
    let sent_kind = object["kind"].as_str().filter(|k| !k.is_empty()).unwrap_or(&kind.kind).to_owned();
    let refuse = |detail: String| {
        Err(Status::bad_request(format!(
            "{sent_kind} in version {:?} cannot be handled as a {}: {detail}",
            kind.version, kind.kind
        )))
    };
    if sent_kind != kind.kind {
        return refuse(format!("converting ({sent_kind}) to ({}): unknown conversion", kind.kind));
    }
    let Some(schema) = schema(kind) else { return Ok(()) };
    let unknown: Vec<String> = if call.options.field_validation == FieldValidation::Ignore {
        pruning::prune(schema, object);
        Vec::new()
    } else {
        pruning::prune(schema, object).iter().map(|path| pruning::unknown_field(path)).collect()
    };
    if call.options.field_validation == FieldValidation::Strict && !unknown.is_empty() {
        return refuse(format!("strict decoding error: {}", unknown.join(", ")));
    }
    for text in unknown {
        call.warn(text);
    }
    match validation::types(schema, object) {
        Ok(()) => Ok(()),
        Err(error) => refuse(error.to_string()),
    }
}

/// Decodes a body of any kind.
pub(crate) fn decode_other(_call: &Call, sent: &Sent) -> Result<Value, Status> {
    match sent.media_type.as_str() {
        "" | "application/json" => {
            let value: Value = serde_json::from_slice(&sent.bytes).map_err(|error| {
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type JSON): {error}"
                ))
            })?;
            if value.is_object() { Ok(value) } else { Err(Status::bad_request("the body is not an object")) }
        }
        other => Err(Status::unsupported_media_type(other, "application/json")),
    }
}

/// YAML of a value.
pub(crate) fn to_yaml(value: &Value) -> Result<String, Status> {
    Ok(value.to_string())
}

/// A patched object.
pub(crate) fn patch(call: &Call, patch: &Patch, current: &Value) -> Result<Value, Status> {
    Ok(match patch {
        Patch::Json(operations) => patch::json::apply(current, operations)?,
        Patch::Merge(changes) => patch::merge::apply(current, changes)?,
        Patch::Strategic(changes) => patch::strategic::apply(current, changes, schema(&call.kind))?,
    })
}

/// A `meta.k8s.io/v1 Table`.
pub(crate) fn table(call: &Call, metadata: Value, objects: &[Value], columns: bool) -> Value {
    let now = call.server.clock.now();
    let kind = &call.kind;
    let definitions: Vec<Value> = if columns {
        let name =
            json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
        let rest = kind.columns.iter().map(|c| {
            json!({"name": c.name, "type": c.data_type, "format": c.format, "description": c.description,
                   "priority": c.priority})
        });
        std::iter::once(name).chain(rest).collect()
    } else {
        Vec::new()
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = std::iter::once(Value::from(object::name(object)))
                .chain(kind.columns.iter().map(|c| (c.cell)(object, now)))
                .collect();
            let shown = match call.options.include_object.as_str() {
                "None" => Value::Null,
                "Object" => object.clone(),
                _ => output::metadata_only(object),
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
           "columnDefinitions": definitions, "rows": rows})
}

/// Discovery and OpenAPI documents.
pub(crate) fn describe(server: &Server, path: &str, _headers: &HeaderMap) -> Option<Response<Body>> {
    let kinds = server.kinds();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let list = |group: &str, version: &str| {
        let resources: Vec<Value> = kinds
            .iter()
            .filter(|k| k.group == group && k.version == version)
            .flat_map(|k| {
                let main = json!({"name": k.plural, "singularName": k.singular, "namespaced": k.namespaced(),
                    "kind": k.kind, "verbs": k.verbs, "shortNames": k.short_names, "categories": k.categories});
                let subs = k.subresources.iter().map(|s| {
                    let (group, version, kind) = s.kind.clone().unwrap_or((k.group.clone(), k.version.clone(), k.kind.clone()));
                    json!({"name": format!("{}/{}", k.plural, s.name), "singularName": "", "namespaced": k.namespaced(),
                        "group": group, "version": version, "kind": kind, "verbs": s.verbs})
                }).collect::<Vec<_>>();
                std::iter::once(main).chain(subs).collect::<Vec<_>>()
            })
            .collect();
        let gv = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        (!resources.is_empty()).then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": resources}))
    };
    let value = match parts.as_slice() {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["api", version] => list("", version)?,
        ["apis"] => {
            let groups: Vec<Value> = kinds.discovery_order().iter().filter(|g| !g.group.is_empty()).map(|g| {
                let versions: Vec<Value> = g.versions.iter().map(|v| json!({"groupVersion": format!("{}/{}", g.group, v.version), "version": v.version})).collect();
                json!({"name": g.group, "versions": versions, "preferredVersion": versions[0]})
            }).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", group, version] => list(group, version)?,
        _ => return None,
    };
    Some(output::json_value(StatusCode::OK, &value))
}
