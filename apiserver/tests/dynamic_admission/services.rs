//! Webhooks behind Services: of admission and of conversion.

use std::sync::Arc;

use component_base::tls::{Pki, SubjectNames};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::hooks::Hooks;
use super::{MAPS, World, map, world};

/// An address of this machine that an endpoint may have.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string()).filter(|address| address != "0.0.0.0")
}

/// A server, webhooks that are `hook.default.svc`, and the address they can be reached at.
async fn scene() -> Option<(World, Hooks, TempDir, String)> {
    let Some(address) = own_address() else {
        eprintln!("not tested: this machine has no address but loopback");
        return None;
    };
    let world = world().await;
    let directory = tempfile::tempdir().expect("a directory");
    let names = SubjectNames::for_api_server("cluster.local", &["hook.default.svc".to_owned()], &[]);
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let pki = Arc::new(Pki::open(directory.path(), &names, now).expect("certificates"));
    let hooks = Hooks::start(&pki, &world.clock).await;
    Some((world, hooks, directory, address))
}

impl World {
    async fn serve(&self) {
        let ports = json!([{"name": "https", "port": 8443, "targetPort": 9443}]);
        let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": ports}});
        self.send("POST", "/api/v1/namespaces/default/services", service).await.ok();
    }

    async fn endpoints(&self, hooks: &Hooks, address: &str) {
        let slice = json!({
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "addressType": "IPv4",
            "ports": [{"name": "https", "port": hooks.port, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": false}}, {"addresses": [address]}],
        });
        self.send("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.ok();
    }
}

fn client_config(hooks: &Hooks, path: &str) -> Value {
    let service = json!({"namespace": "default", "name": "hook", "port": 8443, "path": path});
    json!({"service": service, "caBundle": hooks.authority})
}

#[tokio::test]
async fn admission_reaches_ready_endpoints() {
    let Some((world, hooks, _directory, address)) = scene().await else { return };
    let config = json!({"clientConfig": client_config(&hooks, "/step/service")});
    let configuration = json!({"webhooks": [hooks.hook("service.example.com", "", config)]});
    world.register("mutatingwebhookconfigurations", "service", configuration).await;
    let head = "Internal error occurred: failed calling webhook \"service.example.com\": failed to call webhook: Post \
                \"https://hook.default.svc:8443/step/service?timeout=10s\": ";
    let refused = world.until_dry(map("m", json!({})), |answer| answer.code == 500).await;
    assert_eq!(refused.refusal().1, format!("{head}service \"hook\" not found"));
    world.serve().await;
    let dry = format!("{MAPS}?dryRun=All");
    let refused = world.send("POST", &dry, map("m", json!({}))).await;
    assert_eq!(refused.refusal().1, format!("{head}no endpoints available for service \"hook\""));
    world.endpoints(&hooks, &address).await;
    let answer = world.send("POST", &dry, map("m", json!({}))).await.ok();
    assert_eq!(answer["metadata"]["labels"]["steps"], "service");
}

#[tokio::test]
async fn conversion_reaches_the_same_service() {
    let Some((world, hooks, _directory, address)) = scene().await else { return };
    world.serve().await;
    world.endpoints(&hooks, &address).await;
    let version = |name: &str, storage: bool| {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
    };
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": client_config(&hooks, "/convert")}});
    let definition = json!({
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                 "versions": [version("v1", true), version("v2", false)], "conversion": conversion},
    });
    world.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.ok();
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/things");
    let thing =
        json!({"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"a": 1}});
    world.until(("POST", &path("v2"), thing), |answer| answer.code == 201).await;
    let read = world.send("GET", &format!("{}/t", path("v1")), Value::Null).await.ok();
    assert_eq!((&read["apiVersion"], &read["converted"]), (&json!("example.com/v1"), &json!(true)));
    // A policy whose parameters are custom objects, stored in another version than the policy names.
    let spec = json!({
        "paramKind": {"apiVersion": "example.com/v2", "kind": "Thing"},
        "matchConstraints": {"resourceRules": [super::maps_rule(&["CREATE"])]},
        "validations": [{"expression": "object.metadata.name != 'a' + string(params.spec.a)",
                         "messageExpression": "params.apiVersion + ' forbids ' + object.metadata.name"}],
    });
    world.register("validatingadmissionpolicies", "things", json!({"spec": spec})).await;
    let binding = json!({"policyName": "things", "validationActions": ["Deny"],
        "paramRef": {"selector": {}, "namespace": "default", "parameterNotFoundAction": "Deny"}});
    world.register("validatingadmissionpolicybindings", "things", json!({"spec": binding})).await;
    let refused = world.until_dry(map("a1", json!({})), |answer| answer.code != 201).await;
    assert!(refused.refusal().1.ends_with("denied request: example.com/v2 forbids a1"), "{}", refused.body);
    world.send("POST", &format!("{MAPS}?dryRun=All"), map("b", json!({}))).await.ok();
}
