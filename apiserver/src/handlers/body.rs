//! Request bodies: read with a limit, then decoded by their Content-Type.

use api::{Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::call::Call;
use crate::glue;

/// The largest body accepted; upstream's `MaxRequestBodyBytes`, which keeps one request from filling
/// memory.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// A body and its media type, without parameters.
pub(crate) struct Sent {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// Reads a whole body.
pub(crate) async fn read(request: Request<Body>) -> Result<Sent, Status> {
    let (parts, body) = request.into_parts();
    let media_type = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let collected = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Status::new(
                Reason::RequestEntityTooLarge,
                format!("Request entity too large: limit is {MAX_BYTES}"),
            )
        } else {
            Status::bad_request("the body of the request could not be read")
        }
    })?;
    Ok(Sent { media_type, bytes: collected.to_bytes() })
}

/// Reads and decodes an object of the call's kind.
pub(crate) async fn object(call: &Call, request: Request<Body>) -> Result<Value, Status> {
    let sent = read(request).await?;
    glue::decode(call, &sent)
}

/// Reads a body that need not be there and is of another kind (`DeleteOptions`, `Eviction`, …).
pub(crate) async fn other(call: &Call, request: Request<Body>) -> Result<Option<Value>, Status> {
    let sent = read(request).await?;
    if sent.bytes.is_empty() { Ok(None) } else { glue::decode_other(call, &sent).map(Some) }
}
