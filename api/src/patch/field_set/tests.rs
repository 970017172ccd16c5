//! The algebra and the wire form of sets.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn set(value: serde_json::Value) -> FieldSet {
    FieldSet::from_json(&value).unwrap()
}

#[test]
fn the_wire_form_round_trips() {
    for value in [
        json!({}),
        json!({"f:spec": {"f:replicas": {}}}),
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"a/b\"": {}}}}),
        json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}),
        json!({"i:3": {}}),
    ] {
        assert_eq!(set(value.clone()).to_json(), value);
    }
    // Elements of unknown kinds go, and what was only there for them.
    assert_eq!(set(json!({"f:a": {"z:new": {}}})).to_json(), json!({"f:a": {}}));
    // Keys of an element are sorted.
    let sorted = set(json!({"k:{\"b\":1,\"a\":2}": {}})).to_json();
    assert_eq!(sorted, json!({"k:{\"a\":2,\"b\":1}": {}}));
}

#[test]
fn what_is_no_set_is_refused() {
    for (value, expect) in [
        (json!({"f:a": 1}), "a set of fields must be an object, not 1"),
        (json!({"x": {}}), "parsing key as path element: key must be 2 characters long:"),
        (json!({"foo": {}}), "parsing key as path element: missing colon: foo"),
        (json!({"i:x": {}}), "parsing key as path element: \"x\" is no index"),
    ] {
        assert_eq!(FieldSet::from_json(&value).unwrap_err().to_string(), expect);
    }
    assert!(FieldSet::from_json(&json!({"v:{": {}})).is_err());
    assert!(FieldSet::from_json(&json!({"k:[]": {}})).is_err());
}

#[test]
fn paths_read_as_upstream_prints_them() {
    let set = set(json!({"f:spec": {"f:replicas": {},
        "f:list": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {"f:name": {}}, "v:\"x\"": {}}}}));
    let shown: Vec<String> = set.paths().iter().map(|path| Shown(path).to_string()).collect();
    assert_eq!(
        shown,
        [
            ".spec.list",
            ".spec.replicas",
            ".spec.list[=\"x\"]",
            ".spec.list[containerPort=80,protocol=\"TCP\"].name",
        ]
    );
}

#[test]
fn fields_stand_before_keys_and_numbers_go_by_size() {
    let mut elements = [
        PathElement::Index(0),
        PathElement::Value(json!("a")),
        PathElement::Key(vec![("p".to_owned(), json!(443))]),
        PathElement::Key(vec![("p".to_owned(), json!(80))]),
        PathElement::field("z"),
    ];
    elements.sort();
    let shown: Vec<String> = elements.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [".z", "[p=80]", "[p=443]", "[=\"a\"]", "[0]"]);
    assert_eq!(PathElement::Value(json!(1)), PathElement::Value(json!(1.0)));
}

#[test]
fn recursive_difference_takes_whole_branches() {
    let all = set(json!({"f:status": {"f:a": {}, "f:b": {"f:c": {}}}, "f:spec": {"f:x": {}}}));
    let status = FieldSet::of_fields(&[&["status"]]);
    assert_eq!(all.recursive_difference(&status).to_json(), json!({"f:spec": {"f:x": {}}}));
    assert_eq!(all.difference(&status), all);
}

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[ab]".prop_map(PathElement::Field),
        (0..2_i64).prop_map(|v| PathElement::Value(json!(v))),
        "[ab]".prop_map(|v| PathElement::Key(vec![("name".to_owned(), json!(v))])),
    ]
}

pub(crate) fn any_set() -> impl Strategy<Value = FieldSet> {
    prop::collection::vec(prop::collection::vec(element(), 1..4), 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn the_laws_of_sets_hold(a in any_set(), b in any_set(), c in any_set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.difference(&b.union(&c)), a.difference(&b).difference(&c));
        prop_assert_eq!(
            a.intersection(&b.union(&c)),
            a.intersection(&b).union(&a.intersection(&c))
        );
        prop_assert!(a.difference(&a).is_empty());
        // Nothing that difference removes is left by the recursive one.
        prop_assert!(a.recursive_difference(&b).difference(&a.difference(&b)).is_empty());
        prop_assert_eq!(a.leaves().leaves(), a.leaves());
        prop_assert!(a.leaves().difference(&a).is_empty());
    }

    #[test]
    fn a_set_is_its_paths(a in any_set()) {
        let mut again = FieldSet::default();
        for path in a.paths() {
            prop_assert!(a.has(&path));
            again.insert(&path);
        }
        prop_assert_eq!(&again, &a);
        prop_assert_eq!(FieldSet::from_json(&a.to_json()).unwrap(), a);
    }
}
