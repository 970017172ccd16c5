//! A conversion webhook that moves one field, over TLS on a free port.

use std::sync::Arc;

use base64::Engine as _;
use component_base::tls::Pki;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The webhook, until it is stopped.
pub struct Webhook {
    pub port: u16,
    /// Base64 of its authority's PEM.
    pub authority: String,
    task: tokio::task::JoinHandle<()>,
}

impl Webhook {
    pub fn stop(self) {
        self.task.abort();
    }
}

pub async fn start(pki: &Arc<Pki>) -> Webhook {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut config = (*pki.server_config().expect("a configuration")).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let serve = hyper::server::conn::http1::Builder::new();
            // A caller that goes away is no failure of the test.
            let _ = serve.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        }
    });
    let authority = base64::engine::general_purpose::STANDARD.encode(pki.authority_pem());
    Webhook { port, authority, task }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.uri().path(), "/convert");
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = review["request"]["objects"].as_array().cloned().unwrap_or_default();
    let converted: Vec<Value> = objects.into_iter().map(|object| convert(object, wanted)).collect();
    let answer = json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"],
        "response": {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted},
    });
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

fn convert(mut object: Value, wanted: &str) -> Value {
    let (from, to) =
        if wanted.ends_with("/v1") { ("secret", "secretName") } else { ("secretName", "secret") };
    if let Some(spec) = object["spec"].as_object_mut()
        && let Some(value) = spec.remove(from)
    {
        spec.insert(to.to_owned(), value);
    }
    object["apiVersion"] = wanted.into();
    object
}
