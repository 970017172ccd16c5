//! PATCH of one object, by the patch's media type.

use api::codec::{self, Tree};
use api::schema::Schema;
use api::{Reason, Status};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::body::{self, Sent};
use crate::call::Call;
use crate::output;
use crate::registry::{self, Part};

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
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 415 for other media types, 400 for a body that is not JSON.
    pub(crate) fn parse(sent: &Sent) -> Result<Self, Status> {
        let algorithm = match codec::media_type(&sent.content_type).as_str() {
            JSON => Algorithm::Json,
            MERGE => Algorithm::Merge,
            STRATEGIC => Algorithm::Strategic,
            APPLY => {
                return Err(Status::new(
                    Reason::UnsupportedMediaType,
                    "server-side apply (application/apply-patch+yaml) is not supported yet; use client-side apply",
                ));
            }
            _ => {
                return Err(Status::unsupported_media_type(&[JSON, MERGE, STRATEGIC].join(", ")));
            }
        };
        let tree = codec::json::decode(&sent.bytes)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        Ok(Self { algorithm, tree })
    }

    /// Custom objects have no strategic patch.
    ///
    /// # Errors
    /// 415.
    pub(crate) fn fits(&self, kind: &api::Kind) -> Result<(), Status> {
        match self.algorithm {
            Algorithm::Strategic if kind.is_custom() => {
                Err(Status::unsupported_media_type(&[JSON, MERGE, APPLY].join(", ")))
            }
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
        })
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
    patch.fits(&call.kind)?;
    let written = registry::update(call, &call.info.name, part, |current| {
        let patched = patch.apply(call.kind.schema(), current)?;
        let mut patched = body::check(call, patched, patch.tree.duplicates.clone())?;
        registry::metadata::agree_named(call, &mut patched)?;
        Ok(patched)
    })
    .await?;
    output::object(call, &headers, StatusCode::OK, &written.bytes)
}
