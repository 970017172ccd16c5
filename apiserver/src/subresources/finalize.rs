//! `namespaces/finalize`: the namespace controller takes its own finalizer away when all is empty.

use std::sync::Arc;

use api::{Status, object};
use axum::body::Body;
use http::{Request, Response, StatusCode};

use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::output;
use crate::registry::{self, Part, metadata};

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "update" {
        return Err(method_not_allowed());
    }
    let headers = request.headers().clone();
    let mut sent = body::object(call, request).await?;
    metadata::agree_named(call, &mut sent)?;
    let written = registry::update(call, &call.info.name, Part::Whole, |current| {
        let mut new = current.clone();
        let spec = object::section(&mut new, "spec");
        match sent["spec"].get("finalizers") {
            Some(finalizers) => spec.insert("finalizers".to_owned(), finalizers.clone()),
            None => spec.remove("finalizers"),
        };
        let revision = sent["metadata"]["resourceVersion"].clone();
        if !revision.is_null() {
            new["metadata"]["resourceVersion"] = revision;
        }
        Ok(new)
    })
    .await?;
    output::object(call, &headers, StatusCode::OK, &written.bytes)
}
