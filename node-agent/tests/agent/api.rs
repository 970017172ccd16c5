//! A small API server in memory: lists, watches, status patches, graceful deletion. Enough for the agent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

type Body = BoxBody<Bytes, Infallible>;
/// Plural, namespace, name.
type Name = (String, String, String);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Name, Value>,
    log: Vec<(u64, &'static str, Name, Value)>,
}

/// Clones share the objects.
#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

struct Target {
    plural: String,
    namespace: String,
    name: String,
}

fn target(path: &str) -> Target {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let mut namespace = "";
    if parts[0] == "namespaces" && parts.len() > 2 {
        namespace = parts[1];
        parts.drain(..2);
    }
    let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
    Target { plural: part(0), namespace: namespace.to_owned(), name: part(1) }
}

/// Maps merge, null removes, `conditions` merge by type, other lists are replaced.
fn merge(old: &mut Value, patch: &Value) {
    let (Value::Object(old), Value::Object(patch)) = (&mut *old, patch) else {
        *old = patch.clone();
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => {
                old.remove(key);
            }
            Value::Array(list) if key == "conditions" => {
                let kept = old.entry(key.clone()).or_insert(json!([]));
                for item in list {
                    let same = kept
                        .as_array_mut()
                        .and_then(|kept| kept.iter_mut().find(|condition| condition["type"] == item["type"]));
                    match (same, item) {
                        (Some(same), item) => merge(same, item),
                        (None, item) => kept.as_array_mut().expect("a list").push(item.clone()),
                    }
                }
            }
            Value::Object(_) => merge(old.entry(key.clone()).or_insert(Value::Object(Map::new())), value),
            _ => {
                old.insert(key.clone(), value.clone());
            }
        }
    }
}

fn matches(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        let (path, wanted) = part.split_once('=').expect("a field selector");
        let value = path.split('.').fold(object, |value, key| &value[key]);
        value.as_str().unwrap_or_default() == wanted
    })
}

fn text(code: u16, value: &Value) -> http::Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(value.to_string())).boxed();
    http::Response::builder().status(code).body(body).expect("a response")
}

fn refusal(code: u16, reason: &str) -> http::Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
        "reason": reason, "code": code, "metadata": {}});
    text(code, &status)
}

