//! POST to a collection.

use api::{Reason, Status};
use axum::body::Body;
use http::{Request, Response, StatusCode};

use super::body;
use crate::call::Call;
use crate::{output, registry};

/// Creates the object in the body.
pub(crate) async fn respond(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    if !call.info.name.is_empty() {
        return Err(crate::chain::method_not_allowed());
    }
    let headers = request.headers().clone();
    let object = body::object(call, request).await?;
    if api::object::resource_version(&object).parse::<u64>().is_ok_and(|revision| revision > 0) {
        // Upstream's store finds it, and has no better code for it.
        let text = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(Reason::InternalError, text));
    }
    let written = registry::create(call, object).await?;
    output::object(call, &headers, StatusCode::CREATED, &written.bytes)
}
