//! `pods/proxy`, `services/proxy` and `nodes/proxy`: any request, passed on.
//!
//! Entry point: [`proxy`]. As upstream's `UpgradeAwareHandler`: redirects and links in HTML are bent back below
//! the proxied path (links only where the page is not compressed); the rest is [`crate::relay`]'s.

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use bytes::Bytes;
use component_base::shutdown::Shutdown;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use super::backend;
use super::dial::{Backend, Nodes};
use super::links::Rewriter;
use crate::admission::admit_connection;
use crate::call::Call;
use crate::relay::{self, Onward};

/// Passes a request on and answers with what comes back.
pub(crate) async fn proxy(call: &Arc<Call>, request: Request<Body>) -> Result<Response<Body>, Status> {
    admit_connection(call, &[]).await?;
    let path = Paths::of(request.uri().path(), call.kind.namespaced());
    if path.rest.is_empty()
        && [Method::GET, Method::HEAD].contains(request.method())
        && !relay::is_upgrade(&request)
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
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let rest = if path.rest.is_empty() { "/" } else { path.rest.as_str() };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{rest}{query}").parse();
    let target = target.map_err(|_| Status::bad_request("the path is not valid"))?;
    let Onward { request: mut passed, client } = Onward::new(request, target);
    if let Ok(uri) = HeaderValue::from_str(&format!("{}{rest}", path.prefix)) {
        passed.headers_mut().insert("x-forwarded-uri", uri);
    }
    let answer = nodes.call(backend, passed).await;
    let answer = answer.map_err(|e| Status::unavailable(format!("error trying to reach service: {e}")))?;
    let mut response = relay::back(shutdown, client, answer)?;
    let headers = response.headers_mut();
    let bent = headers
        .get(header::LOCATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|to| bend(to, backend, &path.prefix));
    if let Some(location) = bent.and_then(|to| HeaderValue::from_str(&to).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if !is_page(headers) {
        return Ok(response);
    }
    headers.remove(header::CONTENT_LENGTH);
    let (backend, prefix) = (backend.clone(), path.prefix.clone());
    Ok(response.map(|page| Body::from_stream(relinked(page.into_data_stream(), backend, prefix))))
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
