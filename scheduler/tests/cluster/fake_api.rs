//! Just enough of an API server, in process: list, watch, binding, status patches, events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use component_base::user::UserInfo;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Default)]
struct State {
    revision: u64,
    /// (resource, namespace, name) → object.
    objects: BTreeMap<(String, String, String), Value>,
    /// Everything that happened: revision, resource, line of a watch.
    history: Vec<(u64, String, String)>,
    watchers: Vec<(String, mpsc::UnboundedSender<String>)>,
    /// This many bindings fail.
    failing_bindings: usize,
    /// Pod and node of each binding that was accepted.
    bindings: Vec<(String, String)>,
    /// `reason: message` of recorded events.
    events: Vec<String>,
}

/// The server. Clones share it.
#[derive(Clone)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl FakeApi {
    pub fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                Ok::<_, Infallible>(api.answer(&parts, &body))
            }
        });
        client::transport::in_process(service, UserInfo::component("system:kube-scheduler", &[]))
    }

    /// Creates or replaces an object.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.state.lock();
        let name = text(&object["metadata"]["name"]);
        let namespace = text(&object["metadata"]["namespace"]);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{name}"));
        }
        state.put(resource, &namespace, &name, object);
        drop(state);
        self.tell();
    }

    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let mut state = self.state.lock();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key).expect("it is there");
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        state.emit(resource, "DELETED", &object);
        drop(state);
        self.tell();
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Value {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&key).cloned().unwrap_or(Value::Null)
    }

    pub fn fail_bindings(&self, count: usize) {
        self.state.lock().failing_bindings = count;
    }

    pub fn bindings(&self) -> Vec<(String, String)> {
        self.state.lock().bindings.clone()
    }

    pub fn events(&self) -> Vec<String> {
        self.state.lock().events.clone()
    }

    /// Completes when `holds` does.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !holds(self) {
            changed.changed().await.expect("the server lives");
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn answer(&self, parts: &http::request::Parts, body: &[u8]) -> http::Response<Body> {
        let path: Vec<&str> = parts.uri.path().trim_start_matches("/api/v1/").split('/').collect();
        let query = parts.uri.query().unwrap_or_default();
        let mut state = self.state.lock();
        let response = match (parts.method.as_str(), &path[..]) {
            ("GET", [resource]) if query.contains("watch=") => state.watch(resource, query),
            ("GET", [resource]) => state.list(resource),
            ("POST", ["namespaces", namespace, "pods", name, "binding"]) => state.bind(namespace, name, body),
            ("PATCH", ["namespaces", namespace, "pods", name, "status"]) => {
                state.patch_status(namespace, name, body)
            }
            ("POST" | "PATCH", ["namespaces", _, "events", ..]) => {
                let event: Value = serde_json::from_slice(body).expect("JSON");
                state.events.push(format!("{}: {}", text(&event["reason"]), text(&event["message"])));
                whole(201, &event)
            }
            other => panic!("not served: {other:?}"),
        };
        drop(state);
        self.tell();
        response
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn whole(code: u16, value: &Value) -> http::Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    http::Response::builder().status(code).body(body).expect("a response")
}

fn status(code: u16, reason: &str) -> http::Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": reason});
    whole(code, &body)
}

impl State {
    fn put(&mut self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let verb = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.emit(resource, verb, &object);
        self.objects.insert(key, object);
    }

    fn emit(&mut self, resource: &str, verb: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": verb, "object": object}));
        self.history.push((self.revision, resource.to_owned(), line.clone()));
        self.watchers.retain(|(watched, sender)| watched != resource || sender.send(line.clone()).is_ok());
    }

    fn list(&self, resource: &str) -> http::Response<Body> {
        let items: Vec<&Value> =
            self.objects.iter().filter(|((r, _, _), _)| r == resource).map(|(_, object)| object).collect();
        let list = json!({"kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.revision.to_string()}, "items": items});
        whole(200, &list)
    }

    fn watch(&mut self, resource: &str, query: &str) -> http::Response<Body> {
        let after = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let after: u64 = after.and_then(|after| after.parse().ok()).expect("a revision");
        let missed: Vec<String> = self
            .history
            .iter()
            .filter(|(revision, watched, _)| *revision > after && watched == resource)
            .map(|(_, _, line)| line.clone())
            .collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watchers.push((resource.to_owned(), sender));
        let live =
            futures::stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<String>| {
                receiver.recv().await.map(|line| (line, receiver))
            });
        let lines: BoxStream<'static, String> = futures::stream::iter(missed).chain(live).boxed();
        let frames = lines.map(|line| Ok(http_body::Frame::data(Bytes::from(line))));
        http::Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn bind(&mut self, namespace: &str, name: &str, body: &[u8]) -> http::Response<Body> {
        if self.failing_bindings > 0 {
            self.failing_bindings -= 1;
            return status(500, "InternalError");
        }
        let binding: Value = serde_json::from_slice(body).expect("JSON");
        let key = ("pods".to_owned(), namespace.to_owned(), name.to_owned());
        let Some(mut pod) = self.objects.get(&key).cloned() else { return status(404, "NotFound") };
        if !pod["spec"]["nodeName"].is_null() || pod["metadata"]["uid"] != binding["metadata"]["uid"] {
            return status(409, "Conflict");
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        self.bindings.push((name.to_owned(), text(&binding["target"]["name"])));
        self.put("pods", namespace, name, pod);
        whole(201, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }

    fn patch_status(&mut self, namespace: &str, name: &str, body: &[u8]) -> http::Response<Body> {
        let patch: Value = serde_json::from_slice(body).expect("JSON");
        let key = ("pods".to_owned(), namespace.to_owned(), name.to_owned());
        let Some(mut pod) = self.objects.get(&key).cloned() else { return status(404, "NotFound") };
        pod["status"]["conditions"] = patch["status"]["conditions"].clone();
        self.put("pods", namespace, name, pod.clone());
        whole(200, &pod)
    }
}
