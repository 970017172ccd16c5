//! The smallest HTTPS client that can load an API server: one HTTP/1.1 connection, one request at a time.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The media type of everything sent here.
pub const JSON: &str = "application/json";

/// Where and as whom to connect.
#[derive(Clone)]
pub struct Target {
    address: String,
    roots: RootCertStore,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

/// TLS with servers of these authorities.
fn believing(roots: &RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots.clone()))
}

impl Target {
    /// From a kubeconfig's first cluster and user.
    pub fn from_kubeconfig(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: serde_json::Value = serde_yaml::from_str(&text)?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let server = cluster["server"].as_str().context("a server address")?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&decoded(&cluster["certificate-authority-data"])?)?);
        let chain = certificates(&decoded(&user["client-certificate-data"])?)?;
        let key = PrivateKeyDer::from_pem_slice(&decoded(&user["client-key-data"])?)?;
        let tls = Arc::new(believing(&roots)?.with_client_auth_cert(chain, key)?);
        Ok(Self { address: server.trim_start_matches("https://").to_owned(), roots, tls, token: None })
    }

    /// For a server of our own with one certificate.
    pub fn new(address: String, certificate: CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let tls = Arc::new(believing(&roots)?.with_no_client_auth());
        Ok(Self { address, roots, tls, token: None })
    }

    /// The same server, asked by whoever has this token.
    pub fn with_token(&self, token: &str) -> Result<Self> {
        let tls = Arc::new(believing(&self.roots)?.with_no_client_auth());
        Ok(Self { tls, token: Some(format!("Bearer {token}")), ..self.clone() })
    }

    /// The same, but no connection takes up what another agreed upon.
    pub fn forgetful(mut self) -> Self {
        let mut tls = (*self.tls).clone();
        tls.resumption = Resumption::disabled();
        self.tls = Arc::new(tls);
        self
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host).to_owned();
        let stream =
            TlsConnector::from(Arc::clone(&self.tls)).connect(ServerName::try_from(host)?, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, host: self.address.clone(), token: self.token.clone() })
    }
}

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: Option<String>,
}

impl Connection {
    /// Sends a request and gives the answer's body to read; any status of 300 and above is an error.
    pub async fn open(&mut self, method: Method, path: &str, accept: &str, body: Bytes) -> Result<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("accept", accept)
            .header("content-type", JSON);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let request = request.body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        if status >= StatusCode::MULTIPLE_CHOICES {
            let text = answer.into_body().collect().await?.to_bytes();
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&text));
        }
        Ok(answer.into_body())
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        Ok(self.open(method, path, JSON, body).await?.collect().await?.to_bytes())
    }

    /// `GET`s an answer and forgets it while it comes in; its length.
    pub async fn drain(&mut self, path: &str, accept: &str) -> Result<usize> {
        let mut body = self.open(Method::GET, path, accept, Bytes::new()).await?;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// `GET`.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// `GET` as JSON.
    pub async fn get_json(&mut self, path: &str) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.get(path).await?)?)
    }

    /// `POST` of JSON.
    pub async fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<Bytes> {
        self.send(Method::POST, path, Bytes::from(serde_json::to_vec(body)?)).await
    }
}

fn decoded(value: &serde_json::Value) -> Result<Vec<u8>> {
    let text = value.as_str().context("inline data in the kubeconfig")?;
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).map(|c| c.context("a certificate")).collect()
}
