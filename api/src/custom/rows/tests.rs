//! A definition becomes rows of the table of kinds.

use serde_json::json;

use super::*;

fn crd() -> Value {
    let names = json!({"plural": "oxen", "singular": "ox", "kind": "Ox", "listKind": "OxList", "shortNames": ["ox"],
                       "categories": ["all"]});
    json!({"spec": {"group": "farm.example.com", "scope": "Namespaced", "names": names, "versions": [
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}, "color": {"type": "string"}}},
            "status": {"type": "object", "properties": {"n": {"type": "integer"}, "sel": {"type": "string"}}}}}},
         "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.n",
                                                    "labelSelectorPath": ".status.sel"}},
         "selectableFields": [{"jsonPath": ".spec.color"}],
         "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1}]},
        {"name": "v1alpha1", "served": true, "storage": false, "deprecated": true,
         "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        {"name": "v0", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
    ]}, "status": {"acceptedNames": names}})
}

#[test]
fn a_row_for_every_served_version() {
    let rows = rows(&crd(), 0);
    let seen: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row.api_version(), row.kind, row.plural)).collect();
    assert_eq!(seen, ["farm.example.com/v1 Ox oxen", "farm.example.com/v1alpha1 Ox oxen"]);
    let [first, second] = rows.as_slice() else { panic!("two rows") };
    assert_eq!(first.definition, "com.example.farm.v1.Ox");
    assert!(first.subresource("scale").is_some() && second.subresource("status").is_none());
    assert_eq!(first.field_path("spec.color"), Some("spec.color"));
    assert_eq!(
        second.custom.as_ref().unwrap().deprecation.as_deref(),
        Some("farm.example.com/v1alpha1 Ox is deprecated")
    );
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    let object =
        json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"size": 3}});
    let cells = |row: &Kind| row.columns.iter().map(|c| (c.cell)(&object, now)).collect::<Vec<_>>();
    assert_eq!(cells(first), [json!("a"), json!(3), Value::Null]);
    assert_eq!(cells(second), [json!("a"), json!("60m")]);
}

#[test]
fn generation_and_status() {
    let rows = rows(&crd(), 0);
    let [with, without] = rows.as_slice() else { panic!("two rows") };
    let old = json!({"spec": {"size": 1}, "status": {"n": 1}});
    let status = json!({"spec": {"size": 1}, "status": {"n": 2}});
    assert!(!with.strategy.generation_changes(&status, &old));
    assert!(without.strategy.generation_changes(&status, &old));
    let bad = with.strategy.validate(&json!({"spec": {"size": -1}}));
    let words: Vec<String> = bad.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 1",
            "spec.size: Invalid value: -1: should be a non-negative integer",
        ]
    );
}
