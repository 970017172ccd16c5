//! Requests for another server: as upstream's front proxy sends them, with a client certificate of the front
//! proxy's and the caller in `X-Remote-` headers (its `AuthProxy` round tripper).
//!
//! Entry points: [`forward`] for a caller's request, [`get`] for the server's own questions.

use std::time::Duration;

use api::Status;
use axum::body::Body;
use bytes::Bytes;
use component_base::tls::{Pki, any_server};
use component_base::user::UserInfo;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio_rustls::TlsConnector;

use super::Delegation;
use crate::backends;
use crate::call::Server;
use crate::node_proxy::dial;
use crate::relay::{self, Onward};
use crate::{output, transport};

/// The largest document read: OpenAPI of a large server is a few megabytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Upstream's limit for a discovery check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Passes a caller's request on and answers with what comes back; a server that cannot be reached is a plain 503.
pub(crate) async fn forward(
    server: &Server,
    user: &UserInfo,
    delegation: &Delegation,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    if !delegation.available {
        return Ok(unavailable("service unavailable"));
    }
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
    let target = target.map_err(|_| Status::bad_request("the path is not valid"))?;
    let Onward { mut request, client } = Onward::new(request, target);
    introduce(user, request.headers_mut());
    match send(server, delegation, request).await {
        Ok(answer) => relay::back(&server.shutdown, client, answer),
        Err(problem) => {
            tracing::info!(api_service = delegation.name, problem, "a request could not be passed on");
            Ok(unavailable(&format!("error trying to reach service: {problem}")))
        }
    }
}

/// As Go's `http.Error` says it: the other server would have answered, this one has no `Status` to give.
fn unavailable(text: &str) -> Response<Body> {
    let mut response = output::text(StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A document of the other server's, read as the aggregator: code, media type and content.
///
/// # Errors
/// What failed, in the words upstream's availability check uses.
pub(super) async fn get(
    server: &Server,
    delegation: &Delegation,
    path: &str,
    accept: &str,
) -> Result<(StatusCode, String, Bytes), String> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(|_| "invalid path".to_owned())?;
    let headers = request.headers_mut();
    let host = format!("{}:{}", delegation.host(), delegation.port);
    for (name, value) in [(HOST, host.as_str()), (ACCEPT, accept)] {
        headers.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    introduce(&UserInfo::component("system:kube-aggregator", &["system:masters"]), headers);
    let work = async {
        let answer = send(server, delegation, request).await?;
        let (code, media) = (answer.status(), media_type(answer.headers()));
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        Ok((code, media, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::select! {
        answer = work => answer,
        () = server.clock.sleep(TIMEOUT) => Err("context deadline exceeded".to_owned()),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn send(
    server: &Server,
    delegation: &Delegation,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    let Delegation { namespace, service, port, .. } = delegation;
    let (host, port) = backends::endpoint(server, namespace, service, *port).await?;
    let connector = delegation.connector(&server.config.pki)?;
    let mut sender = dial(&server.clock, &host, port, Some((connector, &delegation.host()))).await?;
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// TLS as the front proxy, trusting the API service's authority, or whoever answers.
pub(super) fn connector(pki: &Pki, authority: Option<&[u8]>) -> Result<TlsConnector, String> {
    let verifier = match authority {
        Some(pem) => transport::verifier(pem)?,
        None => any_server(),
    };
    pki.front_proxy_config(verifier).map(TlsConnector::from).map_err(|error| error.to_string())
}

/// Says who asks.
fn introduce(user: &UserInfo, headers: &mut HeaderMap) {
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// A key as part of a header's name: what may not stand there, and `%`, is percent-encoded.
fn escaped(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if legal {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_introduced() {
        let mut user = UserInfo::component("jane", &["devs"]);
        user.extra.insert("example.com/p%".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let mut headers = HeaderMap::new();
        introduce(&user, &mut headers);
        let shown: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text"))).collect();
        assert_eq!(
            shown,
            [
                "x-remote-user=jane",
                "x-remote-group=devs",
                "x-remote-group=system:authenticated",
                "x-remote-extra-example.com%2fp%25=a",
                "x-remote-extra-example.com%2fp%25=b"
            ]
        );
    }
}
