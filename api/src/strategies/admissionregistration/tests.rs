//! What is refused of webhook configurations and policies.

use serde_json::{Value, json};

use crate::strategies::trial::Trial;

fn hook(changes: &Value) -> Value {
    let mut hook = json!({
        "name": "a.example.com", "clientConfig": {"url": "https://example.com/x"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
    });
    for (key, value) in changes.as_object().into_iter().flatten() {
        hook[key] = value.clone();
    }
    hook
}

#[test]
fn webhooks() {
    let trial = Trial::of(
        "validatingwebhookconfiguration",
        json!({"metadata": {"name": "a"}, "webhooks": [hook(&json!({}))]}),
    );
    let refuses =
        |changes: Value, expect: &[&str]| trial.refuses(json!({"webhooks": [hook(&changes)]}), expect);
    refuses(
        json!({"name": "short", "timeoutSeconds": 31, "sideEffects": "Some", "admissionReviewVersions": []}),
        &[
            "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots",
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ],
    );
    refuses(
        json!({"clientConfig": {"url": "http://u:p@example.com/?x=1#y"}}),
        &[
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"y\": fragments are not permitted in the URL; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"x=1\": query parameters are not permitted in the URL; desired format: https://host[/path]",
        ],
    );
    let condition = |expression: &str| json!({"matchConditions": [{"name": "c", "expression": expression}]});
    refuses(condition("!authorizer.requestResource.check('x').allowed()"), &[]);
    refuses(
        condition("object.a.b"),
        &[
            "webhooks[0].matchConditions[0].expression: Invalid value: \"object.a.b\": must evaluate to bool but got dyn",
        ],
    );
    refuses(
        condition("params.x == 1"),
        &[
            "webhooks[0].matchConditions[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^",
        ],
    );
}

fn constraints() -> Value {
    json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"]}]})
}

#[test]
fn validating_policies() {
    let spec = json!({"matchConstraints": constraints(), "validations": [{"expression": "object.spec.replicas <= 5"}]});
    let trial = Trial::of("validatingadmissionpolicy", json!({"metadata": {"name": "p"}, "spec": spec}));
    let refuses = |changes: Value, expect: &[&str]| trial.refuses(json!({"spec": changes}), expect);
    refuses(
        json!({"validations": [{"expression": "object.", "messageExpression": "1", "reason": "Teapot"}]}),
        &[
            "spec.validations[0].expression: Invalid value: \"object.\": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^",
            "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
            "spec.validations[0].reason: Unsupported value: \"Teapot\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ],
    );
    // Parameters only with a kind of them, variables only after their declaration, no authorizer in messages.
    let named = "spec.validations[0].expression: Invalid value: \"params.max > 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.max > 1\n | ^";
    refuses(json!({"validations": [{"expression": "params.max > 1"}]}), &[named]);
    refuses(
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "params.max > 1"}],
            "variables": [{"name": "a", "expression": "params.data"}, {"name": "b", "expression": "variables.a.size() > 0"}]}),
        &[],
    );
    refuses(
        json!({"variables": [{"name": "b", "expression": "variables.a"}, {"name": "a", "expression": "1"}]}),
        &[
            "spec.variables[0].expression: Invalid value: \"variables.a\": compilation failed: ERROR: <input>:1:10: undefined field 'a'\n | variables.a\n | .........^",
        ],
    );
    refuses(
        json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
        &[
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
        ],
    );
    let asks = "authorizer.path('/').check('get').reason()";
    let texts =
        trial_texts(&trial, json!({"validations": [{"expression": "true", "messageExpression": asks}]}));
    assert!(texts.contains("undeclared reference to 'authorizer'"), "{texts}");
}

fn trial_texts(trial: &Trial, spec: Value) -> String {
    trial.wrong(json!({"spec": spec})).join("\n")
}

#[test]
fn mutating_policies() {
    let mutation = |expression: &str| json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
    let spec = json!({"matchConstraints": constraints(), "reinvocationPolicy": "Never",
        "mutations": mutation("Object{spec: Object.spec{replicas: 1}}")});
    let trial = Trial::of("mutatingadmissionpolicy", json!({"metadata": {"name": "p"}, "spec": spec}));
    trial.refuses(
        json!({"spec": {"mutations": mutation("{'spec': 1}")}}),
        &["spec.mutations[0].applyConfiguration.expression: Invalid value: \"{'spec': 1}\": must evaluate to Object but got map(string, int)"],
    );
    let patch = |expression: &str| json!({"spec": {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}});
    trial.refuses(
        patch("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'x'}]"),
        &[],
    );
    trial.refuses(
        patch("Object{}"),
        &["spec.mutations[0].jsonPatch.expression: Invalid value: \"Object{}\": must evaluate to list(JSONPatch) but got Object"],
    );
}
