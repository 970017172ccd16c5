//! The way to other servers: webhooks, issuers of tokens, who takes audit events, aggregated servers, nodes.
//!
//! Entry points: [`tls`] says whom to believe and what to show, [`connect`] opens one connection, [`Client`] keeps
//! connections and uses them again, [`Remote`] is a server that a kubeconfig names. Errors have the words of Go's
//! client, since they end in events and refusals that people look up.

mod connection;
mod kubeconfig;
mod trust;

use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use connection::Connector;
pub(crate) use connection::connect;
pub(crate) use kubeconfig::Remote;
pub(crate) use trust::verifier;

/// What is said of a server that takes too long.
pub(crate) const TOO_LATE: &str = "context deadline exceeded";

/// A certificate chain and its key, in PEM.
pub(crate) struct Shown<'a> {
    pub(crate) certificate: &'a [u8],
    pub(crate) key: &'a [u8],
}

/// TLS with servers of these authorities (PEM), or of those this machine trusts when there are none.
///
/// # Errors
/// When there is nobody to believe, or a certificate cannot be used with its key.
pub(crate) fn tls(authorities: &[u8], shown: Option<Shown<'_>>) -> Result<Arc<ClientConfig>, String> {
    tls_with(verifier(authorities)?, shown)
}

fn tls_with(
    verifier: Arc<dyn ServerCertVerifier>,
    shown: Option<Shown<'_>>,
) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(Shown { certificate, key }) = shown else { return Ok(Arc::new(config.with_no_client_auth())) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| format!("client-certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client-key: {error}"))?;
    config.with_client_auth_cert(chain, key).map(Arc::new).map_err(|error| error.to_string())
}

/// Open connections to the servers of one configuration.
#[derive(Clone)]
pub(crate) struct Client {
    pool: legacy::Client<Connector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Speaks TLS by a configuration. Servers must show a certificate for `name`, or for the host of a request.
    pub(crate) fn new(tls: Arc<ClientConfig>, name: Option<String>) -> Self {
        let connector = Connector { tls: TlsConnector::from(tls), name };
        let pool = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { pool, authorization: None }
    }

    /// The same, with credentials in every request.
    fn authorized(mut self, credentials: Option<HeaderValue>) -> Self {
        self.authorization = credentials;
        self
    }

    /// Sends JSON, or asks when there is none to send: code and bytes of the answer, of which more than `most` are
    /// not read.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub(crate) async fn exchange(
        &self,
        request: http::request::Builder,
        document: Option<&Value>,
        most: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = request.header(ACCEPT, "application/json, */*");
        if document.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(credentials) = &self.authorization {
            request = request.header(AUTHORIZATION, credentials);
        }
        let body = document.map_or_else(Bytes::new, |document| document.to_string().into());
        let request: Request<Full<Bytes>> =
            request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answer = self.pool.request(request).await.map_err(|error| root(&error))?;
        let code = answer.status();
        let body = Limited::new(answer.into_body(), most).collect().await;
        Ok((code, body.map_err(|error| error.to_string())?.to_bytes()))
    }
}

/// What is at the bottom of a client's error.
fn root(error: &legacy::Error) -> String {
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    // Go's word for a peer that hangs up.
    if text.contains("connection closed before message completed") { "EOF".to_owned() } else { text }
}

/// The document in an answer.
///
/// # Errors
/// When the answer is another than success, or no JSON.
pub(crate) fn document((code, bytes): (StatusCode, Bytes)) -> Result<Value, String> {
    if !code.is_success() {
        return Err(match code.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            400 => "the server rejected our request for an unknown reason".to_owned(),
            _ => format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                String::from_utf8_lossy(bytes.get(..2048).unwrap_or(&bytes)).trim()
            ),
        });
    }
    api::codec::json::decode(&bytes)
        .map(|tree| tree.value)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
}
