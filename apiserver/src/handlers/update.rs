//! PUT of one object.

use api::{Reason, Status};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::body;
use crate::call::Call;
use crate::output;
use crate::registry::{self, Part, metadata};

/// Replaces the object, or creates it where its kind allows that.
pub(crate) async fn respond(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let headers = request.headers().clone();
    let mut object = body::object(call, request).await?;
    metadata::check_place(call, &object)?;
    metadata::agree_named(call, &mut object)?;
    let written = put(call, object, Part::Object).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    output::object(call, &headers, code, &written.bytes)
}

/// Writes a whole sent object over one part of the stored one.
pub(crate) async fn put(call: &Call, object: Value, part: Part) -> Result<registry::Written, Status> {
    let outcome = registry::update(call, &call.info.name, part, |_current| Ok(object.clone())).await;
    match outcome {
        Err(status)
            if status.reason == Reason::NotFound
                && part == Part::Object
                && call.stored.strategy.allow_create_on_update() =>
        {
            registry::create(call, object).await
        }
        outcome => outcome,
    }
}
