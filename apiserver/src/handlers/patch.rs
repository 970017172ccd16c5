//! PATCH of one object, by the patch's media type.

use api::{Reason, Status};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::body::{self, Sent};
use crate::call::Call;
use crate::registry::{self, Part};
use crate::{glue, output};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A parsed patch.
pub(crate) enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own, guided by the schema.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 415 for other media types, 400 for a body that is not JSON.
    pub(crate) fn parse(sent: &Sent) -> Result<Self, Status> {
        let make = match sent.media_type.as_str() {
            JSON => Self::Json,
            MERGE => Self::Merge,
            STRATEGIC => Self::Strategic,
            APPLY => {
                return Err(Status::new(
                    Reason::UnsupportedMediaType,
                    "server-side apply (application/apply-patch+yaml) is not supported yet; use client-side apply",
                ));
            }
            other => {
                return Err(Status::unsupported_media_type(other, &[JSON, MERGE, STRATEGIC].join(", ")));
            }
        };
        serde_json::from_slice(&sent.bytes)
            .map(make)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
    }

    /// The patched object.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object.
    pub(crate) fn apply(&self, call: &Call, current: &Value) -> Result<Value, Status> {
        glue::patch(call, self, current)
    }
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
    let patch = Patch::parse(&body::read(request).await?)?;
    let written = registry::update(call, &call.info.name, part, |current| {
        let mut patched = patch.apply(call, current)?;
        glue::check(call, &mut patched)?;
        registry::metadata::agree_named(call, &mut patched)?;
        Ok(patched)
    })
    .await?;
    output::object(call, &headers, StatusCode::OK, &written.bytes)
}
