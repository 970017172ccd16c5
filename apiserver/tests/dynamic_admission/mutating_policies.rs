//! Mutating policies, alone and together with webhooks.

use serde_json::{Value, json};

use super::{Answer, MAPS, REGISTRATION, World, map, maps_rule, world};

const POLICIES: &str = "mutatingadmissionpolicies";
const BINDINGS: &str = "mutatingadmissionpolicybindings";

impl World {
    async fn mutation(&self, name: &str, mutations: Value, changes: Value) {
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [maps_rule(&["CREATE", "UPDATE"])]},
            "reinvocationPolicy": "Never", "mutations": mutations,
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.register(POLICIES, name, json!({"spec": spec})).await;
        self.register(BINDINGS, name, json!({"spec": {"policyName": name}})).await;
    }
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn labels(answer: &Answer) -> &Value {
    &answer.body["metadata"]["labels"]
}

#[tokio::test]
async fn configurations_and_patches() {
    let world = world().await;
    let mutations = json!([
        apply(
            "Object{metadata: Object.metadata{labels: {'owner': request.userInfo.username}}, data: {'made': 'by policy'}}"
        ),
        patch(
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/copy'), value: object.metadata.labels.owner}]"
        ),
        patch(
            "[JSONPatch{op: 'test', path: '/data/made', value: 'by hand'}, JSONPatch{op: 'remove', path: '/data'}]"
        ),
    ]);
    let condition =
        json!({"matchConditions": [{"name": "named", "expression": "object.metadata.name.startsWith('m')"}]});
    world.mutation("label", mutations, condition).await;
    let written =
        world.until_dry(map("m", json!({"a": "b"})), |answer| labels(answer)["owner"] == "admin").await;
    assert_eq!(labels(&written), &json!({"a": "b", "owner": "admin", "example.com/copy": "admin"}));
    // A test that fails leaves the object as it is.
    assert_eq!(written.body["data"], json!({"made": "by policy"}));
    let other = world.send("POST", &format!("{MAPS}?dryRun=All"), map("other", json!({"a": "b"}))).await;
    assert_eq!(labels(&other), &json!({"a": "b"}));
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused() {
    let world = world().await;
    let head = "policy 'wrong' with binding 'wrong' denied request: ";
    for (mutation, text) in [
        (
            apply("Object{data: Object.wrong{}}"),
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.data\"",
        ),
        (
            apply("Object{metadata: Object.metadata{nothing: 1}}"),
            "error applying patch: failed to convert patch object to typed object: .metadata.nothing: field not declared in schema",
        ),
        (patch("[JSONPatch{op: 'remove', path: '/data/x'}]"), "JSON Patch: "),
        (
            apply("object.data.x == 1 ? Object{} : Object{}"),
            "expression 'object.data.x == 1 ? Object{} : Object{}' resulted in error: no such key: data",
        ),
    ] {
        world.mutation("wrong", json!([mutation]), json!({})).await;
        let refused = world.until_dry(map("m", json!({})), |answer| answer.code != 201).await;
        let (code, said) = refused.refusal();
        assert!(code == 403 && said.starts_with(head) && said.contains(text), "{code} {said}");
        assert_eq!(
            (&refused.body["reason"], &refused.body["details"]["causes"]),
            (&json!("Invalid"), &json!([{"message": said}]))
        );
        let lenient = json!({"spec": {"failurePolicy": "Ignore"}});
        world.send("PATCH", &format!("{REGISTRATION}/{POLICIES}/wrong"), lenient).await.ok();
        world.until_dry(map("m", json!({})), |answer| answer.code == 201).await;
        world.unregister(BINDINGS, "wrong").await;
        world.unregister(POLICIES, "wrong").await;
    }
}

#[tokio::test]
async fn atomic_fields_are_not_for_configurations() {
    let world = world().await;
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]});
    let selector =
        apply("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}");
    world.mutation("atomic", json!([selector]), json!({"matchConstraints": {"resourceRules": [rule]}})).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments?dryRun=All";
    let refused = world.until(("POST", path, deployment), |answer| answer.code != 201).await;
    let text = "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector";
    assert_eq!(refused.refusal(), (403, text));
}

#[tokio::test]
async fn policies_and_webhooks_see_each_others_changes() {
    let world = world().await;
    let count = "Object{metadata: Object.metadata{labels: {'count': string(int(object.metadata.?labels[?'count'].orValue('0')) + 1)}}}";
    world.mutation("count", json!([apply(count)]), json!({"reinvocationPolicy": "IfNeeded"})).await;
    let counted = |wanted: &'static str| move |answer: &Answer| labels(answer)["count"] == wanted;
    world.until_dry(map("m", json!({})), counted("1")).await;
    // What a webhook changes after the policy gives it another look.
    let hook = world.hooks.hook("step.example.com", "step/a", json!({}));
    world.register("mutatingwebhookconfigurations", "step", json!({"webhooks": [hook]})).await;
    let twice = world.until_dry(map("m", json!({})), counted("2")).await;
    assert_eq!(labels(&twice)["steps"], "a");
    let never = json!({"spec": {"reinvocationPolicy": "Never"}});
    world.send("PATCH", &format!("{REGISTRATION}/{POLICIES}/count"), never).await.ok();
    world.until_dry(map("m", json!({})), counted("1")).await;
}
