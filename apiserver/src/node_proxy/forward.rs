//! `pods/proxy`, `services/proxy` and `nodes/proxy`: any request, passed on.
//!
//! Entry point: [`proxy`]. As upstream's `UpgradeAwareHandler`: hop-by-hop headers and the caller's
//! credentials stay here, redirects and links in HTML are bent back below the proxied path (links only where
//! the page is not compressed), upgrades become two joined byte streams.

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use bytes::Bytes;
use component_base::shutdown::Shutdown;
use futures::{Stream, StreamExt as _};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyDataStream;

use super::dial::{Backend, Nodes};
use super::links::Rewriter;
use super::{backend, join};
use crate::admission::admit_connection;
use crate::call::Call;

/// Meant for the next server only (RFC 9110 section 7.6.1).
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

/// Passes a request on and answers with what comes back.
pub(crate) async fn proxy(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    admit_connection(call, &[]).await?;
    let path = Paths::of(request.uri().path(), call.kind.namespaced());
    if path.rest.is_empty() && [Method::GET, Method::HEAD].contains(request.method()) && !is_upgrade(&request)
    {
        return redirect(request.uri());
    }
    let backend = backend::find(call).await?;
    send(&call.server.nodes, &call.server.shutdown, &backend, &path, request).await
}

/// The path of a proxied request in two.
struct Paths {
    /// Up to and including `/proxy`.
    prefix: String,
    /// As sent, still encoded: empty, or from the next slash on.
    rest: String,
}

impl Paths {
    fn of(path: &str, namespaced: bool) -> Self {
        // `/api/v1/namespaces/NS/pods/NAME/proxy` or `/api/v1/nodes/NAME/proxy`.
        let parts = if namespaced { 7 } else { 5 };
        let mut slashes = path.match_indices('/').map(|(at, _)| at);
        let (prefix, rest) = path.split_at(slashes.nth(parts).unwrap_or(path.len()));
        Self { prefix: prefix.to_owned(), rest: rest.to_owned() }
    }
}

fn is_upgrade(request: &Request<Body>) -> bool {
    let connection = request.headers().get(header::CONNECTION).and_then(|v| v.to_str().ok());
    connection.is_some_and(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// A page at the root has relative links, which need the slash.
fn redirect(uri: &Uri) -> Result<Response<Body>, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}/{query}", uri.path())).map_err(Status::internal)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

async fn send(
    nodes: &Nodes,
    shutdown: &Shutdown,
    backend: &Backend,
    path: &Paths,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let upgrade = is_upgrade(&request).then(|| request.headers().get(header::UPGRADE).cloned()).flatten();
    let client = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let host = request.headers().get(header::HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(request.uri().authority()?.as_str()).ok());
    let (parts, body) = request.into_parts();
    let rest = if path.rest.is_empty() { "/" } else { path.rest.as_str() };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut passed = Request::new(body);
    *passed.method_mut() = parts.method;
    *passed.uri_mut() =
        format!("{rest}{query}").parse().map_err(|_| Status::bad_request("the path is not valid"))?;
    *passed.headers_mut() = outgoing(&parts.headers);
    let headers = passed.headers_mut();
    if let Some(upgrade) = &upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
    if let Ok(uri) = HeaderValue::from_str(&format!("{}{rest}", path.prefix)) {
        headers.insert("x-forwarded-uri", uri);
    }
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    let answer = nodes.call(backend, passed).await;
    let mut answer =
        answer.map_err(|e| Status::unavailable(format!("error trying to reach service: {e}")))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else { return Err(Status::bad_request("Upgrade request required")) };
        let node = hyper::upgrade::on(&mut answer);
        shutdown.spawn_until(join(client, node));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = answer.headers().clone();
        return Ok(response);
    }
    let stopped = shutdown.token().cancelled_owned();
    let (parts, body) = answer.into_parts();
    let pieces = BodyDataStream::new(body).take_until(Box::pin(stopped));
    let (page, mut headers) = (is_page(&parts.headers), incoming(&parts.headers, backend, path));
    let body = if page {
        headers.remove(header::CONTENT_LENGTH);
        Body::from_stream(relinked(pieces, backend.clone(), path.prefix.clone()))
    } else {
        Body::from_stream(pieces)
    };
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Whether links can be found in the body.
fn is_page(headers: &HeaderMap) -> bool {
    let value =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let media = value(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    media == "text/html" && matches!(value(header::CONTENT_ENCODING), "" | "identity")
}

/// A page whose links lead through the proxy.
fn relinked<E>(
    pieces: impl Stream<Item = Result<Bytes, E>>,
    backend: Backend,
    prefix: String,
) -> impl Stream<Item = Result<Bytes, E>> {
    let rewriter = Rewriter::new(move |address: &str| {
        let (address, fragment) = address.split_at(address.find('#').unwrap_or(address.len()));
        Some(bend(address, &backend, &prefix)? + fragment)
    });
    let with_end = pieces.map(Some).chain(futures::stream::iter([None]));
    let changed = with_end.scan(rewriter, |rewriter, piece| {
        let piece = match piece {
            Some(piece) => piece.map(|piece| rewriter.push(&piece)),
            None => Ok(rewriter.finish()),
        };
        std::future::ready(Some(piece.map(Bytes::from)))
    });
    changed.filter(|piece| std::future::ready(!piece.as_ref().is_ok_and(Bytes::is_empty)))
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

fn incoming(headers: &HeaderMap, backend: &Backend, path: &Paths) -> HeaderMap {
    let mut out = without_hops(headers);
    let bent = out
        .get(header::LOCATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|to| bend(to, backend, &path.prefix));
    if let Some(location) = bent.and_then(|to| HeaderValue::from_str(&to).ok()) {
        out.insert(header::LOCATION, location);
    }
    out
}

/// An address of the backend's own, as the caller has to ask for it; `None` if it leads
/// elsewhere or is relative.
fn bend(location: &str, backend: &Backend, prefix: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    if let Some(authority) = uri.authority() {
        let own = format!("{}:{}", backend.host, backend.port);
        if authority.as_str() != own && authority.as_str() != backend.host {
            return None;
        }
    }
    let target = uri.path_and_query()?.as_str();
    (target.starts_with('/') && !target.starts_with(prefix)).then(|| format!("{prefix}{target}"))
}

#[cfg(test)]
mod tests;
