//! Exec, attach, port-forward and logs: requests for a pod that its node answers; and `proxy`.
//!
//! Entry points: [`log`], [`stream`] and [`proxy`]. The API server authenticates the caller, finds pod, container
//! and node, then connects the two byte streams; upgraded connections (SPDY/3.1 and WebSocket) pass
//! through untouched. The node is called over TLS with a client certificate and must show one of the
//! cluster's authority.

mod backend;
mod dial;
mod forward;
mod links;
mod target;

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use futures::StreamExt as _;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyDataStream;

use crate::admission::admit_connection;
use crate::call::{Call, parse};
use crate::request::{query_pairs, truth};
use crate::{authz, output, relay};

pub(crate) use dial::{Nodes, dial};
pub(crate) use forward::proxy;
pub(crate) use target::Target;
use target::container;

/// Query options of `log` that the node understands.
const LOG_OPTIONS: [&str; 5] = ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
/// Those that are on or off.
const LOG_FLAGS: [&str; 4] = ["follow", "previous", "timestamps", "insecureSkipTLSVerifyBackend"];

/// `pods/log`.
pub(crate) async fn log(call: &Arc<Call>, pairs: Vec<(String, String)>) -> Result<Response<Body>, Status> {
    let pod = parse(&call.entry(&call.info.name).await?.bytes)?;
    let wanted = value(&pairs, "container");
    let previous = is_set(&pairs, "previous");
    let container = container(&pod, wanted, target::Need::Log { previous })?;
    let Some(target) = Target::of(call, &pod).await? else {
        // Not scheduled yet: there is nothing to read (upstream answers an empty body).
        return Ok(output::text(StatusCode::OK, String::new()));
    };
    let options = pairs.iter().filter(|(key, _)| LOG_OPTIONS.contains(&key.as_str()));
    let flags = LOG_FLAGS.into_iter().filter(|name| is_set(&pairs, name)).map(|name| (name, "true"));
    let kept: Vec<(&str, &str)> =
        options.map(|(key, value)| (key.as_str(), value.as_str())).chain(flags).collect();
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let path = with_query(format!("/containerLogs/{namespace}/{name}/{container}"), &kept);
    let answer =
        call.server.nodes.send(&target, Method::GET, &path, &HeaderMap::new(), Body::empty()).await?;
    if !answer.status().is_success() {
        return Err(dial::refused(answer).await);
    }
    let stopped = call.server.shutdown.token().cancelled_owned();
    let mut response =
        answer.map(|body| Body::from_stream(BodyDataStream::new(body).take_until(Box::pin(stopped))));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// `pods/exec`, `pods/attach` and `pods/portforward`.
pub(crate) async fn stream(call: &Arc<Call>, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let pairs = query_pairs(request.uri())?;
    let client = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let headers = request.headers().clone();
    let method = request.method().clone();
    drop(request);
    may_create(call).await?;
    admit_connection(call, &pairs).await?;
    let pod = parse(&call.entry(&call.info.name).await?.bytes)?;
    let path = stream_path(call, &pod, &pairs)?;
    let Some(target) = Target::of(call, &pod).await? else {
        let detail = format!("pod {} does not have a host assigned", call.info.name);
        return Err(Status::bad_request(detail));
    };
    let Some(client) = client.filter(|_| headers.contains_key(UPGRADE)) else {
        return Err(Status::bad_request("Upgrade request required"));
    };
    let mut forwarded = HeaderMap::new();
    for (name, value) in &headers {
        let keep = name == CONNECTION
            || name == UPGRADE
            || name.as_str().starts_with("sec-websocket-")
            || name == "x-stream-protocol-version";
        if keep {
            forwarded.append(name, value.clone());
        }
    }
    let mut answer = call.server.nodes.send(&target, method, &path, &forwarded, Body::empty()).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(dial::refused(answer).await);
    }
    let node = hyper::upgrade::on(&mut answer);
    call.server.shutdown.spawn_until(relay::join(client, node));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// A WebSocket begins with a GET, but who may only read may run nothing: the right to create is asked for, too
/// (upstream since 1.35).
async fn may_create(call: &Call) -> Result<(), Status> {
    let wish = authz::Attributes { verb: "create", ..authz::Attributes::of(&call.info, None) };
    authz::authorize(&call.server, &call.user, &wish).await.permit(&call.user, &wish)
}

fn stream_path(call: &Call, pod: &serde_json::Value, pairs: &[(String, String)]) -> Result<String, Status> {
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    if call.info.subresource == "portforward" {
        let ports: Vec<(&str, &str)> =
            pairs.iter().filter(|(key, _)| key == "ports").map(|(_, v)| ("port", v.as_str())).collect();
        return Ok(with_query(format!("/portForward/{namespace}/{name}"), &ports));
    }
    let attach = call.info.subresource == "attach";
    let container = container(pod, value(pairs, "container"), target::Need::Stream)?;
    let mut query: Vec<(&str, &str)> = Vec::new();
    for (theirs, ours) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if is_set(pairs, theirs) {
            query.push((ours, "1"));
        }
    }
    if query.iter().all(|(key, _)| *key == "tty") {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if attach {
        return Ok(with_query(format!("/attach/{namespace}/{name}/{container}"), &query));
    }
    let command: Vec<(&str, &str)> =
        pairs.iter().filter(|(key, _)| key == "command").map(|(_, v)| ("command", v.as_str())).collect();
    if command.is_empty() {
        return Err(Status::bad_request("you must specify a command"));
    }
    query.extend(command);
    Ok(with_query(format!("/exec/{namespace}/{name}/{container}"), &query))
}

fn value<'a>(pairs: &'a [(String, String)], key: &str) -> &'a str {
    pairs.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
}

/// Whether an option that is on or off is on, as upstream reads a query: named, and not said to be off.
fn is_set(pairs: &[(String, String)], key: &str) -> bool {
    pairs.iter().find(|(k, _)| k == key).is_some_and(|(_, v)| truth(v))
}

/// A path with a form-encoded query.
fn with_query(mut path: String, pairs: &[(&str, &str)]) -> String {
    for (number, (key, value)) in pairs.iter().enumerate() {
        path.push(if number == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    path
}
