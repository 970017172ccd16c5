//! Parts of an object with a path of their own: `status`, which controllers write and which leaves the
//! specification alone; the `approval` of a signing request, which others write; `ephemeralcontainers` and
//! `resize` of pods, whose strategy keeps all else as it was.

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use http::{Request, Response, StatusCode};

use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::handlers::{body, get, patch, update};
use crate::output;
use crate::registry::{Part, metadata};

pub(super) async fn respond(
    call: &Arc<Call>,
    request: Request<Body>,
    part: Part,
) -> Result<Response<Body>, Status> {
    match call.info.verb {
        "get" => get::respond(call, request.headers()).await,
        "update" => {
            let headers = request.headers().clone();
            let mut object = body::object(call, request).await?;
            metadata::agree_named(call, &mut object)?;
            let written = update::put(call, object, part).await?;
            output::object(call, &headers, StatusCode::OK, &written.bytes)
        }
        "patch" => patch::respond_part(call, request, part).await,
        _ => Err(method_not_allowed()),
    }
}
