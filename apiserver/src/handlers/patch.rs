//! PATCH of one object, by the patch's media type.

use api::codec::{self, Tree};
use api::pruning::FieldValidation;
use api::schema::Schema;
use api::{Cause, Reason, Status};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::body::{self, Sent};
use crate::authz::{self, Attributes};
use crate::call::Call;
use crate::output;
use crate::registry::owners::{self, Owners};
use crate::registry::{self, Part, Written};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A parsed patch.
pub(crate) struct Patch {
    algorithm: Algorithm,
    /// The patch and the keys it repeats.
    tree: Tree,
}

#[derive(Clone, Copy)]
enum Algorithm {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Kubernetes' own, guided by the schema.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Patch {
    /// Reads the patch of a call.
    ///
    /// # Errors
    /// 415 for other media types, 400 for a body that is not JSON (or YAML, for apply), 422 for options
    /// that do not fit.
    pub(crate) fn parse(call: &Call, sent: &Sent) -> Result<Self, Status> {
        let algorithm = match codec::media_type(&sent.content_type).as_str() {
            JSON => Algorithm::Json,
            MERGE => Algorithm::Merge,
            STRATEGIC => Algorithm::Strategic,
            APPLY => Algorithm::Apply,
            _ => return Err(unsupported(&call.kind)),
        };
        call.options.check_patch(matches!(algorithm, Algorithm::Apply))?;
        let decoded = match algorithm {
            Algorithm::Apply => codec::yaml::decode(&sent.bytes),
            _ => codec::json::decode(&sent.bytes),
        };
        // Upstream leaves out where it was for this one.
        let act = if matches!(algorithm, Algorithm::Strategic) { "" } else { "error decoding patch: " };
        let tree = decoded.map_err(|error| Status::bad_request(format!("{act}{error}")))?;
        call.audit_sent(&tree.value);
        Ok(Self { algorithm, tree })
    }

    /// Whether the patch is a configuration to apply.
    pub(crate) fn is_apply(&self) -> bool {
        matches!(self.algorithm, Algorithm::Apply)
    }

    /// What upstream shows of a patch whose outcome it cannot decode: the outcome, or the strategic patch. Not of
    /// secrets: the outcome has values that who may patch them may not be allowed to read.
    fn shown(&self, call: &Call, patched: &Value) -> String {
        match self.algorithm {
            _ if !call.stored.strategy.secret_fields().is_empty() => "<hidden>".to_owned(),
            Algorithm::Strategic => api::patch::go_value(&self.tree.value),
            _ => patched.to_string(),
        }
    }

    /// Why the outcome is no object of the kind: strategic patches are not decoded from JSON, so upstream has
    /// other words for what does not fit after them.
    fn explained(&self, why: &str) -> String {
        match self.algorithm {
            Algorithm::Strategic => restored(why).unwrap_or_else(|| why.to_owned()),
            _ => why.to_owned(),
        }
    }

    /// The configuration to apply.
    ///
    /// # Errors
    /// 400 if it repeats keys and the caller wants to know.
    pub(crate) fn configuration(&self, call: &Call) -> Result<&Value, Status> {
        let repeated = &self.tree.duplicates;
        match call.options.field_validation {
            FieldValidation::Strict if !repeated.is_empty() => {
                let text = repeated.errors().concat();
                let text = format!("error strict decoding patch: error converting YAML to JSON: {text}");
                return Err(Status::bad_request(text));
            }
            FieldValidation::Warn => repeated.warnings().into_iter().for_each(|line| call.warn(line)),
            FieldValidation::Strict | FieldValidation::Ignore => {}
        }
        Ok(&self.tree.value)
    }

    /// Custom objects have no strategic patch.
    ///
    /// # Errors
    /// 415.
    pub(crate) fn fits(&self, kind: &api::Kind) -> Result<(), Status> {
        match self.algorithm {
            Algorithm::Strategic if kind.is_custom() => Err(unsupported(kind)),
            _ => Ok(()),
        }
    }

    /// The patched object; `schema` guides strategic patches.
    ///
    /// # Errors
    /// When the patch does not fit the object.
    pub(crate) fn apply(&self, schema: Option<Schema<'_>>, current: &Value) -> Result<Value, Status> {
        let patch = &self.tree.value;
        Ok(match self.algorithm {
            Algorithm::Json => api::patch::json::apply(current, patch)?,
            Algorithm::Merge => api::patch::merge::apply(current, patch)?,
            Algorithm::Strategic => api::patch::strategic::apply(current, patch, schema)?,
            Algorithm::Apply => return Err(Status::internal("a configuration is no patch of this path")),
        })
    }
}

