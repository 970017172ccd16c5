//! Validating policies, written the usual ways.

use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::{Answer, MAPS, REGISTRATION, World, map, world};

const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";

fn rule(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE", "UPDATE"]}]})
}

impl World {
    /// A policy, and a binding of the same name.
    async fn policy(&self, name: &str, spec: Value, binding: Value) {
        self.register(POLICIES, name, json!({"spec": spec})).await;
        let mut bound = json!({"policyName": name, "validationActions": ["Deny"]});
        for (key, value) in binding.as_object().into_iter().flatten() {
            bound[key] = value.clone();
        }
        self.register(BINDINGS, name, json!({"spec": bound})).await;
    }

    async fn until_denied(&self, path: &str, object: Value) -> Answer {
        self.until(("POST", path, object), |answer| answer.code >= 400).await
    }
}

fn deployment(replicas: i64, image: &str, labels: Value) -> Value {
    json!({
        "metadata": {"name": "web", "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}},
    })
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments?dryRun=All";

#[tokio::test]
async fn images_labels_and_replicas() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": rule("apps", "deployments"),
        "variables": [{"name": "containers", "expression": "object.spec.template.spec.containers"},
                      {"name": "latest", "expression": "variables.containers.filter(c, c.image.endsWith(':latest'))"}],
        "validations": [
            {"expression": "variables.latest.size() == 0", "messageExpression": "'use a version for ' + variables.latest[0].name"},
            {"expression": "object.spec.replicas <= 5", "message": "too many replicas", "reason": "Forbidden"},
            {"expression": "has(object.metadata.labels) && 'team' in object.metadata.labels"},
        ],
    });
    world.policy("usual", spec, json!({})).await;
    let refused = world.until_denied(DEPLOYMENTS, deployment(1, "web:latest", json!({"team": "a"}))).await;
    let head = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'usual' with binding 'usual' denied request: ";
    assert_eq!(refused.refusal(), (422, format!("{head}use a version for web").as_str()));
    assert_eq!(refused.body["reason"], "Invalid");
    let cause =
        "ValidatingAdmissionPolicy 'usual' with binding 'usual' denied request: use a version for web";
    assert_eq!(refused.body["details"]["causes"], json!([{"message": cause}]));
    for (object, code, text) in [
        (deployment(6, "web:1", json!({"team": "a"})), 403, "too many replicas"),
        (
            deployment(1, "web:1", json!({})),
            422,
            "failed expression: has(object.metadata.labels) && 'team' in object.metadata.labels",
        ),
    ] {
        let refused = world.send("POST", DEPLOYMENTS, object).await;
        assert_eq!(refused.refusal(), (code, format!("{head}{text}").as_str()));
    }
    world.send("POST", DEPLOYMENTS, deployment(5, "web:1", json!({"team": "a"}))).await.ok();
    world.unregister(BINDINGS, "usual").await;
    world
        .until(("POST", DEPLOYMENTS, deployment(9, "web:latest", json!({}))), |answer| answer.code == 201)
        .await;
}

