//! The walks on real schemas: fields, differences, merges, removals, faults.

use serde_json::json;

use super::*;
use crate::patch::field_set::FieldSet;

fn typing(name: &str) -> Typing<'static> {
    Typing::of(Some(facts().schema(name).expect("a definition")))
}

fn pod() -> Typing<'static> {
    typing("io.k8s.api.core.v1.Pod")
}

#[test]
fn an_objects_own_set() {
    let config = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"app": "x"}, "finalizers": ["a/b"]},
        "spec": {
            "nodeSelector": {"disk": "ssd"}, "securityContext": {}, "activeDeadlineSeconds": null,
            "containers": [{"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]}]},
    });
    assert_eq!(
        field_set(pod(), &config).to_json(),
        json!({
            "f:apiVersion": {}, "f:kind": {},
            "f:metadata": {"f:name": {}, "f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {
                // An atomic map and an atomic list are leaves.
                "f:nodeSelector": {}, "f:securityContext": {}, "f:activeDeadlineSeconds": {},
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:args": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}},
        })
    );
}

#[test]
fn a_creation_owns_what_go_would_not_have_by_itself() {
    let deployment = typing("io.k8s.api.apps.v1.Deployment");
    let new = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "resources": {}}], "securityContext": {}}}},
    });
    let comparison = compare(deployment, &json!({}), &new);
    assert_eq!(
        comparison.added.to_json(),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {}, "f:strategy": {"f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {
                        "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:resources": {}}},
                        "f:securityContext": {}}}},
        })
    );
    assert!(comparison.removed.is_empty() && comparison.modified.is_empty());
}

#[test]
fn comparisons() {
    let env = |list: Value| json!({"spec": {"containers": [{"name": "c", "env": list}]}});
    let left = env(json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]));
    let right = env(json!([{"name": "b", "value": "3"}, {"name": "d"}]));
    let change = compare(pod(), &left, &right);
    let below = |set: &FieldSet| {
        let json = set.to_json();
        json["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"].clone()
    };
    assert_eq!(below(&change.removed), json!({"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:value": {}}}));
    assert_eq!(below(&change.modified), json!({"k:{\"name\":\"b\"}": {"f:value": {}}}));
    assert_eq!(below(&change.added), json!({"k:{\"name\":\"d\"}": {".": {}, "f:name": {}}}));
    assert!(compare(pod(), &left, &left).is_same());
}

#[test]
fn duplicates_count_as_one_value() {
    let ports = |list: Value| json!({"spec": {"containers": [{"name": "c", "ports": list}]}});
    let two = json!([{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "b"}]);
    let three = json!([{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "z"}]);
    let key = "k:{\"containerPort\":1,\"protocol\":\"TCP\"}";
    let wrap =
        |inner: Value| json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:ports": {key: inner}}}}});
    assert_eq!(compare(pod(), &ports(two.clone()), &ports(three)).modified.to_json(), wrap(json!({})));
    let one = json!([{"containerPort": 1, "name": "a"}]);
    let change = compare(pod(), &ports(two.clone()), &ports(one.clone()));
    assert_eq!(change.removed.to_json(), wrap(json!({})));
    assert_eq!(change.added.to_json(), wrap(json!({".": {}, "f:containerPort": {}, "f:name": {}})));
    let change = compare(pod(), &ports(one), &ports(two));
    assert_eq!(change.added.to_json(), wrap(json!({})));
}

#[test]
fn merging_keeps_orders() {
    let names = |list: &[&str]| {
        let items: Vec<Value> = list.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": items}})
    };
    for (live, config, expect) in [
        (&["a", "b", "c"][..], &["b"][..], &["a", "b", "c"][..]),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b"], &["x", "a"], &["x", "a", "b"]),
        (&["a", "b"], &["a", "x"], &["a", "b", "x"]),
        (&[], &["b", "a"], &["b", "a"]),
        (&["a"], &[], &["a"]),
    ] {
        assert_eq!(merge(pod(), &names(live), &names(config)), names(expect), "{live:?} {config:?}");
    }
}

#[test]
fn merging_goes_field_by_field() {
    let live = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"x": "1"}}});
    let config = json!({"metadata": {"labels": {"b": "3"}}, "spec": {"nodeSelector": {"y": "2"}}});
    assert_eq!(
        merge(pod(), &live, &config),
        json!({"metadata": {"labels": {"a": "1", "b": "3"}}, "spec": {"nodeSelector": {"y": "2"}}})
    );
    let custom = Typing::of(None);
    let live = json!({"metadata": {"finalizers": ["a/a"]}, "spec": {"list": [1], "map": {"x": {"y": 1}}}});
    let config = json!({"metadata": {"finalizers": ["b/b"]}, "spec": {"list": [2], "map": {"x": {"z": 2}}}});
    assert_eq!(
        merge(custom, &live, &config),
        json!({"metadata": {"finalizers": ["a/a", "b/b"]},
               "spec": {"list": [2], "map": {"x": {"y": 1, "z": 2}}}})
    );
}

#[test]
fn removing() {
    let object =
        json!({"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}], "nodeName": "n"}});
    let set = FieldSet::from_json(&json!({"f:spec": {"f:nodeName": {},
        "f:containers": {"k:{\"name\":\"b\"}": {}, "k:{\"name\":\"a\"}": {"f:image": {}}}}}))
    .unwrap();
    assert_eq!(remove_items(pod(), &object, &set), json!({"spec": {"containers": [{"name": "a"}]}}));
}

#[test]
fn faults_are_worded_as_upstream_words_them() {
    let fault = |value: Value| check(pod(), &value, Duplicates::Refused).unwrap_err().to_string();
    for (value, expect) in [
        (json!({"spec": {"nope": 1}}), ".spec.nope: field not declared in schema"),
        (
            json!({"spec": {"activeDeadlineSeconds": "x"}}),
            ".spec.activeDeadlineSeconds: expected numeric (int or float), got string",
        ),
        (
            json!({"spec": {"nodeName": 1}}),
            ".spec.nodeName: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (json!({"spec": {"hostPID": "yes"}}), ".spec.hostPID: expected boolean, got &{yes}"),
        (json!({"spec": []}), ".spec: expected map, got &{[]}"),
        (json!({"spec": {"containers": {"a": 1}}}), ".spec.containers: expected list, got &{map[a:1]}"),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            json!({"metadata": {"finalizers": ["x", "x"]}}),
            ".metadata.finalizers: duplicate entries for key [=\"x\"]",
        ),
        (
            json!({"spec": {"containers": [{"image": "i"}]}}),
            ".spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (
            json!({"spec": {"a": 1, "b": 1}}),
            "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema",
        ),
    ] {
        assert_eq!(fault(value), expect);
    }
    let twice = json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}});
    assert!(check(pod(), &twice, Duplicates::Allowed).is_ok());
}
