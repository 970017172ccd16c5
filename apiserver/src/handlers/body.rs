//! Request bodies: read with a limit, then decoded by their Content-Type.

use api::codec::{self, DecodeError, Decoded, Expected, Tree};
use api::{Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::call::Call;

/// The largest body accepted; upstream's `MaxRequestBodyBytes`, which keeps one request from filling
/// memory.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// `DeleteOptions`, for [`other`].
pub(crate) const DELETE_OPTIONS: (&str, &str, &str) = ("", "v1", "DeleteOptions");

/// A body and its content type.
pub(crate) struct Sent {
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

/// Reads a whole body.
pub(crate) async fn read(request: Request<Body>) -> Result<Sent, Status> {
    let (parts, body) = request.into_parts();
    let content_type =
        parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
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
    Ok(Sent { content_type, bytes: collected.to_bytes() })
}

/// Reads an object of the call's kind.
pub(crate) async fn object(call: &Call, request: Request<Body>) -> Result<Value, Status> {
    let sent = read(request).await?;
    let validation = call.options.field_validation;
    let decoded = codec::decode_object(&call.kind, &sent.content_type, &sent.bytes, validation)?;
    call.audit_sent(&decoded.object);
    Ok(accept(call, decoded))
}

/// Checks what a patch made of an object; keys that occur twice are those of the patch itself.
pub(crate) fn check(call: &Call, tree: Tree) -> Result<Value, Status> {
    let decoded = codec::check_tree(&Expected::row(&call.kind), tree, call.options.field_validation)?;
    Ok(accept(call, decoded))
}

fn accept(call: &Call, decoded: Decoded) -> Value {
    for warning in decoded.warnings {
        call.warn(warning);
    }
    decoded.object
}

/// Reads a body of a kind that is no row of the table (`DeleteOptions`, `Eviction`, …) and need not be
/// there. Clients write these kinds with the apiVersion of whatever group they talk to.
pub(crate) async fn other(
    call: &Call,
    request: Request<Body>,
    (group, version, kind): (&str, &str, &str),
) -> Result<Option<Value>, Status> {
    let sent = read(request).await?;
    if sent.bytes.is_empty() {
        return Ok(None);
    }
    let expected = Expected::builtin(group, version, kind);
    let mut tree = codec::decode(&sent.content_type, &sent.bytes).map_err(|error| match error {
        DecodeError::MediaType(_) => Status::unsupported_media_type(codec::ACCEPTED),
        DecodeError::Malformed(text) => Status::bad_request(format!("error decoding {kind}: {text}")),
    })?;
    api::object::remove(&mut tree.value, "apiVersion");
    let decoded = codec::check_tree(&expected, tree, call.options.field_validation)?;
    call.audit_sent(&decoded.object);
    Ok(Some(accept(call, decoded)))
}