#[tokio::test]
async fn parameters_by_name_and_by_selector() {
    let world = world().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rule("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)",
                         "messageExpression": "'at most ' + params.data.max + ' by ' + params.metadata.name"}],
    });
    let named =
        json!({"paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    world.policy("replicas", spec, named).await;
    let head = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas' denied request: ";
    let refused = world.until_denied(DEPLOYMENTS, deployment(1, "a", json!({}))).await;
    let missing =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(refused.refusal(), (422, format!("{head}{missing}").as_str()));
    let limits = |name: &str, max: &str| json!({"metadata": {"name": name, "labels": {"limits": "yes"}}, "data": {"max": max}});
    world.send("POST", MAPS, limits("limits", "2")).await.ok();
    world.send("POST", DEPLOYMENTS, deployment(2, "a", json!({}))).await.ok();
    let refused = world.send("POST", DEPLOYMENTS, deployment(3, "a", json!({}))).await;
    assert_eq!(refused.refusal(), (422, format!("{head}at most 2 by limits").as_str()));

    // Of several, every one must agree; in the namespace of the object where none is named.
    let selected = json!({"spec": {"paramRef": {"name": null, "namespace": null, "selector": {"matchLabels": {"limits": "yes"}}}}});
    world.send("PATCH", &format!("{REGISTRATION}/{BINDINGS}/replicas"), selected).await.ok();
    world.send("POST", MAPS, limits("more", "1")).await.ok();
    let refused = world.until_denied(DEPLOYMENTS, deployment(2, "a", json!({}))).await;
    assert_eq!(refused.refusal(), (422, format!("{head}at most 1 by more").as_str()));

    let unknown = json!({"spec": {"paramKind": {"apiVersion": "rules.example.com/v1", "kind": "Limit"}}});
    world.send("PATCH", &format!("{REGISTRATION}/{POLICIES}/replicas"), unknown).await.ok();
    let text = "ValidatingAdmissionPolicy 'replicas' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Limit'";
    let is_unknown = |answer: &Answer| answer.refusal().1.ends_with(text);
    world.until(("POST", DEPLOYMENTS, deployment(1, "a", json!({}))), is_unknown).await;
}

#[tokio::test]
async fn warnings_instead_of_refusals() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": rule("", "configmaps"),
        "validations": [{"expression": "object.metadata.name != 'odd'", "message": "an odd name"}],
        "auditAnnotations": [{"key": "name", "valueExpression": "'created ' + object.metadata.name"}],
    });
    world.policy("names", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let warned = world.until_dry(map("odd", json!({})), |answer| !answer.warnings.is_empty()).await;
    assert_eq!(warned.code, 201);
    let text =
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'names' with binding 'names': an odd name\"";
    assert_eq!(warned.warnings, [text]);
}

#[tokio::test]
async fn who_asks_and_where() {
    let world = world().await;
    let namespace = json!({"metadata": {"name": "prod", "labels": {"tier": "prod"}}});
    world.send("POST", "/api/v1/namespaces", namespace).await.ok();
    let spec = json!({
        "matchConstraints": rule("", "configmaps"),
        "matchConditions": [{"name": "users", "expression": "!request.userInfo.username.startsWith('system:')"}],
        "validations": [
            {"expression": "authorizer.requestResource.check('create').allowed()", "message": "asked for nothing"},
            {"expression": "authorizer.serviceAccount('prod', 'bot').group('').resource('secrets').check('delete').allowed()",
             "messageExpression": "'not in ' + namespaceObject.metadata.labels.tier + ', ' + request.userInfo.username"},
        ],
    });
    world.policy("production", spec, json!({})).await;
    let prod = "/api/v1/namespaces/prod/configmaps?dryRun=All";
    let refused = world.until_denied(prod, map("m", json!({}))).await;
    assert!(refused.refusal().1.ends_with("denied request: not in prod, admin"), "{}", refused.body);
    let own = UserInfo::component("system:kube-controller-manager", &["system:masters"]);
    let answer = world.send_as(own, "POST", prod, &map("m", json!({}))).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
}

