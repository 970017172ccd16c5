//! A webhook server over TLS on a free port, which does what the path of the request says.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::clock::FakeClock;
use component_base::tls::Pki;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Longer than any webhook may take.
const TOO_LONG: Duration = Duration::from_secs(31);

/// What was asked, in order: the path without its slash, and the request.
type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// The server, as long as the test runs.
pub struct Hooks {
    pub port: u16,
    /// Base64 of its authority's PEM.
    pub authority: String,
    log: Log,
    connections: Arc<Mutex<usize>>,
}

impl Hooks {
    pub async fn start(pki: &Arc<Pki>, clock: &Arc<FakeClock>) -> Self {
        let mut config = (*pki.server_config().expect("a configuration")).clone();
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (log, connections): (Log, Arc<Mutex<usize>>) = Default::default();
        let (seen, count, clock) = (Arc::clone(&log), Arc::clone(&connections), Arc::clone(clock));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                *count.lock() += 1;
                let (acceptor, log, clock) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&clock));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(|request| answer(request, Arc::clone(&log), Arc::clone(&clock)));
                    // A caller that goes away is no failure of the test.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve)
                        .await;
                });
            }
        });
        let authority = STANDARD.encode(pki.authority_pem());
        Self { port, authority, log, connections }
    }

    /// A webhook that does what `path` says.
    pub fn hook(&self, name: &str, path: &str, changes: Value) -> Value {
        let url = format!("https://localhost:{}/{path}", self.port);
        let mut hook = json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": url, "caBundle": self.authority},
            "rules": [super::maps_rule(&["*"])],
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            hook[key] = value.clone();
        }
        hook
    }

    /// What was asked since the last call.
    pub fn taken(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.log.lock())
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Log,
    clock: Arc<FakeClock>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    log.lock().push((path.clone(), review["request"].clone()));
    if path == "convert" {
        return Ok(Response::new(Full::new(Bytes::from(converted(&review).to_string()))));
    }
    let (what, argument) = path.split_once('/').unwrap_or((&path, ""));
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    match what {
        "hang" => {
            clock.advance(TOO_LONG);
            std::future::pending::<()>().await;
        }
        "junk" => return Ok(Response::new(Full::new(Bytes::from_static(b"hello")))),
        "other" => response["uid"] = "other".into(),
        "error" => {
            let mut refused = Response::new(Full::new(Bytes::from_static(b"broken")));
            *refused.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(refused);
        }
        "deny" => {
            response["allowed"] = false.into();
            response["status"] = json!({"message": "not here", "code": 418, "reason": "Teapot"});
        }
        "warn" => {
            response["warnings"] = json!(["mind the gap"]);
            response["auditAnnotations"] = json!({"key": "value"});
        }
        "step" => patch(&mut response, &step(&review["request"]["object"], argument)),
        "raw" => patch(&mut response, &json!([{"op": "add", "path": "/nonsense", "value": 1}])),
        "type" => patch(&mut response, &json!([{"op": "add", "path": "/data", "value": 1}])),
        _ => {}
    }
    let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// The answer to a review of a conversion: the objects, marked.
fn converted(review: &Value) -> Value {
    let mut objects = review["request"]["objects"].clone();
    for object in objects.as_array_mut().into_iter().flatten() {
        object["apiVersion"] = review["request"]["desiredAPIVersion"].clone();
        object["converted"] = true.into();
    }
    let response = json!({"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects});
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
}

/// Appends a word to the label `steps`.
fn step(object: &Value, word: &str) -> Value {
    let before = object["metadata"]["labels"]["steps"].as_str().unwrap_or_default();
    let steps = [before, word].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
    match object["metadata"]["labels"].is_object() {
        true => json!([{"op": "add", "path": "/metadata/labels/steps", "value": steps}]),
        false => json!([{"op": "add", "path": "/metadata/labels", "value": {"steps": steps}}]),
    }
}

fn patch(response: &mut Value, patch: &Value) {
    response["patch"] = STANDARD.encode(patch.to_string()).into();
    response["patchType"] = "JSONPatch".into();
}
