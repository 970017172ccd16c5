//! What clients may do with every kind that has all verbs: discovery, create, get, list, watch, patch, update,
//! status, delete, deletecollection. A kind without a sample here fails the test.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "lifecycle/samples.rs"]
mod samples;
#[path = "scene/server.rs"]
mod scene;
#[path = "scene/watch.rs"]
mod watch;

use std::sync::Arc;

use api::kinds::{Kind, Scope};
use apiserver::LocalService;
use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const LIVES: &str = "?labelSelector=lives";

struct World {
    server: LocalService,
    _directory: tempfile::TempDir,
}

async fn world() -> World {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (config, directory) = scene::config(None, clock.now());
    let running = apiserver::run(config, Memory::open(), clock, Rng::seeded(1), Shutdown::new()).await;
    World { server: running.expect("a server").local, _directory: directory }
}

impl World {
    async fn answer(&self, method: &str, path: &str, accept: &str, body: &Value) -> Response<Body> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let mut request = request.header("accept", accept).body(Body::from(text)).expect("a request");
        request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
        self.server.answer(request).await
    }

    async fn read(response: Response<Body>) -> (u16, Value) {
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        Self::read(self.answer(method, path, "application/json", body).await).await
    }

    #[track_caller]
    fn ok(&self, method: &str, path: &str, body: &Value) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        async move {
            let (code, answer) = self.send(method, path, body).await;
            assert!((200..300).contains(&code), "line {}: {method} {path} {body}: {answer}", at.line());
            answer
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, &Value::Null).await
    }

    async fn code(&self, method: &str, path: &str, body: &Value) -> u16 {
        self.send(method, path, body).await.0
    }

    /// Deletes, and takes away what keeps the object.
    async fn delete(&self, path: &str) {
        self.ok("DELETE", path, &Value::Null).await;
        let (code, mut held) = self.send("GET", path, &Value::Null).await;
        if code == 200 {
            assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
            if held["spec"]["finalizers"].is_array() {
                held["spec"]["finalizers"] = json!([]);
                self.ok("PUT", &format!("{path}/finalize"), &held).await;
            } else {
                self.ok("PATCH", path, &json!({"metadata": {"finalizers": null}})).await;
            }
        }
        assert_eq!(self.code("GET", path, &Value::Null).await, 404, "{path}");
    }

    /// Types of events about one object, until it is deleted.
    async fn events(&self, path: &str, name: &str) -> Vec<String> {
        let watch = self.answer("GET", path, "application/json", &Value::Null).await.into_body();
        let about = |event: &Value| event["object"]["metadata"]["name"] == name;
        let seen = watch::until(watch, |event| about(event) && event["type"] == "DELETED").await;
        let types = seen.iter().filter(|event| about(event)).map(|event| event["type"].as_str());
        types.map(|kind| kind.unwrap_or_default().to_owned()).collect()
    }
}

/// Kinds whose new objects the server itself writes to, once, and what it writes.
const WRITTEN_BY_THE_SERVER: [(&str, &str); 1] =
    [("validatingadmissionpolicies", "/status/observedGeneration")];

/// The number goes where `#` stands; an object without a name of its own is `x#`.
fn numbered(sample: &Value, number: u8) -> Value {
    let mut object = sample.clone();
    let metadata = object["metadata"].as_object_mut();
    if metadata.is_none_or(|metadata| !metadata.contains_key("name")) {
        object["metadata"]["name"] = "x#".into();
    }
    object["metadata"]["labels"]["lives"] = "yes".into();
    serde_json::from_str(&object.to_string().replace('#', &number.to_string())).expect("JSON")
}

fn base(kind: &Kind) -> String {
    match &*kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    }
}

/// Whether all that is said here is in the object, too.
fn holds(object: &Value, said: &Value) -> bool {
    match (object, said) {
        (Value::Object(object), Value::Object(said)) => {
            said.iter().all(|(key, said)| object.get(key).is_some_and(|value| holds(value, said)))
        }
        (Value::Array(list), Value::Array(said)) => {
            said.iter().all(|said| list.iter().any(|value| holds(value, said)))
        }
        _ => object == said,
    }
}

