//! DELETE of one object, and of a collection.

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::body;
use crate::call::{Call, store_status};
use crate::deletion::{self, DeleteOptions, Deleted};
use crate::negotiation::negotiate;
use crate::output;
use crate::registry::selection::Selection;

/// Deletes one object.
pub(crate) async fn respond(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let headers = request.headers().clone();
    let sent = body::other(call, request, body::DELETE_OPTIONS).await?;
    let options = DeleteOptions::of(call, sent.as_ref())?;
    let deleted = deletion::delete(call, &call.info.name, &options).await?;
    if options.cascades && !deleted.gone {
        return output::object(call, &headers, StatusCode::ACCEPTED, &deleted.bytes);
    }
    answer(call, &headers, &deleted)
}

/// The object while it waits, `Success` once it is gone.
pub(crate) fn answer(
    call: &Call,
    headers: &http::HeaderMap,
    deleted: &Deleted,
) -> Result<Response<Body>, Status> {
    if deleted.gone && !call.stored.strategy.answers_deleted() {
        let details = output::details(&call.kind, &deleted.object);
        return Ok(output::success(StatusCode::OK, Some(details)));
    }
    output::object(call, headers, StatusCode::OK, &deleted.bytes)
}

/// Deletes everything the selectors match; answers with the objects.
pub(crate) async fn respond_collection(
    call: &Arc<Call>,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let accepted = call.pretty(negotiate(&call.kind, request.headers())?);
    let sent = body::other(call, request, body::DELETE_OPTIONS).await?;
    let options = DeleteOptions::of(call, sent.as_ref())?;
    let selection = Selection::of(call)?;
    let prefix = call.stored.prefix(call.info.namespace());
    let page = call.server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let mut gone: Vec<Bytes> = Vec::new();
    let entries = call.adopt_all(page.entries).await?;
    for entry in entries.iter().filter(|entry| selection.matches(entry)) {
        let name = crate::call::index(entry, &call.stored).name.clone();
        match deletion::delete(call, &name, &options).await {
            Ok(deleted) => gone.push(deleted.bytes),
            // Somebody else was faster.
            Err(status) if status.reason == api::Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    super::list::answer(call, accepted, page.revision, None, gone).await
}
