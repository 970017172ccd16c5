//! Custom resources end to end over the memory store: definition, objects, versions, deletion.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "scene/server.rs"]
mod scene;
#[path = "custom_resources/selection.rs"]
mod selection;
#[path = "custom_resources/strictness.rs"]
mod strictness;
#[path = "scene/watch.rs"]
mod watch;
#[path = "custom_resources/webhook.rs"]
mod webhook;

use std::sync::Arc;

use apiserver::LocalService;
use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CERTIFICATES: &str = "/apis/cert.example.io/v1/namespaces/default/certificates";

struct World {
    server: LocalService,
    pki: Arc<component_base::tls::Pki>,
    _directory: tempfile::TempDir,
}

async fn world() -> World {
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let (config, directory) = scene::config(None, clock.now());
    let (store, pki) = (Memory::open(), Arc::clone(&config.pki));
    let running =
        apiserver::run(config, store as _, Arc::clone(&clock) as _, Rng::seeded(1), Shutdown::new());
    World { server: running.await.expect("a server").local, pki, _directory: directory }
}

impl World {
    async fn open(&self, method: &str, path: &str, kind: &str, body: Option<&Value>) -> http::Response<Body> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
        for (end, accept) in [
            ("as-table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
            ("as-discovery", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        ] {
            if path.ends_with(end) {
                request = request.header("accept", accept);
            }
        }
        let mut request = request.body(Body::from(body)).expect("a request");
        request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
        self.server.answer(request).await
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = (!body.is_null()).then_some(&body);
        let response = self.open(method, path, kind, body).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        self.send("GET", path, Value::Null).await.1
    }

    #[track_caller]
    fn ok((code, body): (u16, Value)) -> Value {
        assert!((200..300).contains(&code), "{code} {body}");
        body
    }

    /// The event of a watch that is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.events(path, wanted).await.pop().unwrap_or_default()
    }

    /// Reads a watch until an event is as wanted: all that came.
    async fn events(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        watch::until(self.open("GET", path, "application/json", None).await.into_body(), wanted).await
    }

    async fn define(&self, crd: Value) -> Value {
        let name = crd["metadata"]["name"].as_str().expect("a name").to_owned();
        Self::ok(self.send("POST", DEFINITIONS, crd).await);
        let path = format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name={name}");
        self.until(&path, |event| condition(&event["object"], "Established") == "True").await["object"]
            .clone()
    }
}

fn condition(crd: &Value, name: &str) -> String {
    let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    found.map(|condition| condition["status"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// What a certificate operator brings along: two versions, one of them old.
fn certificates() -> Value {
    let rules = json!([
        {"rule": "!has(self.dnsNames) || self.dnsNames.all(n, !n.startsWith('*.'))", "message": "no wildcards"},
        {"rule": "self.secretName == oldSelf.secretName", "message": "secretName is immutable"},
    ]);
    let spec = json!({"type": "object", "required": ["secretName"], "x-kubernetes-validations": rules, "properties": {
        "secretName": {"type": "string", "minLength": 1, "maxLength": 253},
        "duration": {"type": "string", "default": "2160h"},
        "replicas": {"type": "integer", "default": 1},
        "dnsNames": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 100,
                     "items": {"type": "string", "maxLength": 253}},
        "keystore": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["JKS", "PKCS12"]}}},
        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let status = json!({"type": "object", "properties": {
        "ready": {"type": "integer"}, "selector": {"type": "string"},
        "conditions": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}}}},
    }});
    let schema = json!({"openAPIV3Schema": {"type": "object", "description": "A certificate.",
                                             "properties": {"spec": spec, "status": status}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": schema,
               "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.ready", "labelSelectorPath": ".status.selector"}},
               "selectableFields": [{"jsonPath": ".spec.secretName"}],
               "additionalPrinterColumns": [{"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "certificates.cert.example.io"},
        "spec": {"group": "cert.example.io", "scope": "Namespaced",
            "names": {"plural": "certificates", "kind": "Certificate", "shortNames": ["cert"], "categories": ["all"]},
            "versions": [version("v1", true), version("v1alpha2", false)]}})
}

fn certificate(name: &str) -> Value {
    json!({"apiVersion": "cert.example.io/v1", "kind": "Certificate", "metadata": {"name": name},
           "spec": {"secretName": format!("{name}-tls")}})
}

