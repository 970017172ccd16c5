//! `serviceaccounts/token`: TokenRequest (KEP-1205).

use std::sync::Arc;

use api::{Cause, Status, object};
use axum::body::Body;
use component_base::clock::rfc3339_seconds;
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::{self, Attributes, ObjectKind};
use crate::authn::{Grant, issue, issuer};
use crate::call::{Call, parse};
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::output;

/// What the body is.
const KIND: (&str, &str, &str) = ("authentication.k8s.io", "v1", "TokenRequest");

const DEFAULT_SECONDS: i64 = 3600;
/// Upstream's floor: shorter tokens would be renewed all the time.
const MIN_SECONDS: i64 = 600;
/// Nobody needs a token for longer than the certificate authority lives.
const MAX_SECONDS: i64 = 365 * 24 * 60 * 60;

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let mut sent = body::other(call, request, KIND).await?.unwrap_or_else(|| json!({}));
    let attributes = Attributes::create(call, &sent).with_kind(ObjectKind::new(KIND));
    admission::admit(&attributes, &mut sent).await?;
    let account = parse(&call.entry(&call.info.name).await?.bytes)?;
    let spec = &sent["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    if seconds < MIN_SECONDS {
        let cause = Cause::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            "may not specify a duration less than 10 minutes",
        );
        return Err(super::invalid("authentication.k8s.io", "TokenRequest", object::name(&sent), cause));
    }
    let mut audiences: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences.push(issuer(&call.server));
    }
    let grant = Grant {
        namespace: &call.info.namespace,
        account: &account,
        audiences: audiences.clone(),
        seconds: seconds.min(MAX_SECONDS),
        bound: bound(call, &spec["boundObjectRef"]).await?,
    };
    let (token, end) = issue(&call.server, &grant)?;
    let end = Timestamp::from_second(end).map_err(Status::internal)?;
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.info.name, "namespace": call.info.namespace, "creationTimestamp": call.server.now()},
        "spec": {"audiences": audiences, "expirationSeconds": grant.seconds, "boundObjectRef": spec["boundObjectRef"]},
        "status": {"token": token, "expirationTimestamp": rfc3339_seconds(end)},
    });
    Ok(output::json_value(StatusCode::CREATED, &answer))
}

/// The object a token shall be bound to, checked to exist and to use the account.
async fn bound(call: &Call, reference: &Value) -> Result<Option<(String, String, String)>, Status> {
    let kind = reference["kind"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Ok(None);
    }
    let name = reference["name"].as_str().unwrap_or_default();
    let plural = match kind {
        "Pod" => "pods",
        "Secret" => "secrets",
        other => {
            let detail = format!("cannot bind token to object of type {other:?}");
            return Err(Status::bad_request(detail));
        }
    };
    let key = api::names::storage_key("", plural, call.info.namespace(), name);
    let found = call.server.stored(&key).await?.ok_or_else(|| Status::not_found("", plural, name))?;
    let uid = object::uid(&found);
    let wanted = reference["uid"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != uid {
        let detail = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, &detail));
    }
    if kind == "Pod" && found["spec"]["serviceAccountName"] != call.info.name.as_str() {
        let detail = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.info.name
        );
        return Err(Status::bad_request(detail));
    }
    Ok(Some((kind.to_owned(), name.to_owned(), uid.to_owned())))
}
