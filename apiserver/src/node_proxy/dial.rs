//! One TLS connection per request to a node: streams live long and logs are rare, a pool would only
//! hide failures.

use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use axum::body::Body;
use component_base::clock::SharedClock;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::Target;

/// A node that does not answer its phone is reported, not waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An error text longer than this is nobody's message.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Calls nodes.
pub(crate) struct Nodes {
    connector: TlsConnector,
    clock: SharedClock,
}

impl Nodes {
    /// Calls with this TLS configuration.
    pub(crate) fn new(config: Arc<ClientConfig>, clock: SharedClock) -> Self {
        Self { connector: TlsConnector::from(config), clock }
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
        let connect = async {
            let stream = TcpStream::connect((target.address.as_str(), target.port))
                .await
                .map_err(|error| error.to_string())?;
            // Keystrokes of an interactive shell must not wait for more of them.
            let _ = stream.set_nodelay(true);
            let name = server_name(target)?;
            let stream = self.connector.connect(name, stream).await.map_err(|error| error.to_string())?;
            hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
                .await
                .map_err(|error| error.to_string())
        };
        let (mut sender, connection) = tokio::select! {
            connected = connect => connected.map_err(unreachable)?,
            () = self.clock.sleep(CONNECT_TIMEOUT) => return Err(unreachable("timed out".to_owned())),
        };
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a node ended");
            }
        });
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| Status::bad_request("the path is not valid"))?;
        *request.headers_mut() = headers.clone();
        if let Ok(host) = format!("{}:{}", target.address, target.port).parse() {
            request.headers_mut().insert(HOST, host);
        }
        sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))
    }
}

/// The certificate must be good for the address or, failing that, the node's name.
fn server_name(target: &Target) -> Result<ServerName<'static>, String> {
    ServerName::try_from(target.address.clone()).map_err(|error| error.to_string())
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