#[tokio::test]
async fn established_means_served_and_described() {
    let world = world().await;
    let crd = world.define(certificates()).await;
    assert_eq!(crd["spec"]["names"]["singular"], "certificate");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "CertificateList");
    let group = world.get("/apis/cert.example.io").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = world.get("/apis/cert.example.io/v1").await;
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["certificates", "certificates/scale", "certificates/status"]);
    let aggregated = world.get("/apis?as-discovery").await;
    let groups = aggregated["items"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["metadata"]["name"] == "cert.example.io").expect("a group");
    assert_eq!(group["versions"][0]["version"], "v1");
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "certificates");
    let v3 = world.get("/openapi/v3/apis/cert.example.io/v1").await;
    let schema = &v3["components"]["schemas"]["io.example.cert.v1.Certificate"];
    assert_eq!(schema["description"], "A certificate.");
    assert_eq!(schema["properties"]["spec"]["required"], json!(["secretName"]));
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Certificate");
    let v2 = world.get("/openapi/v2").await;
    assert!(v2["definitions"]["io.example.cert.v1.Certificate"].is_object());
    assert_eq!(world.get(CERTIFICATES).await["kind"], "CertificateList");
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_judged() {
    let world = world().await;
    world.define(certificates()).await;
    let mut sent = certificate("a");
    sent["spec"]["secret"] = json!("typo");
    sent["spec"]["template"] = json!({"any": {"thing": 1}});
    sent["status"] = json!({"ready": 9});
    let made = World::ok(world.send("POST", CERTIFICATES, sent.clone()).await);
    assert_eq!(
        made["spec"],
        json!({"secretName": "a-tls", "duration": "2160h", "replicas": 1, "template": {"any": {"thing": 1}}})
    );
    assert_eq!((&made["metadata"]["generation"], made.get("status")), (&json!(1), None));
    let (code, status) = world.send("POST", &format!("{CERTIFICATES}?fieldValidation=Strict"), sent).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().expect("text").contains(r#"unknown field "spec.secret""#), "{status}");
    let mut bad = certificate("b");
    bad["spec"] = json!({"dnsNames": ["a", "a"], "keystore": {"kind": "PEM"}, "replicas": "2"});
    let (code, status) = world.send("POST", CERTIFICATES, bad).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        r#"Certificate.cert.example.io "b" is invalid: [spec.secretName: Required value, spec.dnsNames[1]: Duplicate value: "a", spec.keystore.kind: Unsupported value: "PEM": supported values: "JKS", "PKCS12", spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"#
    );
    let patched = json!({"spec": {"duration": "1h"}, "status": {"ready": 3}});
    let path = format!("{CERTIFICATES}/a");
    let changed = World::ok(world.send("PATCH", &path, patched).await);
    assert_eq!((&changed["metadata"]["generation"], changed.get("status")), (&json!(2), None));
    let patched = json!({"spec": {"duration": "9h"}, "status": {"ready": 3, "selector": "app=a"}});
    let changed = World::ok(world.send("PATCH", &format!("{path}/status"), patched).await);
    assert_eq!((&changed["metadata"]["generation"], &changed["spec"]["duration"]), (&json!(2), &json!("1h")));
    let strategic = "application/strategic-merge-patch+json";
    let answer = world.open("PATCH", &path, strategic, Some(&json!({}))).await;
    assert_eq!(answer.status().as_u16(), 415);
    let scale =
        World::ok(world.send("PATCH", &format!("{path}/scale"), json!({"spec": {"replicas": 4}})).await);
    assert_eq!(scale["spec"], json!({"replicas": 4}));
    assert_eq!(scale["status"], json!({"replicas": 3, "selector": "app=a"}));
    assert_eq!(world.get(&path).await["spec"]["replicas"], 4);
    let found = world.get(&format!("{CERTIFICATES}?fieldSelector=spec.secretName%3Da-tls")).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let none = world.get(&format!("{CERTIFICATES}?fieldSelector=spec.secretName%3Db-tls")).await;
    assert_eq!(none["items"].as_array().map(Vec::len), Some(0));
    let table = world.get(&format!("{CERTIFICATES}?x=as-table")).await;
    assert_eq!(table["columnDefinitions"][1]["name"], "Secret");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "a-tls"]));
}

