//! `serviceaccounts/token`: TokenRequest (KEP-1205, bound to nodes KEP-4193).

use std::sync::Arc;

use api::{Cause, Status, object};
use axum::body::Body;
use component_base::clock::rfc3339_seconds;
use http::{Request, Response, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::admission::{self, Attributes, ObjectKind};
use crate::authn::{Binding, Grant, issue, issuer};
use crate::call::{Call, parse};
use crate::chain::method_not_allowed;
use crate::handlers::body;
use crate::output;

const GROUP: &str = "authentication.k8s.io";
/// What the body is.
const KIND: (&str, &str, &str) = (GROUP, "v1", "TokenRequest");

const DEFAULT_SECONDS: i64 = 3600;
/// Upstream's floor: shorter tokens would be renewed all the time.
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What the ServiceAccount admission plugin writes into pods. Programs that never read their token again live on
/// tokens that are good for a year; use after the hour is worth a warning.
const INJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;

pub(super) async fn respond(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let mut sent = body::other(call, request, KIND).await?.unwrap_or_else(|| json!({}));
    check_named(call, &sent)?;
    let attributes = Attributes::create(call, &sent).with_kind(ObjectKind::new(KIND));
    admission::admit(&attributes, &mut sent).await?;
    let account = parse(&call.entry(&call.info.name).await?.bytes)?;
    let spec = &sent["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    check_seconds(seconds)?;
    let settings = &call.server.authentication.settings;
    let seconds = match settings.most_seconds.filter(|most| *most < seconds) {
        None => seconds,
        Some(most) => {
            call.warn(format!("requested expiration of {seconds} seconds shortened to {most} seconds"));
            most
        }
    };
    let own = issuer(&call.server);
    let mut audiences: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if audiences.is_empty() {
        audiences.push(own.clone());
    }
    let bindings = bindings(call, &spec["boundObjectRef"]).await?;
    let is_extended = settings.extend_expiration
        && bindings.first().is_some_and(|bound| bound.claim == "pod")
        && seconds == INJECTED_SECONDS
        && audiences == [own];
    let grant = Grant {
        namespace: &call.info.namespace,
        account: &account,
        audiences: audiences.clone(),
        seconds: if is_extended { EXTENDED_SECONDS } else { seconds },
        warn_after: is_extended.then_some(seconds),
        bindings,
    };
    // Before signing, so that the token is good at least as long as the answer says.
    let end = call.server.clock.now().saturating_add(SignedDuration::from_secs(seconds));
    let end = end.map_err(Status::internal)?;
    let token = issue(&call.server, &grant)?;
    let mut answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.info.name, "namespace": call.info.namespace, "creationTimestamp": call.server.now()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec["boundObjectRef"]},
        "status": {"token": token, "expirationTimestamp": rfc3339_seconds(end)},
    });
    for key in ["labels", "annotations"] {
        if sent["metadata"][key].is_object() {
            answer["metadata"][key] = sent["metadata"][key].clone();
        }
    }
    Ok(output::json_value(StatusCode::CREATED, &answer))
}

fn invalid(name: &str, cause: Cause) -> Status {
    super::invalid(GROUP, "TokenRequest", name, cause)
}

/// The body may repeat the account's name and namespace, not name another.
fn check_named(call: &Call, sent: &Value) -> Result<(), Status> {
    let (name, namespace) = (object::name(sent), object::namespace(sent));
    for (field, value, expected) in
        [("name", name, &call.info.name), ("namespace", namespace, &call.info.namespace)]
    {
        if !value.is_empty() && value != expected {
            let detail = format!("must match the service account {field} if specified");
            let cause = Cause::invalid(format!("metadata.{field}"), &value.into(), &detail);
            return Err(invalid(&call.info.name, cause));
        }
    }
    Ok(())
}

fn check_seconds(seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(invalid("", Cause::invalid("spec.expirationSeconds", &seconds.into(), detail)))
}

/// The object a token shall be bound to, checked to exist and to use the account; after a pod its node.
async fn bindings(call: &Call, reference: &Value) -> Result<Vec<Binding>, Status> {
    if !reference.is_object() {
        return Ok(Vec::new());
    }
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (group, version) = match text("apiVersion").split_once('/') {
        Some(parts) => parts,
        None => ("", text("apiVersion")),
    };
    let (claim, plural, namespace) = match (group, text("kind")) {
        ("", "Pod") => ("pod", "pods", call.info.namespace()),
        ("", "Secret") => ("secret", "secrets", call.info.namespace()),
        ("", "Node") => ("node", "nodes", None),
        (group, kind) => {
            let what = format!("{group}/{version}, Kind={kind}");
            return Err(Status::bad_request(format!("cannot bind token to object of type {what}")));
        }
    };
    let name = text("name");
    let key = api::names::storage_key("", plural, namespace, name);
    let found = call.server.stored(&key).await?.ok_or_else(|| Status::not_found("", plural, name))?;
    if claim == "pod" && found["spec"]["serviceAccountName"] != call.info.name.as_str() {
        let account = &call.info.name;
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let (uid, wanted) = (object::uid(&found), text("uid"));
    if !wanted.is_empty() && wanted != uid {
        let detail = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", text("kind"), name, &detail));
    }
    let mut bindings = vec![Binding { claim, name: name.to_owned(), uid: uid.to_owned() }];
    if claim == "pod" {
        bindings.extend(node_of(call, &found).await?);
    }
    Ok(bindings)
}

/// The node a pod is on; by name alone if it is not there.
async fn node_of(call: &Call, pod: &Value) -> Result<Option<Binding>, Status> {
    let Some(name) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let node = call.server.stored(&api::names::storage_key("", "nodes", None, name)).await?;
    let uid = node.as_ref().map(object::uid).unwrap_or_default();
    Ok(Some(Binding { claim: "node", name: name.to_owned(), uid: uid.to_owned() }))
}
