//! Selectable fields of versions that a webhook converts: each version is selected by its own fields.

use serde_json::{Value, json};

use crate::{CERTIFICATES, World, certificate, certificates, webhook, world};

const ALPHA: &str = "/apis/cert.example.io/v1alpha2/namespaces/default/certificates";
const OLD: &str = "fieldSelector=spec.secret%3Da-tls";
const NEW: &str = "fieldSelector=spec.secretName%3Da-tls";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn every_version_is_selected_by_its_own_fields() {
    let world = world().await;
    let hook = webhook::start(&world.pki).await;
    let mut crd = certificates();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": format!("https://127.0.0.1:{}/convert", hook.port), "caBundle": hook.authority},
        "conversionReviewVersions": ["v1"]}});
    let spec = crd.pointer_mut("/spec/versions/1/schema/openAPIV3Schema/properties/spec");
    *spec.expect("a schema") = json!({"type": "object", "properties": {"secret": {"type": "string"}}});
    crd["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.secret"}]);
    let crd = world.define(crd).await;
    let since = crd["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();

    for name in ["a", "b", "c"] {
        World::ok(world.send("POST", CERTIFICATES, certificate(name)).await);
    }
    let other = json!({"apiVersion": "cert.example.io/v1alpha2", "kind": "Certificate",
        "metadata": {"name": "d"}, "spec": {"secret": "a-tls"}});
    World::ok(world.send("POST", ALPHA, other).await);
    assert_eq!(names(&world.get(&format!("{ALPHA}?{OLD}")).await), ["a", "d"]);
    assert_eq!(names(&world.get(&format!("{CERTIFICATES}?{NEW}")).await), ["a", "d"]);
    let (code, refused) = world.send("GET", &format!("{ALPHA}?{NEW}"), Value::Null).await;
    assert_eq!((code, &refused["reason"]), (400, &json!("BadRequest")), "{refused}");

    // One leaves the selection by an update, the other by deletion of what is selected.
    World::ok(world.send("PATCH", &format!("{ALPHA}/d"), json!({"spec": {"secret": "b-tls"}})).await);
    assert_eq!(names(&world.get(&format!("{CERTIFICATES}?{NEW}")).await), ["a"]);
    World::ok(world.send("DELETE", &format!("{ALPHA}?{OLD}"), Value::Null).await);
    assert_eq!(names(&world.get(ALPHA).await), ["b", "c", "d"]);

    for (path, version, field) in [
        (format!("{ALPHA}?{OLD}"), "v1alpha2", "secret"),
        (format!("{CERTIFICATES}?{NEW}"), "v1", "secretName"),
    ] {
        let mut seen = Vec::new();
        let last = |event: &Value| event["type"] == "DELETED" && event["object"]["metadata"]["name"] == "a";
        let events = world.events(&format!("{path}&watch=1&resourceVersion={since}"), last).await;
        for event in &events {
            let object = &event["object"];
            assert_eq!(object["apiVersion"], format!("cert.example.io/{version}"));
            assert!(object["spec"][field].is_string(), "{object}");
            seen.push((event["type"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str()));
        }
        let expect = [("ADDED", "a"), ("ADDED", "d"), ("DELETED", "d"), ("DELETED", "a")];
        assert_eq!(seen, expect.map(|(event, name)| (event, Some(name))), "{path}");
    }
    hook.stop();
}
