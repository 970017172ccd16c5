//! Webhooks.

use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::{Answer, MAPS, REGISTRATION, World, map, maps_rule, world};

const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

fn steps(answer: &Answer) -> &str {
    answer.body["metadata"]["labels"]["steps"].as_str().unwrap_or_default()
}

impl World {
    async fn configure(&self, plural: &str, name: &str, hooks: Value) {
        self.register(plural, name, json!({"webhooks": hooks})).await;
    }
}

#[tokio::test]
async fn mutations_are_ordered_and_asked_again_where_they_want_it() {
    let world = world().await;
    let hooks = &world.hooks;
    // By the name of the configuration, whichever came first.
    let second =
        [hooks.hook("c.example.com", "step/c", json!({})), hooks.hook("d.example.com", "step/d", json!({}))];
    world.configure(MUTATING, "second", json!(second)).await;
    world.configure(MUTATING, "first", json!([hooks.hook("a.example.com", "step/a", json!({}))])).await;
    let answer = world.until_dry(map("m", json!({})), |answer| steps(answer) == "a.c.d").await;
    assert_eq!(answer.code, 201);
    let asked: Vec<String> = hooks.taken().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked[asked.len() - 3..], ["step/a", "step/c", "step/d"]);

    // The first of them wants to see what the others made of it, and only it.
    let eager = hooks.hook("a.example.com", "step/a", json!({"reinvocationPolicy": "IfNeeded"}));
    let path = format!("{REGISTRATION}/{MUTATING}/first");
    world.send("PATCH", &path, json!({"webhooks": [eager]})).await.ok();
    world.until_dry(map("m", json!({})), |answer| steps(answer) == "a.c.d.a").await;

    // The written object is what they made of it, and owners are those who sent it.
    let written = world.send("POST", MAPS, map("m", json!({}))).await;
    assert_eq!(steps(&written), "a.c.d.a", "{}", written.body);
    world.unregister(MUTATING, "first").await;
    world.unregister(MUTATING, "second").await;
    world.until_dry(map("n", json!({})), |answer| steps(answer).is_empty()).await;
}

#[tokio::test]
async fn what_a_patch_may_make_of_an_object() {
    let world = world().await;
    let hooks = &world.hooks;
    world.configure(MUTATING, "raw", json!([hooks.hook("raw.example.com", "raw", json!({}))])).await;
    world.until_dry(map("m", json!({})), |_| !hooks.taken().is_empty()).await;
    world.send("POST", MAPS, map("unknown", json!({}))).await.ok();
    // Unknown fields go, as those sent by users do.
    let kept = world.send("GET", &format!("{MAPS}/unknown"), Value::Null).await.ok();
    assert_eq!(kept.get("nonsense"), None);
    world.unregister(MUTATING, "raw").await;
    let wrong = hooks.hook("wrong.example.com", "type", json!({"failurePolicy": "Ignore"}));
    world.configure(MUTATING, "wrong", json!([wrong])).await;
    let refused = world.until_dry(map("m", json!({})), |answer| answer.code == 500).await;
    // No failure policy covers a patch that cannot be applied.
    assert!(refused.refusal().1.contains("cannot unmarshal number"), "{}", refused.body);
}

