//! A definition: what is accepted, what is refused and with which text, its conditions.

use serde_json::json;

use super::*;

fn crd(schema: Value) -> Value {
    json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
        "status": {"storedVersions": ["v1"]}})
}

#[track_caller]
fn check(crd: &Value, expect: &[&str]) {
    let got: Vec<String> = validate(crd).iter().map(ToString::to_string).collect();
    assert_eq!(got, expect);
}

fn spec_of(inner: Value) -> Value {
    crd(json!({"type": "object", "properties": {"spec": inner}}))
}

#[test]
fn names_and_versions() {
    check(&crd(json!({"type": "object"})), &[]);
    let mut wrong = crd(json!({"type": "object"}));
    wrong["metadata"]["name"] = json!("x");
    wrong["spec"]["scope"] = json!("World");
    wrong["spec"]["names"]["listKind"] = json!("Widget");
    wrong["spec"]["versions"][0]["storage"] = json!(false);
    wrong["spec"]["versions"][0]["name"] = json!("V1");
    let got: Vec<String> = validate(&wrong).iter().map(|c| format!("{} {}", c.field, c.reason)).collect();
    assert_eq!(
        got,
        [
            "metadata.name FieldValueInvalid",
            "spec.scope FieldValueNotSupported",
            "spec.versions[0].name FieldValueInvalid",
            "spec.versions FieldValueInvalid",
            "spec.names.listKind FieldValueInvalid",
            "status.storedVersions[0] FieldValueInvalid",
        ]
    );
}

#[test]
fn structural_schemas() {
    let path = "spec.validation.openAPIV3Schema";
    let cases = [
        (
            json!({}),
            format!(
                "{path}.properties[spec].type: Required value: must not be empty for specified object fields"
            ),
        ),
        (
            json!({"type": "array"}),
            format!("{path}.properties[spec].items: Required value: must be specified"),
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            format!(
                "{path}.properties[spec].properties[a]: Required value: because it is defined in {path}.properties[spec].anyOf[0].properties[a]"
            ),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"properties": {"a": {"type": "integer"}}}}),
            format!(
                "{path}.properties[spec].not.properties[a].type: Forbidden: must be empty to be structural"
            ),
        ),
        (
            json!({"type": "string", "pattern": "("}),
            format!(
                "{path}.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp"
            ),
        ),
        (
            json!({"type": "integer", "default": "a"}),
            format!(
                "{path}.properties[spec].default: Invalid value: \"string\":  in body must be of type integer: \"string\""
            ),
        ),
        (
            json!({"type": "object", "default": {"b": 1}, "properties": {"a": {"type": "integer"}}}),
            format!(
                "{path}.properties[spec].default: Invalid value: {{\"b\":1}}: must not have unknown fields"
            ),
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            format!(
                "{path}.properties[spec].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ),
        (
            json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
            format!(
                "{path}.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            ),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            format!(
                "{path}.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
            ),
        ),
    ];
    for (schema, expect) in cases {
        check(&spec_of(schema), &[&expect]);
    }
    check(
        &spec_of(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
        &[],
    );
    check(
        &crd(
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        ),
        &[
            "spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
}

#[test]
fn paths_name_the_version_when_schemas_differ() {
    let mut two = spec_of(json!({"type": "object"}));
    let mut other = two["spec"]["versions"][0].clone();
    other["name"] = json!("v2");
    other["storage"] = json!(false);
    other["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({});
    two["spec"]["versions"].as_array_mut().unwrap().push(other);
    check(
        &two,
        &[
            "spec.versions[1].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ],
    );
}

#[test]
fn what_may_not_change() {
    let old = crd(json!({"type": "object"}));
    let mut established = old.clone();
    established["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = established.clone();
    new["spec"]["scope"] = json!("Cluster");
    let got: Vec<String> = validate_update(&new, &established).iter().map(ToString::to_string).collect();
    assert_eq!(got, [r#"spec.scope: Invalid value: "Cluster": field is immutable"#]);
    assert_eq!(validate_update(&new, &old), []);
    let mut gone = old.clone();
    gone["spec"]["versions"][0]["name"] = json!("v2");
    gone["status"]["storedVersions"] = json!(["v1", "v2"]);
    let got = validate_update(&gone, &old);
    assert_eq!(got.len(), 1);
    assert!(got[0].message.contains("v1 was previously a storage version"), "{}", got[0]);
}

#[test]
fn community_groups_need_approval() {
    let mut crd = crd(json!({"type": "object"}));
    crd["spec"]["group"] = json!("x.k8s.io");
    crd["metadata"]["name"] = json!("widgets.x.k8s.io");
    assert_eq!(validate(&crd)[0].reason, "FieldValueRequired");
    crd["metadata"]["annotations"] = json!({APPROVAL: "https://github.com/kubernetes/kubernetes/pull/1"});
    assert_eq!(validate(&crd), []);
    assert_eq!(approval_condition(&crd).unwrap().1, "ApprovedAnnotation");
}