#[tokio::test]
async fn one_list_holds_objects_of_several_versions() {
    let world = world().await;
    world.define(certificates()).await;
    World::ok(world.send("POST", CERTIFICATES, certificate("old")).await);
    let name = format!("{DEFINITIONS}/certificates.cert.example.io");
    let mut crd = world.get(&name).await;
    crd["spec"]["versions"][0]["storage"] = json!(false);
    crd["spec"]["versions"][1]["storage"] = json!(true);
    let properties = "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties";
    let spec = crd.pointer_mut(properties).expect("properties");
    spec["rotation"] = json!({"type": "string", "default": "Always"});
    let crd = World::ok(world.send("PUT", &name, crd).await);
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v1alpha2"]));
    // The new rows are there when the new default is: lists of the new version show it.
    let beta = "/apis/cert.example.io/v1alpha2/namespaces/default/certificates";
    let mut new = certificate("new");
    new["apiVersion"] = json!("cert.example.io/v1alpha2");
    let mut seen = world.send("POST", &format!("{beta}?dryRun=All"), new.clone()).await.1;
    while seen["spec"].get("rotation").is_none() {
        tokio::task::yield_now().await;
        seen = world.send("POST", &format!("{beta}?dryRun=All"), new.clone()).await.1;
    }
    World::ok(world.send("POST", beta, new).await);
    for (path, version) in [(beta, "cert.example.io/v1alpha2"), (CERTIFICATES, "cert.example.io/v1")] {
        let list = world.get(path).await;
        let seen: Vec<(&str, &str)> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| Some((item["metadata"]["name"].as_str()?, item["apiVersion"].as_str()?)))
            .collect();
        assert_eq!(seen, [("new", version), ("old", version)]);
    }
    // What one version does not know it does not show.
    assert_eq!(world.get(&format!("{CERTIFICATES}/new")).await["spec"].get("rotation"), None);
    assert_eq!(world.get(&format!("{beta}/new")).await["spec"]["rotation"], "Always");
    let (code, status) =
        world.send("PATCH", &name, json!({"spec": {"versions": [crd["spec"]["versions"][1].clone()]}})).await;
    assert_eq!(code, 422, "{status}");
}

