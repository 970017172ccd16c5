//! Paths below an object: writes that are no plain updates, and streams to a node.

pub(crate) mod binding;
mod eviction;
mod finalize;
mod part;
pub(crate) mod scale;
mod token;

use std::sync::Arc;

use api::{Cause, Reason, Status};
use axum::body::Body;
use http::{Request, Response};

use crate::call::Call;
use crate::chain::{method_not_allowed, not_implemented};
use crate::node_proxy;
use crate::registry::Part;
use crate::request::query_pairs;

/// Answers a request to a subresource of a stored kind.
pub(crate) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let name = call.info.subresource.as_str();
    let Some(row) = call.kind.subresource(name) else { return Err(Status::no_such_path()) };
    // OPTIONS is no verb of ours, but a proxied program's.
    let passes = name == "proxy" && request.method() == http::Method::OPTIONS;
    if call.info.verb != "get" && !passes && !row.verbs.contains(&call.info.verb) {
        return Err(method_not_allowed());
    }
    match name {
        "status" | "approval" => part::respond(call, request, Part::Status).await,
        "ephemeralcontainers" | "resize" => part::respond(call, request, Part::Object).await,
        "scale" => scale::respond(call, request).await,
        "binding" => binding::respond(call, request).await,
        "eviction" => eviction::respond(call, request).await,
        "token" => token::respond(call, request).await,
        "finalize" => finalize::respond(call, request).await,
        "log" => node_proxy::log(call, query_pairs(request.uri())?).await,
        "exec" | "attach" | "portforward" => node_proxy::stream(call, request).await,
        "proxy" => node_proxy::proxy(call, request).await,
        other => Ok(not_implemented(&format!("subresource {other:?} of {}", call.kind.plural))),
    }
}

/// 422 for a body of another kind.
pub(crate) fn invalid(group: &str, kind: &str, name: &str, cause: Cause) -> Status {
    Status::invalid(group, kind, name, vec![cause])
}

/// 400 for a missing body.
pub(crate) fn body_missing(kind: &str) -> Status {
    Status::new(Reason::BadRequest, format!("the request has no body; a {kind} is expected"))
}
