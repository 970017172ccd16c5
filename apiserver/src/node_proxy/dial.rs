//! One connection per request to a node or a proxied pod: streams live long and logs are rare, a pool would only
//! hide failures.

use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use axum::body::Body;
use component_base::clock::SharedClock;
use component_base::tls::{TlsError, any_server_config};
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::target::Target;
use crate::transport::connect;

/// A node that does not answer its phone is reported, not waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An error text longer than this is nobody's message.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How a backend is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// HTTP.
    Plain,
    /// TLS with whatever certificate: pods have none of the cluster's (as upstream's proxy transport).
    Unverified,
    /// TLS as the cluster's own client, with a certificate of the cluster's authority.
    Node,
}

/// Somebody a request is passed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// Address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) wire: Wire,
}

/// Calls nodes, and what is proxied.
pub(crate) struct Nodes {
    connector: TlsConnector,
    /// Pods and services behind `https:NAME:PORT` have certificates of nobody the API server could know.
    unverified: TlsConnector,
    clock: SharedClock,
}

impl Nodes {
    /// Calls with this TLS configuration.
    ///
    /// # Errors
    /// When there is no TLS for those that cannot be known.
    pub(crate) fn new(config: Arc<ClientConfig>, clock: SharedClock) -> Result<Self, TlsError> {
        let unverified = TlsConnector::from(any_server_config()?);
        Ok(Self { connector: TlsConnector::from(config), unverified, clock })
    }

    /// Sends one request to a node; the answer may be an upgrade.
    pub(crate) async fn send(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, Status> {
        let unreachable = |detail: String| {
            Status::internal(format!("error dialing backend: {}:{}: {detail}", target.address, target.port))
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| Status::bad_request("the path is not valid"))?;
        *request.headers_mut() = headers.clone();
        if let Ok(host) = format!("{}:{}", target.address, target.port).parse() {
            request.headers_mut().insert(HOST, host);
        }
        self.call(&target.backend(), request).await.map_err(unreachable)
    }

    /// Sends one request to wherever; the answer may be an upgrade.
    ///
    /// # Errors
    /// What went wrong, in Go's words where it has some.
    pub(super) async fn call(
        &self,
        backend: &Backend,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        let tls = match backend.wire {
            Wire::Plain => None,
            Wire::Unverified => Some(&self.unverified),
            Wire::Node => Some(&self.connector),
        };
        // The certificate must be good for the address.
        let tls = tls.map(|connector| (connector, backend.host.as_str()));
        let mut sender = dial(&self.clock, &backend.host, backend.port, tls).await?;
        sender.send_request(request).await.map_err(|error| error.to_string())
    }
}

/// Connects, with TLS to somebody of a name if asked for, and speaks HTTP/1.1.
///
/// # Errors
/// What went wrong, in Go's words where it has some.
pub(crate) async fn dial(
    clock: &SharedClock,
    host: &str,
    port: u16,
    tls: Option<(&TlsConnector, &str)>,
) -> Result<SendRequest<Body>, String> {
    let stream = tokio::select! {
        connected = connect(host, port, tls) => connected?,
        () = clock.sleep(CONNECT_TIMEOUT) => return Err(format!("dial tcp {host}:{port}: i/o timeout")),
    };
    handshake(stream).await
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let opened = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    Ok(sender)
}

/// A node's refusal as a Status: its own, if it sent one.
pub(crate) async fn refused(answer: Response<Incoming>) -> Status {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ERROR_BYTES).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let text = json
        .and_then(|status| status["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
    let reason = match code.as_u16() {
        400 => Reason::BadRequest,
        401 | 403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        429 => Reason::TooManyRequests,
        503 => Reason::ServiceUnavailable,
        _ => Reason::InternalError,
    };
    Status::new(reason, text)
}
