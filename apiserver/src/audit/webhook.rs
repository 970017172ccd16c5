//! The audit webhook: events sent in batches to another server (upstream's `--audit-webhook-config-file`).
//!
//! Entry points: [`Webhook::open`] reads the kubeconfig that names the server, [`run`] sends. A batch goes when it is
//! full or has waited long enough; one that cannot be sent is tried again a few times and then dropped and counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use component_base::clock::SharedClock;
use component_base::shutdown::Shutdown;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::event::Event;
use super::{AuditError, count_error};
use crate::webhook_client::verifier;

/// Tries of a batch before it is dropped (upstream's `DefaultRetryBackoffWithInitialDelay`).
const TRIES: u32 = 5;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Where events are sent, and how many together.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// A kubeconfig whose current context names the server.
    pub config_file: PathBuf,
    /// Events that may wait; further ones are dropped.
    pub buffer_size: usize,
    /// Events sent together at most.
    pub max_size: usize,
    /// How long the first event of a batch waits for others.
    pub max_wait: Duration,
    /// Pause after a failure; each further one is half as long again.
    pub initial_backoff: Duration,
}

impl WebhookOptions {
    /// Upstream's sizes and times.
    pub fn new(config_file: PathBuf) -> Self {
        Self {
            config_file,
            buffer_size: 10_000,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// A server that takes events.
pub(super) struct Webhook {
    host: String,
    port: u16,
    path: String,
    token: Option<String>,
    /// `None` speaks HTTP without TLS.
    tls: Option<Arc<ClientConfig>>,
}

fn wrong(path: &Path, why: impl ToString) -> AuditError {
    AuditError::Webhook { path: path.to_owned(), why: why.to_string() }
}

impl Webhook {
    /// Reads a kubeconfig.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| AuditError::File { path: path.to_owned(), source })?;
        let config: Value = serde_yaml::from_str(&text).map_err(|_| wrong(path, "it is no kubeconfig"))?;
        let named = |list: &str, name: &Value| {
            let all = config[list].as_array().into_iter().flatten();
            all.into_iter().find(|one| one["name"] == *name).cloned().unwrap_or_default()
        };
        let context = named("contexts", &config["current-context"]);
        let cluster = named("clusters", &context["context"]["cluster"])["cluster"].clone();
        let user = named("users", &context["context"]["user"])["user"].clone();
        let server = cluster["server"].as_str().unwrap_or_default();
        let uri: http::Uri = server.parse().map_err(|_| wrong(path, format!("{server:?} is no URL")))?;
        let host = uri.host().ok_or_else(|| wrong(path, format!("{server:?} names no server")))?;
        let secure = uri.scheme_str() == Some("https");
        let tls = if secure { Some(tls(&cluster, &user).map_err(|why| wrong(path, why))?) } else { None };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            token: user["token"].as_str().map(str::to_owned),
            tls,
        })
    }

    async fn send(&self, events: &[Value]) -> Result<(), String> {
        let list =
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events});
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| e.to_string())?;
        match &self.tls {
            None => self.exchange(stream, &list).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
                self.exchange(stream, &list).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        list: &Value,
    ) -> Result<(), String> {
        let request =
            Request::post(&self.path).header(HOST, &self.host).header(CONTENT_TYPE, "application/json");
        let request = match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Body::from(list.to_string())).map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let answer = tokio::select! {
            answer = sender.send_request(request) => answer.map_err(|error| error.to_string())?,
            ended = connection => return Err(format!("the connection ended: {ended:?}")),
        };
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

/// PEM in the file itself or in another one.
fn pem(section: &Value, field: &str) -> Result<Vec<u8>, String> {
    if let Some(data) = section[&format!("{field}-data")].as_str() {
        return BASE64_STANDARD.decode(data).map_err(|_| format!("{field}-data is not base64"));
    }
    match section[field].as_str() {
        Some(path) => std::fs::read(path).map_err(|error| format!("{path}: {error}")),
        None => Ok(Vec::new()),
    }
}

fn tls(cluster: &Value, user: &Value) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let judge = verifier(&pem(cluster, "certificate-authority")?)?;
    let config = config.dangerous().with_custom_certificate_verifier(judge);
    let (certificate, key) = (pem(user, "client-certificate")?, pem(user, "client-key")?);
    if certificate.is_empty() {
        return Ok(Arc::new(config.with_no_client_auth()));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|error| format!("client-certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("client-key: {error}"))?;
    config.with_client_auth_cert(chain, key).map(Arc::new).map_err(|error| error.to_string())
}

/// Sends what comes until the server ends; what waits then is sent once more without waiting.
pub(super) async fn run(
    webhook: Webhook,
    options: WebhookOptions,
    mut events: mpsc::Receiver<Event>,
    (clock, shutdown): (SharedClock, Shutdown),
) {
    loop {
        let mut batch = Vec::new();
        let ended = collect(&mut events, &mut batch, &options, &clock, &shutdown).await;
        if !batch.is_empty() {
            deliver(&webhook, &batch, &options, &clock, if ended { 1 } else { TRIES }).await;
        }
        if ended {
            return;
        }
    }
}

/// Fills a batch; whether the server ends.
async fn collect(
    events: &mut mpsc::Receiver<Event>,
    batch: &mut Vec<Value>,
    options: &WebhookOptions,
    clock: &SharedClock,
    shutdown: &Shutdown,
) -> bool {
    tokio::select! {
        first = events.recv() => match first {
            Some(first) => batch.push(first.to_json()),
            None => return true,
        },
        () = shutdown.triggered() => {}
    }
    let full = clock.sleep(options.max_wait);
    tokio::pin!(full);
    while batch.len() < options.max_size {
        tokio::select! {
            biased;
            next = events.recv() => match next {
                Some(next) => batch.push(next.to_json()),
                None => return true,
            },
            () = shutdown.triggered() => return true,
            () = &mut full => return false,
        }
    }
    false
}

async fn deliver(
    webhook: &Webhook,
    batch: &[Value],
    options: &WebhookOptions,
    clock: &SharedClock,
    tries: u32,
) {
    let mut pause = options.initial_backoff;
    for left in (0..tries).rev() {
        let outcome = tokio::select! {
            outcome = webhook.send(batch) => outcome,
            () = clock.sleep(ANSWER) => Err("it did not answer".to_owned()),
        };
        let Err(why) = outcome else { return };
        if left == 0 {
            tracing::error!(
                why,
                events = batch.len(),
                "the audit webhook did not take events; they are dropped"
            );
            batch.iter().for_each(|_| count_error("webhook"));
        } else {
            clock.sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
    }
}
