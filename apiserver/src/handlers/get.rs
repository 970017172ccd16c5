//! GET of one object.

use api::Status;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};

use crate::call::Call;
use crate::output;

/// Answers with the newest state; a `resourceVersion` only says how old the answer may be, and ours is
/// never older.
pub(crate) async fn respond(call: &Call, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    super::list::check_not_in_future(call)?;
    let entry = call.entry(&call.info.name).await?;
    output::object(call, headers, StatusCode::OK, &entry.bytes)
}
