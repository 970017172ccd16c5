//! What strict clients apply: unknown fields, unknown metadata, fields given twice.

use axum::body::Body;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::{World, world};

const WIDGETS: &str = "/apis/example.io/v1/widgets";

/// A kind with this schema of its `spec`, or without any.
async fn define(world: &World, spec: Option<Value>) {
    let schema = match spec {
        Some(spec) => json!({"type": "object", "properties": {"spec": spec}}),
        None => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io"},
        "spec": {"group": "example.io", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    world.define(crd).await;
}

fn ports() -> Value {
    let port = json!({"type": "object", "required": ["containerPort", "protocol"], "properties": {
        "containerPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"},
        "protocol": {"type": "string"}}});
    json!({"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": port})
}

fn cron() -> Value {
    json!({"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"})
}

/// Applies text as a strict client: code and body.
async fn apply(world: &World, metadata: &str, rest: &str) -> (u16, String) {
    let text = format!(
        "apiVersion: example.io/v1\nkind: Widget\nmetadata:\n  name: mytest\n  finalizers:\n  - a.b/c\n{metadata}{rest}"
    );
    let uri = format!("{WIDGETS}/mytest?fieldManager=me&fieldValidation=Strict");
    let request = Request::patch(uri).header("content-type", "application/apply-patch+yaml");
    let mut request = request.body(Body::from(text)).expect("a request");
    request.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
    let response = world.server.answer(request).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

const SPEC: &str = "spec:\n  foo: foo1\n  cronSpec: \"* * * * */5\"\n  ports:\n  - {name: x, containerPort: 80, protocol: TCP}\n";

#[tokio::test]
async fn with_a_schema_nothing_unknown_is_applied() {
    let world = world().await;
    let properties = json!({"foo": {"type": "string"}, "cronSpec": cron(), "ports": ports()});
    define(&world, Some(json!({"type": "object", "properties": properties}))).await;
    for (metadata, rest, text) in [
        ("unknownField: unknown\n", SPEC, ".unknownField: field not declared in schema"),
        ("  unknownMeta: unknown\n", SPEC, ".metadata.unknownMeta: field not declared in schema"),
        ("", "spec:\n  bar: 1\n", ".spec.bar: field not declared in schema"),
    ] {
        let (code, body) = apply(&world, metadata, rest).await;
        assert!(code >= 400 && body.contains(text), "{code} {body}");
    }
    let (code, body) = apply(&world, "", SPEC).await;
    assert_eq!(code, 201, "{body}");
    assert_eq!(world.get(&format!("{WIDGETS}/mytest")).await["spec"]["cronSpec"], "* * * * */5");
}

#[tokio::test]
async fn without_a_schema_anything_is_applied() {
    let world = world().await;
    define(&world, None).await;
    let (code, body) = apply(&world, "", &format!("{SPEC}  unknown: uk1\n")).await;
    assert_eq!(code, 201, "{body}");
    assert_eq!(world.get(&format!("{WIDGETS}/mytest")).await["spec"]["unknown"], "uk1");
}

#[tokio::test]
async fn what_is_kept_unknown_is_checked_for_duplicates_and_metadata() {
    let world = world().await;
    let template = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}});
    let properties =
        json!({"foo": {"type": "string"}, "cronSpec": cron(), "ports": ports(), "template": template});
    let open = "x-kubernetes-preserve-unknown-fields";
    define(&world, Some(json!({"type": "object", open: true, "properties": properties}))).await;
    let embedded = "spec:\n  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n        unknownSubMeta: u\n        name: s\n";
    let (code, body) = apply(&world, "", embedded).await;
    assert!(
        code >= 400 && body.contains(".spec.template.metadata.unknownSubMeta: field not declared in schema"),
        "{code} {body}"
    );
    let (code, body) = apply(&world, "  unknownMeta: unknown\n", SPEC).await;
    assert!(
        code >= 400 && body.contains(".metadata.unknownMeta: field not declared in schema"),
        "{code} {body}"
    );
    let (code, body) = apply(&world, "", "spec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n").await;
    assert!(code == 400 && body.contains(r#"line 10: key \"foo\" already set in map"#), "{code} {body}");
    let (code, body) = apply(&world, "", &format!("{SPEC}  unknown: uk1\n")).await;
    assert_eq!(code, 201, "{body}");
}
