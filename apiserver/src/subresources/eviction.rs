//! `eviction`: a delete that disruption budgets may refuse. There are no budgets yet, so it is a delete
//! with the eviction's own options.

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use http::{Request, Response, StatusCode};

use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::deletion::{self, DeleteOptions};
use crate::handlers::body;
use crate::output;

/// What the body is.
const KIND: (&str, &str, &str) = ("policy", "v1", "Eviction");

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let eviction = body::other(call, request, KIND).await?.ok_or_else(|| super::body_missing("Eviction"))?;
    let options = DeleteOptions::of(call, Some(&eviction["deleteOptions"]))?;
    deletion::delete(call, &call.info.name, &options).await?;
    Ok(output::success(StatusCode::CREATED, None))
}
