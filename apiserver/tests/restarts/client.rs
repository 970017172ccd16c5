//! Requests over HTTPS to a server that may be gone at any moment; every failure is "gone".

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::Life;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// The object whose creation is the last event.
pub const END: &str = "end";

/// The server does not answer any more.
#[derive(Debug)]
pub struct Gone;

/// A connection to one life of the server.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(life: &Life) -> Result<Self, Gone> {
        let stream = TcpStream::connect(&life.address).await.map_err(|_| Gone)?;
        stream.set_nodelay(true).map_err(|_| Gone)?;
        let name = "localhost".try_into().expect("a name");
        let connector = TlsConnector::from(std::sync::Arc::clone(&life.tls));
        let stream = connector.connect(name, stream).await.map_err(|_| Gone)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Gone)?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn send(
        &mut self,
        method: &str,
        uri: &str,
        body: Option<Value>,
    ) -> Result<Response<Incoming>, Gone> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("host", "localhost").header("content-type", kind);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).expect("a request");
        self.0.ready().await.map_err(|_| Gone)?;
        let response = self.0.send_request(request).await.map_err(|_| Gone)?;
        // What a server says that is ending, or whose etcd is gone.
        if response.status() == 503 { Err(Gone) } else { Ok(response) }
    }

    /// An answer's code and body.
    async fn ask(&mut self, method: &str, uri: &str, body: Option<Value>) -> Result<(u16, Value), Gone> {
        let response = self.send(method, uri, body).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|_| Gone)?.to_bytes();
        Ok((code, serde_json::from_slice(&bytes).expect("JSON")))
    }

    pub async fn create(&mut self, name: &str, step: u32) -> Result<(u16, Value), Gone> {
        let object = json!({"metadata": {"name": name}, "data": {"step": step.to_string()}});
        self.ask("POST", COLLECTION, Some(object)).await
    }

    pub async fn change(&mut self, name: &str, step: u32) -> Result<(u16, Value), Gone> {
        let patch = json!({"data": {"step": step.to_string()}});
        self.ask("PATCH", &format!("{COLLECTION}/{name}"), Some(patch)).await
    }

    pub async fn delete(&mut self, name: &str) -> Result<(u16, Value), Gone> {
        self.ask("DELETE", &format!("{COLLECTION}/{name}"), None).await
    }
}

/// What a list shows.
pub struct List {
    pub revision: u64,
    /// Names, and the revisions that wrote them.
    pub items: BTreeMap<String, u64>,
}

pub async fn list(life: &Life) -> Result<List, Gone> {
    let (code, list) = Connection::open(life).await?.ask("GET", COLLECTION, None).await?;
    assert_eq!(code, 200, "{list}");
    let items = list["items"].as_array().expect("items").iter();
    let items = items.map(|item| (api::object::name(item).to_owned(), revision(item)));
    Ok(List { revision: revision(&list), items: items.filter(|(name, _)| name.starts_with('w')).collect() })
}

pub async fn newest(life: &Life) -> Result<u64, Gone> {
    Ok(list(life).await?.revision)
}

/// Creates the last object; the revision that did.
pub async fn create_end(life: &Life) -> Result<u64, Gone> {
    let (code, object) = Connection::open(life).await?.create(END, 0).await?;
    assert_eq!(code, 201, "{object}");
    Ok(revision(&object))
}

pub fn revision(object: &Value) -> u64 {
    api::object::resource_version(object).parse().expect("a revision")
}

/// An event of a watch, as far as it is looked at.
#[derive(Deserialize)]
pub struct Line {
    #[serde(rename = "type")]
    pub kind: String,
    pub object: Object,
}

#[derive(Deserialize)]
pub struct Object {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Of a Status.
    pub code: Option<u16>,
}

#[derive(Deserialize, Default)]
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "resourceVersion")]
    pub resource_version: String,
}

/// A watch from a revision on: its lines; one that the server's end cut off is no event.
pub async fn watch(life: &Life, after: u64) -> Result<futures::stream::BoxStream<'static, Line>, Gone> {
    let uri = format!("{COLLECTION}?watch=1&allowWatchBookmarks=true&resourceVersion={after}");
    let mut connection = Connection::open(life).await?;
    let response = connection.send("GET", &uri, None).await?;
    assert_eq!(response.status(), 200);
    let state = (connection, response.into_body().into_data_stream(), Vec::new());
    Ok(futures::stream::unfold(state, |(connection, mut frames, mut buffer)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                return Some((
                    serde_json::from_slice(&line).expect("an event"),
                    (connection, frames, buffer),
                ));
            }
            buffer.extend_from_slice(&frames.next().await?.ok()?);
        }
    })
    .boxed())
}