/// Constraints, and what is refused of a namespace, of a configuration map `m`, and of one `n` with a label.
const CHOICES: [(&str, [bool; 3]); 8] = [
    (r#"{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}"#, [true, true, true]),
    (r#"{"apiGroups": [""], "apiVersions": ["v2"], "resources": ["*"]}"#, [false, false, false]),
    (
        r#"{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["*/status", "pods"]}"#,
        [false, false, false],
    ),
    (r#"{"apiGroups": [""], "apiVersions": ["*"], "resources": ["*/*"]}"#, [true, true, true]),
    (
        r#"{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["*"], "scope": "Cluster"}"#,
        [true, false, false],
    ),
    (
        r#"{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["*"], "scope": "Namespaced"}"#,
        [false, true, true],
    ),
    (
        r#"{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "resourceNames": ["n"]}"#,
        [false, false, true],
    ),
    (
        r#"{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["DELETE"]}"#,
        [false; 3],
    ),
];

#[tokio::test]
async fn rules_choose_requests() {
    let world = world().await;
    // Refused as soon as the rule beside it is in effect.
    let marker = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE"], "resourceNames": ["marker"]});
    let requests = [
        ("/api/v1/namespaces?dryRun=All".to_owned(), json!({"metadata": {"name": "new"}})),
        (format!("{MAPS}?dryRun=All"), map("m", json!({}))),
        (format!("{MAPS}?dryRun=All"), map("n", json!({"free": "yes"}))),
    ];
    let try_all = async |constraints: Value, expected: [bool; 3]| {
        let spec = json!({"matchConstraints": constraints, "validations": [{"expression": "false"}]});
        world.policy("chosen", spec, json!({})).await;
        world.until_dry(map("marker", json!({})), |answer| answer.code == 422).await;
        for ((path, object), refused) in requests.iter().zip(expected) {
            let answer = world.send("POST", path, object.clone()).await;
            assert_eq!(answer.code == 422, refused, "{constraints} {object} {}", answer.body);
        }
        world.unregister(POLICIES, "chosen").await;
        world.unregister(BINDINGS, "chosen").await;
        world.until_dry(map("marker", json!({})), |answer| answer.code == 201).await;
    };
    for (rule, expected) in CHOICES {
        let mut rule: Value = serde_json::from_str(rule).expect("a rule");
        if rule["operations"].is_null() {
            rule["operations"] = json!(["CREATE"]);
        }
        try_all(json!({"resourceRules": [marker, rule]}), expected).await;
    }
    let all = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]});
    let mut named = marker.clone();
    named["resourceNames"] = json!(["n"]);
    try_all(json!({"resourceRules": [all], "excludeResourceRules": [named]}), [true, true, false]).await;
    let selector = json!({"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]});
    try_all(json!({"resourceRules": [all], "objectSelector": selector}), [true, true, false]).await;
}

#[tokio::test]
async fn failures_follow_the_failure_policy() {
    let world = world().await;
    let spec = |policy: &str| {
        json!({
            "failurePolicy": policy, "matchConstraints": rule("", "configmaps"),
            "validations": [{"expression": "object.data.missing == 'x'"}],
        })
    };
    world.policy("strict", spec("Fail"), json!({})).await;
    let refused = world.until_denied(&format!("{MAPS}?dryRun=All"), map("m", json!({}))).await;
    let text = "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'strict' with binding 'strict' denied request: \
                expression 'object.data.missing == 'x'' resulted in error: no such key: data";
    assert_eq!(refused.refusal(), (422, text));
    let lenient = json!({"spec": {"failurePolicy": "Ignore"}});
    world.send("PATCH", &format!("{REGISTRATION}/{POLICIES}/strict"), lenient).await.ok();
    world.until_dry(map("m", json!({})), |answer| answer.code == 201).await;
    // Nor can a policy stand in the way of its own end.
    let everything = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]},
        "validations": [{"expression": "false"}],
    });
    world.policy("never", everything, json!({})).await;
    world.until_dry(map("m", json!({})), |answer| answer.code == 422).await;
    world.unregister(POLICIES, "never").await;
    world.until_dry(map("m", json!({})), |answer| answer.code == 201).await;
}

#[tokio::test]
async fn expressions_are_checked_against_their_kinds() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": rule("apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.spec.nothing == 1"}],
    });
    world.register(POLICIES, "typed", json!({"spec": spec})).await;
    let path = format!("{REGISTRATION}/{POLICIES}/typed");
    let checked = world
        .until(("GET", &path, Value::Null), |answer| answer.body["status"]["observedGeneration"] == 1)
        .await;
    let text = "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nothing'\n | object.spec.nothing == 1\n | ...........^\n";
    let expected =
        json!({"expressionWarnings": [{"fieldRef": "spec.validations[1].expression", "warning": text}]});
    assert_eq!(checked.body["status"]["typeChecking"], expected);
}