/// The life of a kind's objects.
async fn live(world: &World, kind: &Kind, sample: &Value, status: &Value) {
    let everywhere = format!("{}/{}", base(kind), kind.plural);
    let collection = match kind.scope {
        Scope::Namespaced => format!("{}/namespaces/default/{}", base(kind), kind.plural),
        Scope::Cluster => everywhere.clone(),
    };
    let before = world.get(&format!("{collection}{LIVES}")).await;
    assert_eq!((&before["kind"], &before["items"]), (&json!(kind.list_kind()), &json!([])), "{collection}");

    let object = numbered(sample, 1);
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let one = format!("{collection}/{name}");
    let mut made = world.ok("POST", &collection, &object).await;
    assert_eq!(made["metadata"]["name"], name);
    if let Some((_, written)) = WRITTEN_BY_THE_SERVER.iter().find(|(plural, _)| *plural == kind.plural) {
        let watch = format!("{collection}?watch=1&fieldSelector=metadata.name={name}");
        let watch = world.answer("GET", &watch, "application/json", &Value::Null).await.into_body();
        let seen = watch::until(watch, |event| event["object"].pointer(written).is_some()).await;
        made = seen.last().expect("an event")["object"].clone();
    }
    assert_eq!(world.get(&one).await, made);
    assert_eq!(world.code("POST", &collection, &object).await, 409, "{one}");
    for list in [&collection, &everywhere] {
        let list = world.get(&format!("{list}{LIVES}")).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(list["items"][0]["metadata"], made["metadata"]);
    }

    let patched = world.ok("PATCH", &one, &json!({"metadata": {"annotations": {"patched": "true"}}})).await;
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    let mut next = patched.clone();
    next["metadata"]["annotations"]["updated"] = "true".into();
    let updated = world.ok("PUT", &one, &next).await;
    assert_eq!(updated["metadata"]["annotations"], next["metadata"]["annotations"], "{one}");
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(world.code("PUT", &one, &made).await, 409, "{one}: an older version");
    has_a_status(world, kind, &one, status).await;

    world.delete(&one).await;
    let since = before["metadata"]["resourceVersion"].as_str().expect("a version");
    let seen = world.events(&format!("{collection}{LIVES}&watch=1&resourceVersion={since}"), &name).await;
    assert_eq!((&*seen[0], &*seen[1]), ("ADDED", "MODIFIED"), "{seen:?}");
    assert!(seen[1..seen.len() - 1].iter().all(|event| event == "MODIFIED"), "{seen:?}");

    if kind.verbs.contains(&"deletecollection") {
        for number in [2, 3] {
            world.ok("POST", &collection, &numbered(sample, number)).await;
        }
        world
            .ok("PATCH", &path_of(&collection, sample, 3), &json!({"metadata": {"labels": {"lives": null}}}))
            .await;
        world.ok("DELETE", &format!("{collection}{LIVES}"), &Value::Null).await;
        let (code, held) = world.send("GET", &path_of(&collection, sample, 2), &Value::Null).await;
        assert!(code == 404 || held["metadata"]["deletionTimestamp"].is_string(), "{held}");
        let other = world.get(&path_of(&collection, sample, 3)).await;
        assert!(other["metadata"]["deletionTimestamp"].is_null(), "{other}");
        world.delete(&path_of(&collection, sample, 3)).await;
    }
}

fn path_of(collection: &str, sample: &Value, number: u8) -> String {
    let object = numbered(sample, number);
    format!("{collection}/{}", object["metadata"]["name"].as_str().expect("a name"))
}

