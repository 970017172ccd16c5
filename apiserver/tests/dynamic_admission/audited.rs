//! What the audit log says of webhooks, policies and pod security.

use apiserver::audit::{Format, LogOptions, Options};
use serde_json::{Value, json};

use super::{MAPS, World, map, maps_rule, world_with};

const PODS: &str = "/api/v1/namespaces/guarded/pods";

/// A world whose log has changes at a level.
async fn audited(level: &str) -> World {
    world_with(|config, directory| {
        let policy_file = directory.join("policy.yaml");
        let policy = format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {{level: {level}, verbs: [create]}}\n"
        );
        std::fs::write(&policy_file, policy).expect("written");
        let path = directory.join("audit.log");
        let log = LogOptions { path, format: Format::Json, max_size: 10, max_age: 0, max_backups: 5 };
        config.audit = Options { policy_file: Some(policy_file), log: Some(log), webhook: None };
        config.admission.pod_security.usernames = vec!["operator".to_owned()];
    })
    .await
}

impl World {
    /// Annotations of the event of a request to a path, those of authorization left out.
    async fn annotations(&self, path: &str) -> Value {
        self.shutdown.trigger();
        self.shutdown.drained().await;
        let text = std::fs::read_to_string(self.directory.path().join("audit.log")).expect("the log");
        let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        let event = events.find(|event| event["requestURI"] == path).expect("the event");
        let annotations = event["annotations"].as_object().expect("annotations");
        let others = annotations.iter().filter(|(key, _)| !key.starts_with("authorization.k8s.io/"));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    async fn hooked(&self) {
        let hooks = &self.hooks;
        let lenient = json!({"failurePolicy": "Ignore"});
        let mutating = json!([
            hooks.hook("step.example.com", "step/a", json!({})),
            hooks.hook("sick.example.com", "junk", lenient.clone()),
            hooks.hook("idle.example.com", "ok", json!({})),
        ]);
        self.register("mutatingwebhookconfigurations", "mutating", json!({"webhooks": mutating})).await;
        let validating = json!([
            hooks.hook("warn.example.com", "warn", json!({})),
            hooks.hook("broken.example.com", "error", lenient),
        ]);
        self.register("validatingwebhookconfigurations", "validating", json!({"webhooks": validating})).await;
        self.send("POST", MAPS, map("m", json!({}))).await.ok();
    }
}

#[tokio::test]
async fn webhooks_leave_annotations() {
    let mutation = |webhook: &str, mutated: bool| {
        format!(r#"{{"configuration":"mutating","webhook":"{webhook}","mutated":{mutated}}}"#)
    };
    let mut expected = json!({
        "mutation.webhook.admission.k8s.io/round_0_index_0": mutation("step.example.com", true),
        "mutation.webhook.admission.k8s.io/round_0_index_1": mutation("sick.example.com", false),
        "mutation.webhook.admission.k8s.io/round_0_index_2": mutation("idle.example.com", false),
        "failed-open.mutation.webhook.admission.k8s.io/round_0_index_1": "sick.example.com",
        "warn.example.com/key": "value",
        "failed-open.validating.webhook.admission.k8s.io/round_0_index_1": "broken.example.com",
    });
    let world = audited("Metadata").await;
    world.hooked().await;
    assert_eq!(world.annotations(MAPS).await, expected);
    // What the log has objects of, it has patches of.
    expected["patch.webhook.admission.k8s.io/round_0_index_0"] = concat!(
        r#"{"configuration":"mutating","webhook":"step.example.com","#,
        r#""patch":[{"op":"add","path":"/metadata/labels","value":{"steps":"a"}}],"patchType":"JSONPatch"}"#
    )
    .into();
    let world = audited("Request").await;
    world.hooked().await;
    assert_eq!(world.annotations(MAPS).await, expected);
}

#[tokio::test]
async fn policies_leave_annotations() {
    let world = audited("Metadata").await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [maps_rule(&["CREATE"])]},
        "validations": [{"expression": "false", "message": "never good"}],
        "auditAnnotations": [{"key": "who", "valueExpression": "request.userInfo.username"}],
    });
    world.register("validatingadmissionpolicies", "p.example.com", json!({"spec": spec})).await;
    let binding = json!({"policyName": "p.example.com", "validationActions": ["Audit"]});
    world.register("validatingadmissionpolicybindings", "b", json!({"spec": binding})).await;
    world.send("POST", MAPS, map("m", json!({}))).await.ok();
    let failure = json!([{"message": "never good", "policy": "p.example.com", "binding": "b",
                          "expressionIndex": 0, "validationActions": ["Audit"]}]);
    let mut annotations = world.annotations(MAPS).await;
    let told = annotations["validation.policy.admission.k8s.io/validation_failure"].take();
    let told: Value = serde_json::from_str(told.as_str().expect("text")).expect("JSON");
    assert_eq!((told, &annotations["p.example.com/who"]), (failure, &json!("admin")));
}

/// What the log says of a pod, or of something else in its namespace, created by a user.
async fn said(labels: Value, user: &str, path: &str, object: Value) -> Value {
    let world = audited("Metadata").await;
    let namespace = json!({"metadata": {"name": "guarded", "labels": labels}});
    world.send("POST", "/api/v1/namespaces", namespace).await.ok();
    let account = json!({"metadata": {"name": "default"}});
    world.send("POST", "/api/v1/namespaces/guarded/serviceaccounts", account).await.ok();
    let user = component_base::user::UserInfo::component(user, &["system:masters"]);
    world.send_as(user, "POST", path, &object).await;
    world.annotations(path).await
}

#[tokio::test]
async fn pod_security_leaves_annotations() {
    let labels = || {
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30",
               "pod-security.kubernetes.io/audit": "baseline"})
    };
    let spec = json!({"hostPID": true, "containers": [{"name": "c", "image": "i:1"}]});
    let pod = || json!({"metadata": {"name": "p"}, "spec": spec});
    let violation = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    let key = |key: &str| format!("pod-security.kubernetes.io/{key}");
    let refused = said(labels(), "admin", PODS, pod()).await;
    assert_eq!(refused, json!({key("enforce-policy"): "baseline:v1.30", key("audit-violations"): violation}));
    // Who makes pods is held to nothing, but written down.
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    let deployment = json!({"metadata": {"name": "d"}, "spec":
        {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let path = "/apis/apps/v1/namespaces/guarded/deployments";
    let maker = said(labels(), "admin", path, deployment).await;
    assert_eq!(maker, json!({key("audit-violations"): violation}));
    let spared = said(labels(), "operator", PODS, pod()).await;
    assert_eq!(spared, json!({key("exempt"): "user"}));
    let free = said(json!({}), "admin", PODS, pod()).await;
    assert_eq!(free, json!({key("enforce-policy"): "privileged:latest"}));
}
