//! Calls webhooks: HTTPS to a URL or to a Service, trusting the configuration's own authority.
//!
//! Entry point: [`post`]. A Service is reached at a ready endpoint, so that it works wherever this server
//! runs, and must show a certificate for `NAME.NAMESPACE.svc`. Connections are kept and used again.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::HOST;
use parking_lot::Mutex;
use serde_json::Value;

use crate::backends;
use crate::call::Server;
use crate::transport::{self, Client};

/// Upstream's default for calls whose configuration names no time.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer read: upstream's limit for webhook responses is that of a request body.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Clients for more configurations than this are made anew: each keeps connections open.
const MAX_CLIENTS: usize = 128;

/// Clients that were used, by the name and the authority they trust, each with its open connections.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<(String, Vec<u8>), Client>>);

impl Clients {
    fn get(&self, name: &str, authority: &[u8]) -> Result<Client, String> {
        let key = (name.to_owned(), authority.to_vec());
        if let Some(known) = self.0.lock().get(&key) {
            return Ok(known.clone());
        }
        let client = Client::new(transport::tls(authority, None)?, Some(name.to_owned()));
        let mut clients = self.0.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Where a webhook is.
#[derive(Debug)]
pub(crate) struct Target {
    place: Place,
    path: String,
    /// PEM; empty means the machine's own trust.
    authority: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    /// Name or address, port, and both as written.
    Host(String, u16, String),
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
                let written = uri.authority().map(ToString::to_string).unwrap_or_default();
                (Place::Host(host, uri.port_u16().unwrap_or(443), written), path)
            }
            _ => (Place::Nowhere(format!("parse {url:?}: invalid URL")), String::new()),
        };
        Self { place, path, authority }
    }

    /// Host and port as errors and the `Host` header name them.
    fn authority(&self) -> String {
        match &self.place {
            Place::Host(_, _, written) => written.clone(),
            Place::Service { namespace, name, port } => format!("{name}.{namespace}.svc:{port}"),
            Place::Nowhere(_) => String::new(),
        }
    }

    /// Path and query.
    fn path(&self, seconds: u64) -> String {
        let query = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{query}timeout={seconds}s", self.path)
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
    let path = target.path(timeout.as_secs());
    let url = format!("https://{}{path}", target.authority());
    let named = |error: String| format!("Post {url:?}: {error}");
    tokio::select! {
        outcome = exchange(server, target, &path, review) => match outcome {
            Ok(answer) => transport::document(answer),
            Err(error) => Err(named(error)),
        },
        () = server.clock.sleep(timeout) => Err(named("context deadline exceeded".to_owned())),
    }
}

/// The code and the body of the answer.
async fn exchange(
    server: &Server,
    target: &Target,
    path: &str,
    review: &Value,
) -> Result<(http::StatusCode, Bytes), String> {
    let (address, port, name) = locate(server, target).await?;
    let client = server.webhook_clients.get(&name, &target.authority)?;
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let url = format!("https://{address}:{port}{path}");
    client.exchange(Request::post(url).header(HOST, target.authority()), Some(review), MAX_BYTES).await
}

/// Address, port and the name the certificate must carry.
async fn locate(server: &Server, target: &Target) -> Result<(String, u16, String), String> {
    match &target.place {
        Place::Host(host, port, _) => Ok((host.clone(), *port, host.clone())),
        Place::Nowhere(problem) => Err(problem.clone()),
        Place::Service { namespace, name, port } => {
            let (address, found) = backends::endpoint(server, namespace, name, *port).await?;
            Ok((address, found, format!("{name}.{namespace}.svc")))
        }
    }
}
