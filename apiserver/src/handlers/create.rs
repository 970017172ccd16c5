//! POST to a collection.

use api::Status;
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
    let written = registry::create(call, object).await?;
    output::object(call, &headers, StatusCode::CREATED, &written.bytes)
}