/// A status is written through its own door, and only there.
async fn has_a_status(world: &World, kind: &Kind, one: &str, status: &Value) {
    let door = format!("{one}/status");
    if !kind.subresources.iter().any(|subresource| subresource.name == "status") {
        assert_eq!(world.code("GET", &door, &Value::Null).await, 404, "{door}");
        return;
    }
    let before = world.get(one).await;
    assert_eq!(world.get(&door).await, before);
    let change = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status});
    let ignored = world.ok("PATCH", one, &json!({"status": status})).await;
    assert_eq!(ignored["status"], before["status"], "{one}");
    let patched = world.ok("PATCH", &door, &change).await;
    assert!(holds(&patched, &change), "{door}: {patched}");
    let mut next = patched.clone();
    next["metadata"]["annotations"]["updatedstatus"] = "true".into();
    let updated = world.ok("PUT", &door, &next).await;
    assert_eq!(updated["metadata"]["annotations"], next["metadata"]["annotations"], "{door}");
    assert_eq!((&updated["spec"], &updated["status"]), (&before["spec"], &patched["status"]), "{door}");
    assert_eq!(world.get(one).await, updated);
}

/// The kinds this is about.
fn kinds() -> Vec<Arc<Kind>> {
    let table = api::kinds::builtin();
    let whole = |kind: &&Arc<Kind>| {
        ["create", "delete", "list", "update", "watch"].iter().all(|verb| kind.verbs.contains(verb))
    };
    table.iter().filter(whole).cloned().collect()
}

#[tokio::test]
async fn objects_of_every_kind_live_and_die() {
    let world = world().await;
    let samples = samples::samples();
    for kind in kinds() {
        let resource = format!("{}/{}/{}", kind.group, kind.version, kind.plural);
        let sample = samples.iter().find(|(of, ..)| *of == resource);
        let (_, sample, status) = sample.unwrap_or_else(|| panic!("no sample of {resource}"));
        live(&world, &kind, sample, status).await;
    }
}

#[tokio::test]
async fn every_kind_is_discovered() {
    let world = world().await;
    let groups = world.get("/apis").await;
    let mut aggregated = Vec::new();
    for path in ["/api", "/apis"] {
        let (code, document) = World::read(world.answer("GET", path, AGGREGATED, &Value::Null).await).await;
        assert_eq!((code, &document["kind"]), (200, &json!("APIGroupDiscoveryList")));
        aggregated.extend(document["items"].as_array().cloned().expect("items"));
    }
    for group in groups["groups"].as_array().expect("groups") {
        let versions = group["versions"].as_array().expect("versions");
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        let path = format!("/apis/{}", group["name"].as_str().expect("a name"));
        assert_eq!(world.get(&path).await["versions"], group["versions"]);
    }
    for kind in kinds() {
        let version = format!("{}/{}", kind.group, kind.version);
        let list = world.get(&base(&kind)).await;
        assert_eq!(list["groupVersion"], version.trim_start_matches('/'));
        let resources = list["resources"].as_array().expect("resources");
        let entry = resources.iter().find(|entry| entry["name"] == *kind.plural).expect("an entry");
        let expect = (json!(kind.kind), json!(kind.scope == Scope::Namespaced), json!(kind.verbs));
        assert_eq!((entry["kind"].clone(), entry["namespaced"].clone(), entry["verbs"].clone()), expect);
        let status = format!("{}/status", kind.plural);
        let has = kind.subresources.iter().any(|subresource| subresource.name == "status");
        assert_eq!(resources.iter().any(|entry| entry["name"] == status), has, "{status}");

        let group = aggregated
            .iter()
            .find(|group| group["metadata"]["name"].as_str().unwrap_or_default() == kind.group);
        let mut versions = group.expect("a group")["versions"].as_array().expect("versions").iter();
        let version = versions.find(|version| version["version"] == *kind.version).expect("a version");
        let mut resources = version["resources"].as_array().expect("resources").iter();
        let found = resources.find(|resource| resource["resource"] == *kind.plural).expect("a resource");
        assert_eq!(
            (&found["responseKind"]["kind"], &found["verbs"]),
            (&json!(kind.kind), &json!(kind.verbs))
        );
    }
}
