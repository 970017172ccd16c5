//! Passing a request on to another server, and its answer back.
//!
//! Entry points: [`Onward::new`] and [`back`]. Hop-by-hop headers and the caller's credentials stay here (RFC 9110
//! section 7.6.1), bodies stream, an upgrade becomes two joined byte streams.

use api::Status;
use axum::body::Body;
use component_base::shutdown::Shutdown;
use futures::StreamExt as _;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Meant for the next server only.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request on its way to another server.
pub(crate) struct Onward {
    /// As it goes out.
    pub(crate) request: Request<Body>,
    /// The caller's end of an upgrade, if there is to be one.
    pub(crate) client: Option<OnUpgrade>,
}

impl Onward {
    /// The same request for another path and query.
    pub(crate) fn new(mut request: Request<Body>, target: Uri) -> Self {
        let upgrade = is_upgrade(&request).then(|| request.headers().get(header::UPGRADE).cloned()).flatten();
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let host = request.headers().get(header::HOST).cloned();
        let host = host.or_else(|| HeaderValue::from_str(request.uri().authority()?.as_str()).ok());
        let (parts, body) = request.into_parts();
        let mut passed = Request::new(body);
        *passed.method_mut() = parts.method;
        *passed.uri_mut() = target;
        *passed.headers_mut() = outgoing(&parts.headers);
        let headers = passed.headers_mut();
        if let Some(upgrade) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, upgrade);
        }
        if let Some(host) = host {
            headers.insert(header::HOST, host);
        }
        Self { request: passed, client }
    }
}

/// Whether the caller wants another protocol on this connection.
pub(crate) fn is_upgrade(request: &Request<Body>) -> bool {
    let connection = request.headers().get(header::CONNECTION).and_then(|v| v.to_str().ok());
    connection.is_some_and(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// The other server's answer as the caller gets it. It ends when this server does.
///
/// # Errors
/// 400 when the other server switched protocols and the caller cannot.
pub(crate) fn back(
    shutdown: &Shutdown,
    client: Option<OnUpgrade>,
    mut answer: Response<Incoming>,
) -> Result<Response<Body>, Status> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else { return Err(Status::bad_request("Upgrade request required")) };
        let server = hyper::upgrade::on(&mut answer);
        shutdown.spawn_until(join(client, server));
        return Ok(answer.map(|_| Body::empty()));
    }
    let headers = without_hops(answer.headers());
    *answer.headers_mut() = headers;
    let stopped = shutdown.token().cancelled_owned();
    Ok(answer.map(|body| Body::from_stream(BodyDataStream::new(body).take_until(Box::pin(stopped)))))
}

/// Copies both ways until either side ends.
pub(crate) async fn join(client: OnUpgrade, server: OnUpgrade) {
    let (client, server) = match futures::future::try_join(client, server).await {
        Ok(pair) => pair,
        Err(error) => {
            tracing::debug!(%error, "a stream was not upgraded");
            return;
        }
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!(%error, "a stream ended early");
    }
}

fn outgoing(headers: &HeaderMap) -> HeaderMap {
    let mut out = without_hops(headers);
    let secret = |name: &&HeaderName| {
        **name == header::AUTHORIZATION
            || name.as_str().starts_with("impersonate-")
            || name.as_str().starts_with("x-remote-")
    };
    let secrets: Vec<HeaderName> = out.keys().filter(secret).cloned().collect();
    for name in secrets {
        out.remove(name);
    }
    out
}

fn without_hops(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let stays = |name: &HeaderName| {
        !HOP_BY_HOP.contains(&name.as_str()) && !named.iter().any(|other| other == name.as_str())
    };
    let kept = headers.iter().filter(|(name, _)| stays(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_hops_stay_here() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "impersonate-user", "connection", "x-own", "accept", "te"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x-own"));
        }
        let kept: Vec<String> = outgoing(&headers).keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["accept"]);
    }
}
