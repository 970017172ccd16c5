//! What is refused of roles, signing requests, API services and flow control.

use serde_json::json;

use super::trial::Trial;

#[test]
fn roles() {
    let trial = Trial::of(
        "role",
        json!({"metadata": {"name": "a:b", "namespace": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    );
    trial.refuses(
        json!({"rules": [{}, {"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    let trial = Trial::of("clusterrole", json!({"metadata": {"name": "x"}, "rules": []}));
    trial.refuses(
        json!({"aggregationRule": {}}),
        &[
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        ],
    );
}

#[test]
fn bindings() {
    let trial = Trial::of(
        "rolebinding",
        json!({"metadata": {"name": "x", "namespace": "a"}, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "robot"}]}),
    );
    let made = trial.created(json!({}));
    assert_eq!(made["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(made["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    trial.refuses(
        json!({"roleRef": {"kind": "Pod", "name": ""}}),
        &[
            "roleRef.kind: Unsupported value: \"Pod\": supported values: \"Role\", \"ClusterRole\"",
            "roleRef.name: Required value",
        ],
    );
    trial.refuses(
        json!({"subjects": [{"kind": "Robot", "name": "x"}]}),
        &["subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\""],
    );
    trial.refuses_update(
        json!({"roleRef": {"name": "other"}}),
        &[
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"other\"}: cannot change roleRef",
        ],
    );
    let trial = Trial::of(
        "clusterrolebinding",
        json!({"metadata": {"name": "x"}, "roleRef": {"kind": "ClusterRole", "name": "r"}}),
    );
    trial.refuses(
        json!({"subjects": [{"kind": "ServiceAccount", "name": "x"}]}),
        &["subjects[0].namespace: Required value"],
    );
}

#[test]
fn signing_requests() {
    let pem = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
    let trial = Trial::of(
        "csr",
        json!({"metadata": {"name": "x"}, "spec": {"request": pem, "signerName": "a.example/b", "usages": ["client auth"]}}),
    );
    trial.refuses(
        json!({"spec": {"request": "eA==", "usages": [], "signerName": "kubernetes.io/legacy-unknown", "expirationSeconds": 1}}),
        &[
            "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
            "spec.usages: Required value: usages must be provided",
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)",
        ],
    );
    trial.refuses(
        json!({"spec": {"signerName": "x/y", "usages": ["signing", "signing"]}}),
        &[
            "spec.usages[1]: Duplicate value: \"signing\"",
            "spec.signerName: Invalid value: \"x\": should be a domain with at least two segments separated by dots",
        ],
    );
    let approved = json!({"conditions": [{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    trial.refuses_change(json!({}), json!({"status": approved}), "approval", &[]);
    trial.refuses_status(
        json!({}),
        approved.clone(),
        &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
    );
    trial.refuses_change(
        json!({"status": approved}),
        json!({"status": {"conditions": []}}),
        "approval",
        &["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""],
    );
    trial.refuses_status(
        json!({}),
        json!({"certificate": "eA=="}),
        &["status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"],
    );
}

#[test]
fn api_services() {
    let trial = Trial::of(
        "apiservice",
        json!({"metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}),
    );
    assert_eq!(trial.created(json!({}))["status"]["conditions"][0]["status"], "True");
    trial.refuses(
        json!({"spec": {"version": "v2", "groupPriorityMinimum": 0, "insecureSkipTLSVerify": true}}),
        &[
            "metadata.name: Invalid value: \"v1.a.example\": must be `spec.version+\".\"+spec.group`: \"v2.a.example\"",
            "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ],
    );
    let remote = trial.created(json!({"spec": {"service": {"name": "s", "namespace": "a"}}}));
    assert_eq!(remote["spec"]["service"]["port"], 443);
    assert_eq!(remote["status"], json!({}));
}

#[test]
fn flow_control() {
    let trial = Trial::of(
        "flowschema",
        json!({"metadata": {"name": "x"}, "spec": {"priorityLevelConfiguration": {"name": "p"}}}),
    );
    assert_eq!(trial.created(json!({}))["spec"]["matchingPrecedence"], 1000);
    trial.refuses(
        json!({"spec": {"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": ""}, "rules": [{"subjects": [{"kind": "User", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["fly"], "apiGroups": ["*", "a"], "resources": []}]}]}}),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"fly\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other api groups",
            "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
            "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
        ],
    );
    let trial = Trial::of(
        "prioritylevelconfiguration",
        json!({"metadata": {"name": "x"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
    );
    let limited = trial.created(json!({}))["spec"]["limited"].clone();
    assert_eq!((&limited["nominalConcurrencyShares"], &limited["lendablePercent"]), (&json!(30), &json!(0)));
    assert_eq!(
        limited["limitResponse"]["queuing"],
        json!({"queues": 64, "handSize": 8, "queueLengthLimit": 50})
    );
    trial.refuses(
        json!({"spec": {"limited": {"limitResponse": {"queuing": {"handSize": 20}}}}}),
        &[
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 20: required entropy bits of deckSize 64 and handSize 20 should not be greater than 60",
        ],
    );
    trial.refuses(
        json!({"spec": {"type": "Exempt"}}),
        &[
            "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            "spec.limited: Forbidden: must be nil if the type is not Limited",
        ],
    );
}

#[test]
fn trust_bundles() {
    const AUTHORITY: &str = include_str!("../../testdata/authority.pem");
    let trial = Trial::of(
        "clustertrustbundles",
        json!({"metadata": {"name": "s.io:x:a"}, "spec": {"signerName": "s.io/x", "trustBundle": AUTHORITY}}),
    );
    trial.refuses(json!({"spec": {"trustBundle": format!("words\n{AUTHORITY}words")}}), &[]);
    let omitted = |why: &str| format!("spec.trustBundle: Invalid value: \"<value omitted>\": {why}");
    for (bundle, why) in [
        ("words".to_owned(), "at least one trust anchor must be provided"),
        (AUTHORITY.repeat(2), "duplicate trust anchor (indices [0 1])"),
        (AUTHORITY.replace("CERTIFICATE", "KEY"), "entry 0 has bad block type: KEY"),
        (AUTHORITY.replacen("-\nMII", "-\na: b\n\nMII", 1), "entry 0 has PEM block headers"),
        (crate::pem::certificate(b"x"), "entry 0 does not parse as X.509"),
    ] {
        trial.refuses(json!({"spec": {"trustBundle": bundle}}), &[&omitted(why)]);
    }
    trial.refuses(
        json!({"metadata": {"name": "a"}}),
        &["metadata.name: Invalid value: \"a\": ClusterTrustBundle for signerName s.io/x must be named with prefix s.io:x:"],
    );
    trial.refuses(
        json!({"spec": {"signerName": ""}}),
        &["metadata.name: Invalid value: \"s.io:x:a\": ClusterTrustBundle without signer name must not have \":\" in its name"],
    );
    trial.refuses_change(
        json!({}),
        json!({"metadata": {"name": "s.io:y:a"}, "spec": {"signerName": "s.io/y"}}),
        "",
        &["spec.signerName: Invalid value: \"s.io/y\": field is immutable"],
    );
}