/// A decoder's complaint about a type, as upstream's converter of decoded values words it.
fn restored(why: &str) -> Option<String> {
    let (found, place) = why.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
    let (_, wanted) = place.split_once(" of type ")?;
    let (kind, name) = match found.split(' ').next()? {
        "array" => ("slice", "[]interface {}"),
        "object" => ("map", "map[string]interface {}"),
        "number" if found.contains('.') => ("float64", "float64"),
        "number" => ("int64", "int64"),
        other => (other, other),
    };
    Some(if wanted.starts_with("map[") {
        format!("cannot restore map from {kind}")
    } else if wanted.starts_with("[]") {
        format!("cannot restore slice from {kind}")
    } else if wanted.contains('.') {
        format!("cannot restore struct from: {kind}")
    } else {
        format!("cannot convert {name} to {wanted}")
    })
}

/// 422 for a patch whose outcome is no object of the kind: upstream names the patch as the invalid field.
fn undecodable(call: &Call, patch: &Patch, status: Status, shown: String) -> Status {
    if status.reason != Reason::BadRequest {
        return status;
    }
    let head = format!(" cannot be handled as a {}: ", call.kind.kind);
    let why = status.message.split_once(&head).map_or(status.message.as_str(), |(_, why)| why);
    Status::invalid("", "", "", vec![Cause::invalid("patch", &shown.into(), &patch.explained(why))])
}

/// Patches the object.
pub(crate) async fn respond(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    respond_part(call, request, Part::Object).await
}

/// Patches one part of the object.
pub(crate) async fn respond_part(
    call: &Call,
    request: Request<Body>,
    part: Part,
) -> Result<Response<Body>, Status> {
    let headers = request.headers().clone();
    let patch = Patch::parse(call, &body::read(request).await?)?;
    patch.fits(&call.kind)?;
    if patch.is_apply() {
        let written = apply(call, patch.configuration(call)?, part).await?;
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        return output::object(call, &headers, code, &written.bytes);
    }
    let written = registry::update(call, &call.info.name, part, |current| {
        let patched = patch.apply(call.kind.schema(), current)?;
        let shown = patch.shown(call, &patched);
        let mut patched =
            body::check(call, Tree { value: patched, duplicates: patch.tree.duplicates.clone() })
                .map_err(|status| undecodable(call, &patch, status, shown))?;
        registry::metadata::agree_named(call, &mut patched)?;
        Ok(patched)
    })
    .await?;
    output::object(call, &headers, StatusCode::OK, &written.bytes)
}

/// How often an apply turns from update to creation and back when the object comes and goes.
const MAX_TURNS: usize = 8;

/// Applies a configuration; the object itself is created if it is not there.
async fn apply(call: &Call, config: &Value, part: Part) -> Result<Written, Status> {
    let merged = |current: &Value| {
        let merged = owners::apply(call, current, config)?;
        let mut merged = body::check(call, merged.into())?;
        registry::metadata::agree_named(call, &mut merged)?;
        Ok(merged)
    };
    let mut outcome = Err(call.not_found(&call.info.name));
    for turn in 0..MAX_TURNS {
        outcome = if turn % 2 == 0 {
            registry::update_owned(call, &call.info.name, part, Owners::Settled, merged).await
        } else {
            // Who may patch may not always create.
            let create = Attributes { verb: "create", ..Attributes::of(&call.info, None) };
            authz::authorize(&call.server, &call.user, &create).await.permit(&call.user, &create)?;
            let object = merged(&Value::Object(serde_json::Map::new()))?;
            registry::create_owned(call, Owners::Settled, no_uid(call, object)?).await
        };
        let turned = match &outcome {
            Err(status) if turn % 2 == 0 => {
                status.reason == Reason::NotFound && call.info.subresource.is_empty()
            }
            Err(status) => status.reason == Reason::AlreadyExists,
            Ok(_) => false,
        };
        if !turned {
            break;
        }
    }
    outcome
}

/// A configuration with a uid means an object that must be there already.
fn no_uid(call: &Call, object: Value) -> Result<Value, Status> {
    let uid = api::object::uid(&object);
    if uid.is_empty() {
        return Ok(object);
    }
    let detail =
        format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(Status::conflict(&call.kind.group, &call.kind.plural, &call.info.name, &detail))
}

/// 415 with what the kind takes.
fn unsupported(kind: &api::Kind) -> Status {
    let types: &[&str] =
        if kind.is_custom() { &[JSON, MERGE, APPLY] } else { &[JSON, MERGE, STRATEGIC, APPLY] };
    Status::unsupported_media_type(&types.join(", "))
}
