//! Paths that are no resource: metrics, discovery, OpenAPI, token keys, the index.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Status;
use axum::body::Body;
use component_base::jws::VerifyingKey;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::Server;
use crate::chain::method_not_allowed;
use crate::document::{Caching, Document};
use crate::encryption::upkeep;
use crate::openapi::Encoding;
use crate::request::RequestInfo;
use crate::{aggregator, authn, discovery, flow_control, health, metrics, output};

/// How long a document may be kept whose URL names its content.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Answers or 404.
pub(crate) async fn respond(
    server: &Server,
    info: &RequestInfo,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let path = info.path.trim_end_matches('/');
    if path == upkeep::PATH {
        return match info.verb {
            "get" => Ok(output::json_value(StatusCode::OK, &upkeep::respond(server))),
            "post" => Ok(output::json_value(StatusCode::OK, &upkeep::rotate(server)?)),
            _ => Err(method_not_allowed()),
        };
    }
    if !["get", "head"].contains(&info.verb) {
        let known = path == "/version" || discovery::is_served(&server.served.borrow(), path);
        return if known { Err(method_not_allowed()) } else { Ok(output::page_not_found()) };
    }
    if let Some(dump) = flow_control::dump::respond(server, path, query) {
        return Ok(dump);
    }
    match path {
        "" => Ok(output::raw_json(StatusCode::OK, &index(server))),
        "/metrics" => Ok(metrics::respond(server).await),
        "/.well-known/openid-configuration" => Ok(published(&openid(server), "application/json")),
        "/openid/v1/jwks" => {
            let keys: Vec<Value> =
                server.config.pki.token_keys().public().iter().map(VerifyingKey::to_jwk).collect();
            Ok(published(&json!({"keys": keys}), "application/jwk-set+json"))
        }
        _ => Ok(describe(server, path, query, headers).await?.unwrap_or_else(output::page_not_found)),
    }
}

/// Discovery and OpenAPI. The large documents are made at first use, aside from other requests.
async fn describe(
    server: &Server,
    path: &str,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>, Status> {
    if !path.starts_with("/openapi/") {
        return discovery::serve(&server.served(), &server.address, path, headers);
    }
    let Some(encoding) = Encoding::wanted(path, headers) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        return Ok(Some(response));
    };
    if let Some(document) = aggregator::openapi_v3(server, path, encoding).await {
        return Ok(Some(document.respond(headers, Caching::Ask)));
    }
    let (openapi, below) = (server.openapi(), path.to_owned());
    let made = tokio::task::spawn_blocking(move || openapi.serve(&below, encoding));
    let made = made.await.map_err(|_| Status::internal("the document could not be made"))?;
    let hash = query.iter().find(|(key, hash)| key == "hash" && !hash.is_empty());
    Ok(made.map(|document| match hash {
        Some((_, hash)) if path.starts_with("/openapi/v3/") => named(server, path, hash, &document, headers),
        _ => document.respond(headers, Caching::Ask),
    }))
}

/// A document of which the caller names the content: to be kept for good, or to be looked for under the name
/// of what it is now.
fn named(
    server: &Server,
    path: &str,
    hash: &str,
    document: &Document,
    headers: &HeaderMap,
) -> Response<Body> {
    if hash == document.hash {
        let expires = server.clock.now() + YEAR;
        return document.respond(headers, Caching::Immutable { expires });
    }
    let mut moved = Response::new(Body::empty());
    *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
    moved.headers_mut().extend(HeaderValue::from_str(&document.url(path)).ok().map(|url| (LOCATION, url)));
    moved
}

fn index(server: &Server) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(health::paths());
    for kind in server.kinds().iter() {
        paths.push(match kind.group.as_ref() {
            "" => format!("/api/{}", kind.version),
            group => format!("/apis/{group}"),
        });
        if !kind.group.is_empty() {
            paths.push(format!("/apis/{}", kind.api_version()));
        }
    }
    paths.sort();
    paths.dedup();
    json!({ "paths": paths })
}

/// Who verifies tokens by these documents may keep them for an hour: new keys verify long before they sign elsewhere,
/// and former ones long after.
fn published(document: &Value, media: &'static str) -> Response<Body> {
    let mut response = output::raw_json(StatusCode::OK, document);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// OpenID Connect discovery, as far as verifying tokens needs it.
fn openid(server: &Server) -> Value {
    let issuer = authn::issuer(server);
    let keys = server.config.pki.token_keys();
    let algorithms: BTreeSet<&str> = keys.public().iter().map(VerifyingKey::algorithm).collect();
    json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}