#[tokio::test]
async fn a_definition_goes_after_its_objects() {
    let world = world().await;
    world.define(certificates()).await;
    let mut held = certificate("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    World::ok(world.send("POST", CERTIFICATES, held).await);
    World::ok(world.send("POST", CERTIFICATES, certificate("free")).await);
    let name = format!("{DEFINITIONS}/certificates.cert.example.io");
    let going = World::ok(world.send("DELETE", &name, Value::Null).await);
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    world
        .until(&format!("{CERTIFICATES}?watch=1&fieldSelector=metadata.name=held"), |event| {
            !event["object"]["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    let going = world.get(&name).await;
    assert_eq!(condition(&going, "Terminating"), "True");
    // From here on, or the last event could be over before the watch begins.
    let seen = going["metadata"]["resourceVersion"].as_str().expect("a revision");
    let selector = "fieldSelector=metadata.name=certificates.cert.example.io";
    let watch = format!("{DEFINITIONS}?watch=1&resourceVersion={seen}&{selector}");
    let free = json!({"metadata": {"finalizers": null}});
    let held = format!("{CERTIFICATES}/held");
    let (freed, gone) = tokio::join!(
        world.send("PATCH", &held, free),
        world.until(&watch, |event| event["type"] == "DELETED"),
    );
    World::ok(freed);
    assert_eq!(gone["object"]["metadata"]["name"], "certificates.cert.example.io");
    // The same name can be taken again.
    world.define(certificates()).await;
    assert_eq!(world.get(CERTIFICATES).await["items"], json!([]));
}

#[tokio::test]
async fn what_is_locked_keeps_its_definition() {
    let world = world().await;
    world.define(certificates()).await;
    let mut locked = certificate("locked");
    locked["metadata"]["annotations"] = json!({"gantry.dev/deletion-lock": ""});
    World::ok(world.send("POST", CERTIFICATES, locked).await);
    let name = format!("{DEFINITIONS}/certificates.cert.example.io");
    let (code, status) = world.send("DELETE", &name, Value::Null).await;
    assert_eq!(code, 403, "{status}");
    let message = status["message"].as_str().expect("a message");
    assert!(message.ends_with("gantry.dev/deletion-lock: certificates \"locked\""), "{message}");
    let free = json!({"metadata": {"annotations": null}});
    World::ok(world.send("PATCH", &format!("{CERTIFICATES}/locked"), free).await);
    World::ok(world.send("DELETE", &name, Value::Null).await);
}

#[tokio::test]
async fn bad_definitions_are_refused_in_upstreams_words() {
    let world = world().await;
    let mut crd = certificates();
    crd["spec"]["versions"].as_array_mut().expect("versions").truncate(1);
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({"properties": {}});
    let (code, status) = world.send("POST", DEFINITIONS, crd).await;
    assert_eq!(code, 422);
    let path = "spec.validation.openAPIV3Schema.properties[spec].type";
    let message = status["message"].as_str().expect("text");
    assert!(
        message.contains(&format!("{path}: Required value: must not be empty for specified object fields")),
        "{message}"
    );
}

#[tokio::test]
async fn rules_judge_objects_and_changes() {
    let world = world().await;
    world.define(certificates()).await;
    let mut wild = certificate("a");
    wild["spec"]["dnsNames"] = json!(["*.example.com"]);
    let (code, status) = world.send("POST", CERTIFICATES, wild).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        r#"Certificate.cert.example.io "a" is invalid: spec: Invalid value: no wildcards"#
    );
    World::ok(world.send("POST", CERTIFICATES, certificate("a")).await);
    let (code, status) =
        world.send("PATCH", &format!("{CERTIFICATES}/a"), json!({"spec": {"secretName": "b"}})).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().expect("text").ends_with("secretName is immutable"), "{status}");
    let mut crd = certificates();
    crd["metadata"]["name"] = json!("others.cert.example.io");
    crd["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
        let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["x-kubernetes-validations"] = json!([{"rule": "self.nothing > 1"}]);
    }
    let (code, status) = world.send("POST", DEFINITIONS, crd).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().expect("text").contains("compilation failed: ERROR"), "{status}");
}

#[tokio::test]
async fn a_webhook_converts_between_versions() {
    let world = world().await;
    let hook = webhook::start(&world.pki).await;
    let mut crd = certificates();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": format!("https://127.0.0.1:{}/convert", hook.port), "caBundle": hook.authority},
        "conversionReviewVersions": ["v1"]}});
    let properties = "/spec/versions/1/schema/openAPIV3Schema/properties/spec";
    *crd.pointer_mut(properties).expect("a schema") = json!({"type": "object", "properties": {"secret": {"type": "string"}, "duration": {"type": "string"},
               "replicas": {"type": "integer"}}});
    crd["spec"]["versions"][1].as_object_mut().expect("a version").remove("selectableFields");
    world.define(crd).await;
    let alpha = "/apis/cert.example.io/v1alpha2/namespaces/default/certificates";
    World::ok(world.send("POST", CERTIFICATES, certificate("a")).await);
    let old = json!({"apiVersion": "cert.example.io/v1alpha2", "kind": "Certificate", "metadata": {"name": "b"},
                     "spec": {"secret": "b-tls"}});
    let made = World::ok(world.send("POST", alpha, old).await);
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["secret"]),
        (&json!("cert.example.io/v1alpha2"), &json!("b-tls"))
    );
    let secrets = |list: &Value, key: &str| -> Vec<Value> {
        list["items"].as_array().into_iter().flatten().map(|item| item["spec"][key].clone()).collect()
    };
    assert_eq!(secrets(&world.get(CERTIFICATES).await, "secretName"), [json!("a-tls"), json!("b-tls")]);
    assert_eq!(secrets(&world.get(alpha).await, "secret"), [json!("a-tls"), json!("b-tls")]);
    let found = world.get(&format!("{CERTIFICATES}?fieldSelector=spec.secretName%3Db-tls")).await;
    assert_eq!(secrets(&found, "secretName"), [json!("b-tls")]);
    let event =
        world.until(&format!("{alpha}?watch=1"), |event| event["object"]["metadata"]["name"] == "b").await;
    assert_eq!(event["object"]["spec"]["secret"], "b-tls");
    let changed =
        World::ok(world.send("PATCH", &format!("{alpha}/a"), json!({"spec": {"duration": "1h"}})).await);
    assert_eq!(changed["spec"]["duration"], "1h");
    assert_eq!(world.get(&format!("{CERTIFICATES}/a")).await["spec"]["duration"], "1h");
    hook.stop();
    let (code, status) = world.send("GET", &format!("{alpha}/a"), Value::Null).await;
    let message = status["message"].as_str().expect("text");
    assert_eq!(code, 500);
    assert!(
        message.starts_with(
            "conversion webhook for cert.example.io/v1, Kind=Certificate failed: Post \"https://127.0.0.1"
        ),
        "{message}"
    );
}