#[tokio::test]
async fn validation_refuses_warns_and_sees_old_and_new() {
    let world = world().await;
    let hooks = &world.hooks;
    let only = |operation: &str| json!({"rules": [maps_rule(&[operation])]});
    let both = [
        hooks.hook("warn.example.com", "warn", json!({"rules": [maps_rule(&["CREATE", "UPDATE"])]})),
        hooks.hook("deny.example.com", "deny", only("DELETE")),
    ];
    world.configure(VALIDATING, "both", json!(both)).await;
    let warned = world.until_dry(map("m", json!({})), |answer| !answer.warnings.is_empty()).await;
    assert_eq!(warned.warnings, ["299 - \"mind the gap\""]);
    hooks.taken();

    world.send("POST", MAPS, map("m", json!({"v": "1"}))).await.ok();
    let path = format!("{MAPS}/m?fieldManager=me");
    world.send("PUT", &path, map("m", json!({"v": "2"}))).await.ok();
    let refused = world.send("DELETE", &format!("{MAPS}/m"), json!({"gracePeriodSeconds": 5})).await;
    let text = "admission webhook \"deny.example.com\" denied the request: not here";
    assert_eq!(refused.refusal(), (418, text));
    assert_eq!((&refused.body["reason"], &refused.body["status"]), (&json!("Teapot"), &json!("Failure")));

    let asked = hooks.taken();
    let [(_, create), (_, update), (_, delete)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((&create["operation"], &create["oldObject"]), (&json!("CREATE"), &Value::Null));
    assert_eq!(create["object"]["metadata"]["labels"]["v"], "1");
    assert_eq!(create["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(create["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&create["namespace"], &create["name"]), (&json!("default"), &json!("m")));
    assert_eq!(
        create["userInfo"],
        json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]})
    );
    let labels = |object: &Value| object["metadata"]["labels"]["v"].clone();
    assert_eq!((labels(&update["oldObject"]), labels(&update["object"])), (json!("1"), json!("2")));
    assert_eq!(update["options"]["fieldManager"], "me");
    assert_eq!((&delete["operation"], &delete["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(
        (labels(&delete["oldObject"]), &delete["options"]["kind"]),
        (json!("2"), &json!("DeleteOptions"))
    );
    assert_eq!(delete["dryRun"], false);
    // One after the other on one connection.
    assert!(hooks.connections() <= 2, "{}", hooks.connections());
}

#[tokio::test]
async fn failures_are_decided_by_the_failure_policy() {
    let world = world().await;
    let hooks = &world.hooks;
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    let cases = [
        ("hang", "context deadline exceeded", json!({"timeoutSeconds": 1})),
        (
            "junk",
            "couldn't get version/kind; json parse error: invalid character 'h' looking for beginning of value",
            json!({}),
        ),
        ("other", "received invalid webhook response: expected response.uid=", json!({})),
        ("error", "an error on the server (\"broken\") has prevented the request from succeeding", json!({})),
        (
            "ok",
            "connection refused",
            json!({"clientConfig": {"url": format!("https://localhost:{closed}/ok"), "caBundle": hooks.authority}}),
        ),
        (
            "ok",
            "certificate",
            json!({"clientConfig": {"url": format!("https://localhost:{}/ok", hooks.port)}}),
        ),
    ];
    for plural in [VALIDATING, MUTATING] {
        for (path, part, changes) in &cases {
            let hook = hooks.hook("sick.example.com", path, changes.clone());
            world.configure(plural, "sick", json!([hook])).await;
            let refused = world.until_dry(map("m", json!({})), |answer| answer.code != 201).await;
            let (code, text) = refused.refusal();
            let head = "Internal error occurred: failed calling webhook \"sick.example.com\": ";
            assert!(code == 500 && text.starts_with(head) && text.contains(part), "{path}: {code} {text}");
            let mut lenient = hooks.hook("sick.example.com", path, changes.clone());
            lenient["failurePolicy"] = "Ignore".into();
            let at = format!("{REGISTRATION}/{plural}/sick");
            world.send("PATCH", &at, json!({"webhooks": [lenient]})).await.ok();
            world.until_dry(map("m", json!({})), |answer| answer.code == 201).await;
            world.unregister(plural, "sick").await;
        }
    }
}

#[tokio::test]
async fn a_webhook_that_denies_everything_can_be_repaired() {
    let world = world().await;
    let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]});
    let all = |name: &str| json!([world.hooks.hook(name, "deny", json!({"rules": [rule]}))]);
    world.configure(VALIDATING, "all", all("all.example.com")).await;
    world.until_dry(map("m", json!({})), |answer| answer.code == 418).await;
    world.configure(MUTATING, "more", all("more.example.com")).await;
    // Streams are asked about, too, before anything else is known of the pod.
    let exec =
        world.send("POST", "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1", Value::Null).await;
    assert_eq!(exec.code, 418, "{}", exec.body);
    world.unregister(VALIDATING, "all").await;
    world.unregister(MUTATING, "more").await;
    world.until_dry(map("m", json!({})), |answer| answer.code == 201).await;
    let connects: Vec<Value> = world.hooks.taken().into_iter().map(|(_, request)| request).collect();
    let connect = connects.iter().find(|request| request["operation"] == "CONNECT").expect("a stream");
    assert_eq!(connect["object"]["kind"], "PodExecOptions");
    assert_eq!(connect["subResource"], "exec");
}

