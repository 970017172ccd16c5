//! Calls webhooks: HTTPS to a URL or to a Service, trusting the configuration's own authority.
//!
//! Entry point: [`post`]. A Service is reached at a ready endpoint, so that it works wherever this server
//! runs, and must show a certificate for `NAME.NAMESPACE.svc`.

use std::sync::Arc;
use std::time::Duration;

use api::object;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::call::Server;

/// Upstream's default for calls whose configuration names no time.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer read: upstream's limit for webhook responses is that of a request body.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Authorities this machine trusts, for configurations without a `caBundle`.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where a webhook is.
pub(crate) struct Target {
    place: Place,
    path: String,
    /// PEM; empty means the machine's own trust.
    authority: Vec<u8>,
}

enum Place {
    /// `host`, port.
    Host(String, u16),
    Service {
        namespace: String,
        name: String,
        port: u64,
    },
    /// What is wrong with the configuration.
    Nowhere(String),
}

impl Target {
    /// Reads a `clientConfig`.
    pub(crate) fn of(config: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let authority = STANDARD.decode(text(&config["caBundle"])).unwrap_or_default();
        let service = &config["service"];
        if service.is_object() {
            let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
            let port = service["port"].as_u64().unwrap_or(443);
            let path = format!("/{}", text(&service["path"]).trim_start_matches('/'));
            return Self { place: Place::Service { namespace, name, port }, path, authority };
        }
        let url = text(&config["url"]);
        let (place, path) = match url.parse::<http::Uri>() {
            Ok(uri) if uri.host().is_some() => {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
                (Place::Host(host, uri.port_u16().unwrap_or(443)), path)
            }
            _ => (Place::Nowhere(format!("parse {url:?}: invalid URL")), String::new()),
        };
        Self { place, path, authority }
    }

    /// The URL as errors name it.
    fn url(&self, seconds: u64) -> String {
        let query = if self.path.contains('?') { '&' } else { '?' };
        let place = match &self.place {
            Place::Host(host, port) => format!("{host}:{port}"),
            Place::Service { namespace, name, port } => format!("{name}.{namespace}.svc:{port}"),
            Place::Nowhere(_) => String::new(),
        };
        format!("https://{place}{}{query}timeout={seconds}s", self.path)
    }
}

/// Sends a review and reads the answer.
///
/// # Errors
/// Says what failed, in the form Go's HTTP client does.
pub(crate) async fn post(
    server: &Server,
    target: &Target,
    review: &Value,
    timeout: Option<Duration>,
) -> Result<Value, String> {
    let timeout = timeout.unwrap_or(TIMEOUT);
    let url = target.url(timeout.as_secs());
    let named = |error: String| format!("Post {url:?}: {error}");
    let exchange = async {
        let (address, port, name) = locate(server, target).await?;
        let stream = TcpStream::connect((address.as_str(), port))
            .await
            .map_err(|error| format!("dial tcp {address}:{port}: connect: {error}"))?;
        let connector = TlsConnector::from(trust(&target.authority)?);
        let server_name = ServerName::try_from(name.clone()).map_err(|error| error.to_string())?;
        let stream = connector.connect(server_name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = request(&name, &url, review)?;
        let answer = async move { sender.send_request(request).await };
        // The connection moves while somebody drives it, and goes with the exchange.
        let drive = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = answer_of(answer) => answer,
            never = drive => never,
        }
    };
    tokio::select! {
        outcome = exchange => outcome.map_err(named),
        () = server.clock.sleep(timeout) => {
            Err(named("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()))
        }
    }
}

fn request(name: &str, url: &str, review: &Value) -> Result<Request<Body>, String> {
    let uri: http::Uri = url.parse().map_err(|_| "invalid URL".to_owned())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, name)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .body(Body::from(review.to_string()))
        .map_err(|error| error.to_string())
}

async fn answer_of(
    answer: impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>>,
) -> Result<Value, String> {
    let answer = answer.await.map_err(|error| error.to_string())?;
    let code = answer.status();
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await.map_err(|e| e.to_string())?;
    let bytes = body.to_bytes();
    if !code.is_success() {
        return Err(match code.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            _ => format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                String::from_utf8_lossy(bytes.get(..2048).unwrap_or(&bytes)).trim()
            ),
        });
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
}

/// Address, port and the name the certificate must carry.
async fn locate(server: &Server, target: &Target) -> Result<(String, u16, String), String> {
    match &target.place {
        Place::Host(host, port) => Ok((host.clone(), *port, host.clone())),
        Place::Nowhere(problem) => Err(problem.clone()),
        Place::Service { namespace, name, port } => {
            let (address, found) = endpoint(server, namespace, name, *port).await?;
            Ok((address, found, format!("{name}.{namespace}.svc")))
        }
    }
}

/// A ready endpoint behind a port of a Service.
pub(crate) async fn endpoint(
    server: &Server,
    namespace: &str,
    name: &str,
    port: u64,
) -> Result<(String, u16), String> {
    let key = api::names::storage_key("", "services", Some(namespace), name);
    let service = server.stored(&key).await.map_err(|status| status.message)?;
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
    let port_number =
        |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default().to_owned();
        return Ok((host, u16::try_from(port).unwrap_or_default()));
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let wanted = ports.into_iter().find(|p| p["port"] == port);
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let prefix = api::names::storage_prefix("discovery.k8s.io", "endpointslices", Some(namespace));
    let page = server.store.list(&prefix, None, 0, None).await.map_err(|error| error.to_string())?;
    for entry in &page.entries {
        let slice: Value = serde_json::from_slice(&entry.bytes).unwrap_or_default();
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != name || object::is_deleting(&slice) {
            continue;
        }
        let name_of = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        let ports = slice["ports"].as_array().into_iter().flatten();
        let port = ports.into_iter().find(|p| name_of(p) == name_of(wanted)).map(|p| port_number(&p["port"]));
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.into_iter().find(|endpoint| endpoint["conditions"]["ready"] != false);
        let address = ready.and_then(|endpoint| endpoint["addresses"][0].as_str());
        if let (Some(port), Some(address)) = (port, address) {
            return Ok((address.to_owned(), port));
        }
    }
    Err(format!("no endpoints available for service {name:?}"))
}

/// Trusts what a configuration says, or what this machine does.
fn trust(authority: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots(authority)).with_no_client_auth()))
}

/// The authorities of a configuration; if it names none, those of this machine.
pub(crate) fn roots(authority: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = if authority.is_empty() {
        std::fs::read(SYSTEM_ROOTS).unwrap_or_default()
    } else {
        authority.to_vec()
    };
    for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
        // One that cannot be used does not spoil the others.
        let _ = roots.add(certificate);
    }
    roots
}
