//! What decides admission counts for the request that follows its change, and no later.

use apiserver::storage::{Change, Draft, Expect, Operation, Store as _};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{MAPS, REGISTRATION, World, map, maps_rule, world};

impl World {
    /// The code of one creation that is not kept.
    async fn dry(&self) -> u16 {
        self.send("POST", &format!("{MAPS}?dryRun=All"), map("m", json!({}))).await.code
    }

    async fn patch(&self, path: &str, patch: Value) {
        self.send("PATCH", path, patch).await.ok();
    }
}

#[tokio::test]
async fn webhooks() {
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let world = world().await;
        let hook = |path: &str| json!({"webhooks": [world.hooks.hook("h.example.com", path, json!({}))]});
        assert_eq!(world.dry().await, 201);
        world.register(plural, "h", hook("deny")).await;
        assert_eq!(world.dry().await, 418);
        world.patch(&format!("{REGISTRATION}/{plural}/h"), hook("ok")).await;
        assert_eq!(world.dry().await, 201);
        let others = json!({"webhooks": [world.hooks.hook("h.example.com", "deny",
            json!({"namespaceSelector": {"matchLabels": {"guarded": "yes"}}}))]});
        world.patch(&format!("{REGISTRATION}/{plural}/h"), others).await;
        assert_eq!(world.dry().await, 201);
        world.patch("/api/v1/namespaces/default", json!({"metadata": {"labels": {"guarded": "yes"}}})).await;
        assert_eq!(world.dry().await, 418);
        world.unregister(plural, "h").await;
        assert_eq!(world.dry().await, 201);
    }
}

#[tokio::test]
async fn policies_bindings_and_parameters() {
    let world = world().await;
    let (policies, bindings) = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [maps_rule(&["CREATE"])]},
        "validations": [{"expression": "object.metadata.name != params.data.forbidden"}],
    });
    let parameter = |name: &str| json!({"metadata": {"name": "words", "labels": {"for": "p"}}, "data": {"forbidden": name}});
    world.send("POST", MAPS, parameter("m")).await.ok();
    world.register(policies, "p", json!({"spec": spec})).await;
    assert_eq!(world.dry().await, 201);
    let by_name = json!({"name": "words", "namespace": "default", "parameterNotFoundAction": "Deny"});
    let binding = json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": by_name});
    world.register(bindings, "b", json!({"spec": binding})).await;
    assert_eq!(world.dry().await, 422);
    let words = format!("{MAPS}/words");
    world.patch(&words, json!({"data": {"forbidden": "other"}})).await;
    assert_eq!(world.dry().await, 201);
    let by_label = json!({"selector": {"matchLabels": {"for": "p"}}, "namespace": "default", "parameterNotFoundAction": "Allow"});
    let at = format!("{REGISTRATION}/{bindings}/b");
    world.patch(&at, json!({"spec": {"paramRef": {"name": null, "selector": by_label["selector"], "parameterNotFoundAction": "Allow"}}})).await;
    world.patch(&words, json!({"data": {"forbidden": "m"}})).await;
    assert_eq!(world.dry().await, 422);
    world.patch(&words, json!({"metadata": {"labels": {"for": "others"}}})).await;
    assert_eq!(world.dry().await, 201);
    let always = json!([{"expression": "false"}]);
    let without = json!({"spec": {"paramKind": null, "validations": always}});
    world.patch(&format!("{REGISTRATION}/{policies}/p"), without).await;
    world.patch(&at, json!({"spec": {"paramRef": null}})).await;
    assert_eq!(world.dry().await, 422);
    world.unregister(bindings, "b").await;
    assert_eq!(world.dry().await, 201);
}

#[tokio::test]
async fn quotas_limits_and_pod_security() {
    let world = world().await;
    let pods = "/api/v1/namespaces/default/pods?dryRun=All";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"hostPID": true, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "2"}}}]}});
    let code = || async { world.send("POST", pods, pod.clone()).await.code };
    assert_eq!(code().await, 201);
    let namespace = "/api/v1/namespaces/default";
    let level = |level: Value| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    world.patch(namespace, level(json!("baseline"))).await;
    assert_eq!(code().await, 403);
    world.patch(namespace, level(Value::Null)).await;
    assert_eq!(code().await, 201);
    let range =
        json!({"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    world.send("POST", &format!("{namespace}/limitranges"), range).await.ok();
    assert_eq!(code().await, 403);
    world.send("DELETE", &format!("{namespace}/limitranges/r"), Value::Null).await.ok();
    assert_eq!(code().await, 201);
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}});
    world.send("POST", &format!("{namespace}/resourcequotas"), quota).await.ok();
    assert_eq!(code().await, 201, "nobody has counted yet what is used");
    let counted = json!({"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
    world.patch(&format!("{namespace}/resourcequotas/q/status"), counted).await;
    assert_eq!(code().await, 403);
    world.send("DELETE", &format!("{namespace}/resourcequotas/q"), Value::Null).await.ok();
    assert_eq!(code().await, 201);
}

#[tokio::test]
async fn a_webhook_with_side_effects_is_not_asked_when_nothing_is_written() {
    let world = world().await;
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let hook =
            |effects: &str| json!([world.hooks.hook("h.example.com", "ok", json!({"sideEffects": effects}))]);
        // Nobody can create one any more; this one is of a time when that was allowed.
        let refused = json!({"metadata": {"name": "old"}, "webhooks": hook("Some")});
        let refused = world.send("POST", &format!("{REGISTRATION}/{plural}"), refused).await;
        let text = "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"";
        assert!(refused.code == 422 && refused.refusal().1.contains(text), "{}", refused.body);
        world.register(plural, "old", json!({"webhooks": hook("NoneOnDryRun")})).await;
        assert_eq!(world.dry().await, 201);
        world.age(plural, "old").await;
        let text = "admission webhook \"h.example.com\" does not support dry run";
        let dry = (format!("{MAPS}?dryRun=All"), map("m", json!({})));
        let refused = world.until(("POST", &dry.0, dry.1), |answer| answer.code != 201).await;
        assert_eq!((refused.refusal(), &refused.body["reason"]), ((400, text), &json!("BadRequest")));
        world.hooks.taken();
        world.send("POST", MAPS, map(plural, json!({}))).await.ok();
        assert_eq!(world.hooks.taken().len(), 1, "what is written is asked about");
        world.unregister(plural, "old").await;
    }
}

impl World {
    /// Makes a stored configuration one with side effects, behind the API's back.
    async fn age(&self, plural: &str, name: &str) {
        let key = api::names::storage_key("admissionregistration.k8s.io", plural, None, name);
        let entry = self.store.get(&key, None).await.expect("read").expect("there");
        let text =
            String::from_utf8(entry.bytes.to_vec()).expect("text").replace("\"NoneOnDryRun\"", "\"Some\"");
        let revision = format!("\"resourceVersion\":\"{}", entry.mod_revision);
        let (head, tail) = text.split_once(&revision).expect("its revision");
        let draft = Draft {
            head: Bytes::from(format!("{head}\"resourceVersion\":\"")),
            tail: Bytes::from(tail.to_owned()),
            lifetime: None,
        };
        let expect = Expect::Revision(entry.mod_revision);
        self.store
            .transact(vec![Operation { key, expect, change: Change::Put(draft) }])
            .await
            .expect("written");
    }
}