#[tokio::test]
async fn selectors_and_conditions_choose_requests() {
    let world = world().await;
    let hooks = &world.hooks;
    world
        .send("POST", "/api/v1/namespaces", json!({"metadata": {"name": "prod", "labels": {"tier": "prod"}}}))
        .await
        .ok();
    let hook = hooks.hook(
        "choosy.example.com",
        "deny",
        json!({
            "namespaceSelector": {"matchLabels": {"tier": "prod"}},
            "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
            "matchConditions": [
                {"name": "named", "expression": "object.metadata.name.startsWith('x')"},
                {"name": "not-admins", "expression": "!authorizer.group('').resource('nodes').check('delete').allowed()"},
            ],
        }),
    );
    world.configure(VALIDATING, "choosy", json!([hook])).await;
    let nobody = || UserInfo::component("nobody", &["system:masters"]);
    let prod = "/api/v1/namespaces/prod/configmaps?dryRun=All";
    // Members of system:masters may delete nodes, so that the last condition never holds for them.
    let answer = world.send_as(nobody(), "POST", prod, &map("x", json!({}))).await;
    assert_eq!(answer.code, 201);
    let open = hooks.hook(
        "choosy.example.com",
        "deny",
        json!({
            "namespaceSelector": {"matchLabels": {"tier": "prod"}},
            "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
            "matchConditions": [{"name": "named", "expression": "object.metadata.name.startsWith('x')"}],
        }),
    );
    world
        .send("PATCH", &format!("{REGISTRATION}/{VALIDATING}/choosy"), json!({"webhooks": [open]}))
        .await
        .ok();
    world.until(("POST", prod, map("x", json!({}))), |answer| answer.code == 418).await;
    for (path, object) in [
        (prod, map("y", json!({}))),
        (prod, map("x", json!({"free": "yes"}))),
        ("/api/v1/namespaces/default/configmaps?dryRun=All", map("x", json!({}))),
    ] {
        let answer = world.send("POST", path, object).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
    }
    let broken = json!([hooks.hook(
        "b.example.com",
        "ok",
        json!({"matchConditions": [{"name": "c", "expression": "object."}]})
    )]);
    let refused = world
        .send(
            "POST",
            &format!("{REGISTRATION}/{VALIDATING}"),
            json!({"metadata": {"name": "b"}, "webhooks": broken}),
        )
        .await;
    assert_eq!(refused.code, 422);
    assert!(refused.refusal().1.contains("compilation failed"), "{}", refused.body);
}

#[tokio::test]
async fn equivalent_versions_are_converted() {
    let world = world().await;
    let rule = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"], "operations": ["CREATE"]});
    let hook = |policy: &str| {
        json!([world.hooks.hook(
            "v2.example.com",
            "step/v2",
            json!({"rules": [rule], "matchPolicy": policy})
        )])
    };
    world.configure(MUTATING, "scalers", hook("Equivalent")).await;
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers?dryRun=All";
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let answer = world.until(("POST", path, scaler.clone()), |answer| steps(answer) == "v2").await;
    assert_eq!(
        (&answer.body["apiVersion"], &answer.body["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(50))
    );
    let (_, request) = world.hooks.taken().pop().expect("a request");
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    world
        .send("PATCH", &format!("{REGISTRATION}/{MUTATING}/scalers"), json!({"webhooks": hook("Exact")}))
        .await
        .ok();
    world.until(("POST", path, scaler), |answer| steps(answer).is_empty()).await;
}
