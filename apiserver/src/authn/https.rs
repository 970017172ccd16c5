//! HTTPS to those who know more of tokens: issuers and webhooks.
//!
//! Entry point: [`Client::exchange`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::call::Server;

/// For a whole exchange (upstream's client of issuers).
const TIMEOUT: Duration = Duration::from_secs(30);
/// No document about keys is larger.
const MAX_BYTES: usize = 1 << 20;
/// Authorities this machine trusts, for whoever names none.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whom to believe, and what to show.
#[derive(Debug, Clone)]
pub(super) struct Client {
    config: Arc<ClientConfig>,
    bearer: Option<String>,
}

impl Client {
    /// Believes servers of these authorities (PEM), or of the machine's own when there are none; shows a certificate
    /// with its key (PEM) and a token if they are given.
    pub(super) fn new(
        authorities: &str,
        identity: Option<(&str, &str)>,
        bearer: Option<String>,
    ) -> Result<Self, String> {
        let machine =
            if authorities.is_empty() { std::fs::read(SYSTEM_ROOTS).unwrap_or_default() } else { Vec::new() };
        let mut roots = RootCertStore::empty();
        let pem: &[u8] = if authorities.is_empty() { &machine } else { authorities.as_bytes() };
        // One that cannot be used does not spoil the others.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).flatten().collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
        };
        Ok(Self { config: Arc::new(config), bearer })
    }

    /// Sends JSON, or asks when there is none to send; the code and the bytes of the answer.
    pub(super) async fn exchange(
        &self,
        server: &Server,
        url: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, Bytes), String> {
        tokio::select! {
            outcome = self.send(url, body) => outcome.map_err(|problem| format!("{url:?}: {problem}")),
            () = server.clock.sleep(TIMEOUT) => Err(format!("{url:?}: context deadline exceeded")),
        }
    }

    async fn send(&self, url: &str, body: Option<String>) -> Result<(StatusCode, Bytes), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let uri: Uri = url.parse().map_err(|_| "invalid URL".to_owned())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let authority = authority.ok_or("expected an https URL")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| format!("dial tcp {host}:{port}: connect: {error}"))?;
        let name = ServerName::try_from(host).map_err(|error| text(&error))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, stream).await.map_err(|error| text(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        let request = self.request(&uri, authority.as_str(), body)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| text(&error))?;
            let code = answer.status();
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            Ok((code, body.map_err(|error| text(&error))?.to_bytes()))
        };
        // The connection moves while somebody drives it, and goes with the exchange.
        let drive = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            outcome = exchange => outcome,
            never = drive => never,
        }
    }

    fn request(&self, uri: &Uri, host: &str, body: Option<String>) -> Result<Request<Body>, String> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json, */*");
        if let Some(token) = &self.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(body.map_or_else(Body::empty, Body::from)).map_err(|error| error.to_string())
    }
}
