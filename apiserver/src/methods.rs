//! What of HTTP's methods a path takes: `Allow` beside 405, and answers to HEAD.
//!
//! Entry points: [`allow`] and [`without_body`]. Source: RFC 9110 sections 9.3.2 and 10.2.1; upstream's
//! router leaves `Allow` out.

use api::Kind;
use axum::body::Body;
use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;

use crate::call::Server;
use crate::request::RequestInfo;

/// Names the methods that the path of a request takes.
pub(crate) fn allow(server: &Server, info: &RequestInfo, headers: &mut HeaderMap) {
    let kinds = server.kinds();
    let methods = match kinds.resource(&info.group, &info.version, &info.resource) {
        Some(kind) => methods(kind, info),
        None => vec!["GET"],
    };
    if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
        headers.insert(ALLOW, value);
    }
}

fn methods(kind: &Kind, info: &RequestInfo) -> Vec<&'static str> {
    let verbs: &[&str] = match info.subresource.as_str() {
        "" => &kind.verbs,
        name => kind.subresource(name).map_or(&[], |sub| &sub.verbs),
    };
    let across = kind.namespaced() && info.namespace.is_empty();
    let collection = info.name.is_empty();
    let fits = |verb: &str| match verb {
        _ if !info.subresource.is_empty() => true,
        "list" => collection,
        "create" | "deletecollection" => collection && !across,
        "get" | "update" | "patch" | "delete" => !collection,
        _ => false,
    };
    let mut methods: Vec<&str> = verbs.iter().filter(|verb| fits(verb)).map(|verb| method(verb)).collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        _ => "GET",
    }
}

/// The answer to a HEAD: all of that to a GET but the body, which HTTP/2 would otherwise carry.
pub(crate) fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}
