//! Paths that are no resource: metrics, discovery, OpenAPI, token keys, the index.

use api::Status;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::Server;
use crate::request::RequestInfo;
use crate::{authn, describe, health, output};

/// Answers or 404.
pub(crate) async fn respond(
    server: &Server,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    if !["get", "head"].contains(&info.verb) {
        return Err(Status::no_such_path());
    }
    let path = info.path.trim_end_matches('/');
    match path {
        "" => Ok(output::json_value(StatusCode::OK, &index(server))),
        "/metrics" => Ok(health::metrics(server).await),
        "/.well-known/openid-configuration" => Ok(output::json_value(StatusCode::OK, &openid(server))),
        "/openid/v1/jwks" => {
            let keys = json!({"keys": [server.config.pki.token_key().public_jwk()]});
            Ok(output::json_value(StatusCode::OK, &keys))
        }
        _ => describe::describe(server, path, headers).ok_or_else(Status::no_such_path),
    }
}

fn index(server: &Server) -> Value {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
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

fn openid(server: &Server) -> Value {
    let issuer = authn::issuer(server);
    json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