impl Api {
    pub fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        let user = component_base::user::UserInfo::component("system:node:n1", &["system:nodes"]);
        client::transport::in_process(service, user)
    }

    fn put(&self, name: Name, mut object: Value) -> Value {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let kind = if state.objects.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        state.objects.insert(name.clone(), object.clone());
        state.log.push((revision, kind, name, object.clone()));
        self.changed.send_replace(revision);
        object
    }

    /// Creates or replaces an object from YAML.
    pub fn apply(&self, plural: &str, yaml: &str) {
        let mut object: Value = serde_yaml::from_str(yaml).expect("YAML");
        let meta = &object["metadata"];
        let name = meta["name"].as_str().expect("a name").to_owned();
        let namespace = meta["namespace"].as_str().unwrap_or_default().to_owned();
        if meta["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{name}"));
        }
        self.put((plural.to_owned(), namespace, name), object);
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let state = self.state.lock();
        let found = state.objects.iter().find(|((kind, _, own), _)| kind == plural && own == name);
        found.map(|(_, object)| object.clone())
    }

    pub fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock();
        state
            .objects
            .iter()
            .filter(|((kind, ..), _)| kind == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// A DELETE as a user sends it.
    pub fn delete(&self, plural: &str, name: &str, grace: u64) {
        let key = {
            let state = self.state.lock();
            let mut keys = state.objects.keys();
            keys.find(|(kind, _, own)| kind == plural && own == name).expect("the object").clone()
        };
        self.remove(&key, Some(grace));
    }

    fn remove(&self, key: &Name, grace: Option<u64>) {
        let object = self.state.lock().objects.get(key).cloned();
        let Some(mut object) = object else { return };
        if key.0 == "pods" && grace.is_some_and(|grace| grace > 0) {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            self.put(key.clone(), object);
            return;
        }
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        state.objects.remove(key);
        state.log.push((revision, "DELETED", key.clone(), object));
        self.changed.send_replace(revision);
    }

    /// Waits until `check` holds for the objects of a kind.
    pub async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !check(self) {
                changed.changed().await.expect("the API lives");
            }
        };
        let limit = std::time::Duration::from_secs(20);
        if tokio::time::timeout(limit, wait).await.is_err() {
            let events: Vec<Value> =
                self.list("events").iter().map(|e| json!([e["reason"], e["message"]])).collect();
            panic!("{what} never came true; pods: {:#?}; events: {events:?}", self.list("pods"));
        }
    }

    async fn answer(&self, request: http::Request<kube::client::Body>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=").replace("%2C", ",")))
            .collect();
        let target = target(head.uri.path());
        let key = (target.plural.clone(), target.namespace.clone(), target.name.clone());
        match head.method.as_str() {
            "GET" if target.name.is_empty() => self.read(&target, &query),
            "GET" => self.get_one(&key),
            "POST" => self.create(target, body),
            "PATCH" => self.patch(key, &body),
            "DELETE" => self.delete_one(&key, &body),
            other => panic!("unexpected {other}"),
        }
    }

    fn get_one(&self, key: &Name) -> http::Response<Body> {
        match self.state.lock().objects.get(key) {
            Some(object) => text(200, object),
            None => refusal(404, "NotFound"),
        }
    }

    fn create(&self, target: Target, mut object: Value) -> http::Response<Body> {
        let mut name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if target.plural == "events" {
            // Names of events come from the time, which stands still here.
            name = format!("{name}-{}", self.state.lock().revision);
            object["metadata"]["name"] = json!(name);
        }
        let key = (target.plural, target.namespace, name.clone());
        if self.state.lock().objects.contains_key(&key) {
            return refusal(409, "AlreadyExists");
        }
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        text(201, &self.put(key, object))
    }

    fn patch(&self, key: Name, patch: &Value) -> http::Response<Body> {
        let object = self.state.lock().objects.get(&key).cloned();
        let Some(mut object) = object else { return refusal(404, "NotFound") };
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return refusal(409, "Conflict");
        }
        merge(&mut object, patch);
        text(200, &self.put(key, object))
    }

    fn delete_one(&self, key: &Name, options: &Value) -> http::Response<Body> {
        let object = self.state.lock().objects.get(key).cloned();
        let Some(object) = object else { return refusal(404, "NotFound") };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return refusal(409, "Conflict");
        }
        self.remove(key, options["gracePeriodSeconds"].as_u64());
        text(200, &object)
    }

    fn read(&self, target: &Target, query: &BTreeMap<String, String>) -> http::Response<Body> {
        let selector = query.get("fieldSelector").cloned().unwrap_or_default();
        let plural = target.plural.clone();
        if query.contains_key("watch") {
            let from = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
            return self.watch(plural, selector, from);
        }
        let state = self.state.lock();
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((kind, ..), object)| *kind == plural && matches(object, &selector))
            .map(|(_, object)| object)
            .collect();
        let meta = json!({"resourceVersion": state.revision.to_string()});
        text(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}))
    }

    fn watch(&self, plural: String, selector: String, from: u64) -> http::Response<Body> {
        let start = (self.clone(), self.changed.subscribe(), from);
        let events = stream::unfold(start, move |(api, mut changed, from)| {
            let (plural, selector) = (plural.clone(), selector.clone());
            async move {
                loop {
                    changed.borrow_and_update();
                    let found = api
                        .state
                        .lock()
                        .log
                        .iter()
                        .find(|(revision, _, (kind, ..), object)| {
                            *revision > from && *kind == plural && matches(object, &selector)
                        })
                        .cloned();
                    if let Some((revision, kind, _, object)) = found {
                        let line = format!("{}\n", json!({"type": kind, "object": object}));
                        return Some((line, (api, changed, revision)));
                    }
                    if changed.changed().await.is_err() {
                        return None;
                    }
                }
            }
        });
        let frames = events.map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(line))));
        http::Response::new(BodyExt::boxed(SyncBody(Mutex::new(Box::pin(StreamBody::new(frames))))))
    }
}

/// A stream body is only `Send`; the client wants `Sync` too.
struct SyncBody<B>(Mutex<std::pin::Pin<Box<B>>>);

impl<B: http_body::Body> http_body::Body for SyncBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.lock().as_mut().poll_frame(context)
    }
}
