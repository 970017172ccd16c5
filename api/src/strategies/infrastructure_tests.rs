//! What is refused of storage, classes of pods, devices, webhooks and admission policies.

use serde_json::json;

use super::trial::Trial;

#[test]
fn storage_classes() {
    let trial = Trial::of("sc", json!({"metadata": {"name": "x"}, "provisioner": "a.example"}));
    let made = trial.created(json!({}));
    assert_eq!((&made["reclaimPolicy"], &made["volumeBindingMode"]), (&json!("Delete"), &json!("Immediate")));
    trial.refuses(
        json!({"provisioner": null, "reclaimPolicy": "Burn"}),
        &[
            "provisioner: Required value",
            "reclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Retain\"",
        ],
    );
    trial.refuses_update(
        json!({"provisioner": "b.example", "parameters": {"a": "b"}, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "provisioner: Forbidden: updates to provisioner are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
            "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
        ],
    );
    let trial = Trial::of(
        "vac",
        json!({"metadata": {"name": "x"}, "driverName": "a.example", "parameters": {"a": "b"}}),
    );
    trial.refuses(
        json!({"parameters": null}),
        &["parameters: Required value: must contain at least one key/value pair"],
    );
    trial.refuses_update(
        json!({"parameters": {"a": "c"}}),
        &["parameters: Forbidden: updates to parameters are forbidden."],
    );
}

#[test]
fn drivers_and_attachments() {
    let trial = Trial::of("csidriver", json!({"metadata": {"name": "a.example"}, "spec": {}}));
    assert_eq!(trial.created(json!({}))["spec"]["volumeLifecycleModes"], json!(["Persistent"]));
    trial.refuses(
        json!({"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}], "fsGroupPolicy": "Some"}}),
        &[
            "spec.fsGroupPolicy: Unsupported value: \"Some\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
        ],
    );
    trial.refuses_update(
        json!({"spec": {"attachRequired": false}}),
        &["spec.attachedRequired: Invalid value: false: field is immutable"],
    );
    let trial = Trial::of(
        "csinode",
        json!({"metadata": {"name": "n"}, "spec": {"drivers": [{"name": "a.example", "nodeID": "1"}]}}),
    );
    trial.refuses(
        json!({"spec": {"drivers": [{"name": "a.example", "nodeID": ""}, {"name": "a.example", "nodeID": "1"}]}}),
        &["spec.drivers[0].nodeID: Required value", "spec.drivers[1].name: Duplicate value: \"a.example\""],
    );
    let trial = Trial::of(
        "volumeattachment",
        json!({"metadata": {"name": "x"}, "spec": {"attacher": "a.example", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
    );
    assert_eq!(trial.created(json!({}))["status"], json!({"attached": false}));
    trial.refuses(
        json!({"spec": {"source": {"persistentVolumeName": null}}}),
        &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
    );
    trial.refuses_update(
        json!({"spec": {"nodeName": "m"}}),
        &[
            "spec: Invalid value: {\"attacher\":\"a.example\",\"nodeName\":\"m\",\"source\":{\"persistentVolumeName\":\"v\"}}: field is immutable",
        ],
    );
}

#[test]
fn priority_and_runtime_classes() {
    let trial = Trial::of("pc", json!({"metadata": {"name": "x"}, "value": 10}));
    assert_eq!(trial.created(json!({}))["preemptionPolicy"], "PreemptLowerPriority");
    trial.refuses(
        json!({"value": 1_000_000_001}),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    trial.refuses(
        json!({"metadata": {"name": "system-x"}}),
        &[
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
        ],
    );
    trial.refuses_update(json!({"value": 11}), &["value: Forbidden: may not be changed in an update."]);
    let trial = Trial::of("runtimeclass", json!({"metadata": {"name": "x"}, "handler": "runsc"}));
    trial.refuses(
        json!({"handler": "Run", "overhead": {"podFixed": {"memory": "-1"}}, "scheduling": {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]}}),
        &[
            "handler: Invalid value: \"Run\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "overhead.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            "scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\",\"operator\":\"Exists\"}",
        ],
    );
    trial.refuses_update(
        json!({"handler": "other"}),
        &["handler: Invalid value: \"other\": field is immutable"],
    );
}

#[test]
fn webhooks() {
    let hook = json!({"name": "a.b.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://a.example/x"}});
    let trial =
        Trial::of("validatingwebhookconfiguration", json!({"metadata": {"name": "x"}, "webhooks": [hook]}));
    let made = trial.created(json!({}))["webhooks"][0].clone();
    assert_eq!((&made["failurePolicy"], &made["timeoutSeconds"]), (&json!("Fail"), &json!(10)));
    trial.refuses(
        json!({"webhooks": [{"name": "a", "admissionReviewVersions": ["v9"], "timeoutSeconds": 31,
            "clientConfig": {"url": "http://u@a.example?x#y"}, "rules": [{"operations": ["*", "CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*", "pods/log"]}]}]}),
        &[
            "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
            "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
            "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log",
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"y\": fragments are not permitted in the URL; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"x\": query parameters are not permitted in the URL; desired format: https://host[/path]",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
        ],
    );
}

#[test]
fn policies() {
    let constraints = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    let trial = Trial::of(
        "validatingadmissionpolicy",
        json!({"metadata": {"name": "x"}, "spec": {"matchConstraints": constraints, "validations": [{"expression": "true"}]}}),
    );
    assert_eq!(trial.created(json!({}))["spec"]["failurePolicy"], "Fail");
    trial.refuses(
        json!({"spec": {"matchConstraints": null, "validations": [], "variables": [{"name": "if", "expression": " "}], "paramKind": {"apiVersion": "a/b/c"}}}),
        &[
            "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.paramKind.kind: Required value",
            "spec.matchConstraints: Required value",
            "spec.variables[0].name: Invalid value: \"if\": name is not a valid CEL identifier",
            "spec.variables[0].expression: Required value: expression is not specified",
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ],
    );
    let trial = Trial::of(
        "validatingadmissionpolicybinding",
        json!({"metadata": {"name": "x"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    );
    trial.refuses(
        json!({"spec": {"policyName": null, "validationActions": ["Deny", "Warn"], "paramRef": {}}}),
        &[
            "spec.policyName: Required value",
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ],
    );
    let trial = Trial::of(
        "mutatingadmissionpolicy",
        json!({"metadata": {"name": "x"}, "spec": {"matchConstraints": constraints, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}]}}),
    );
    trial.refuses(
        json!({"spec": {"reinvocationPolicy": null, "mutations": [{"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}}, {}]}}),
        &[
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
            "spec.mutations[1].patchType: Required value",
            "spec.reinvocationPolicy: Required value",
        ],
    );
}

#[test]
fn devices() {
    let trial = Trial::of(
        "resourceclaim",
        json!({"metadata": {"name": "x", "namespace": "a"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}),
    );
    let made = trial.created(json!({}));
    let expect = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
    assert_eq!(made["spec"]["devices"]["requests"][0]["exactly"], expect);
    trial.refuses(
        json!({"spec": {"devices": {"requests": [{"name": "r"}, {"name": "r", "exactly": {"deviceClassName": "", "allocationMode": "All", "count": 2}}],
            "constraints": [{"requests": ["q"], "matchAttribute": "x"}]}}}),
        &[
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[1]: Duplicate value: \"r\"",
            "spec.devices.constraints[0].requests[0]: Invalid value: \"q\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"x\": must include a domain",
        ],
    );
    trial.refuses_update(
        json!({"spec": {"devices": null}}),
        &["spec: Invalid value: {\"devices\":{}}: field is immutable"],
    );
    trial.refuses_status(
        json!({}),
        json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}),
        &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
    );
    let trial = Trial::of(
        "resourceslice",
        json!({"metadata": {"name": "x"}, "spec": {"driver": "d.example", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
    );
    trial.refuses(
        json!({"spec": {"allNodes": true, "pool": {"resourceSliceCount": 0}, "devices": [{"name": "d", "attributes": {"a": {}}, "nodeName": "n"}]}}),
        &[
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ],
    );
    trial.refuses_update(
        json!({"spec": {"driver": "e.example"}}),
        &["spec.driver: Invalid value: \"e.example\": field is immutable"],
    );
}
