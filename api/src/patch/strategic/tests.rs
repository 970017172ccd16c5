//! Directives, merge keys and order, on the real schema.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::{merge, tests::object};
use crate::schema::facts;

fn check(definition: &str, object: Value, patch: Value, expect: Value) {
    let schema = facts().schema(definition);
    assert!(schema.is_some(), "{definition}");
    assert_eq!(apply(&object, &patch, schema).unwrap(), expect, "{object} + {patch}");
}

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.DeploymentSpec";

#[test]
fn lists_of_maps_merge_by_key() {
    check(
        POD_SPEC,
        json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "image": "y", "env": [{"name": "F", "value": "2"}]}]}),
        json!({"containers": [
            {"name": "a", "image": "y", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
            {"name": "b"}]}),
    );
}

#[test]
fn lists_without_the_strategy_are_replaced() {
    check(
        POD_SPEC,
        json!({"containers": [{"name": "a", "command": ["x"]}], "tolerations": [{"key": "a"}]}),
        json!({"containers": [{"name": "a", "command": ["y", "z"]}], "tolerations": [{"key": "b"}]}),
        json!({"containers": [{"name": "a", "command": ["y", "z"]}], "tolerations": [{"key": "b"}]}),
    );
}

#[test]
fn nulls_delete_and_leave_no_trace_in_new_parts() {
    check(
        POD_SPEC,
        json!({"hostname": "h", "securityContext": {"runAsUser": 1}}),
        json!({"hostname": null, "securityContext": {"runAsUser": null, "fsGroup": 2},
            "affinity": {"nodeAffinity": null}}),
        json!({"securityContext": {"fsGroup": 2}, "affinity": {}}),
    );
}

#[test]
fn patch_directives() {
    let object =
        json!({"containers": [{"name": "a"}, {"name": "b", "image": "x"}], "nodeSelector": {"k": "v"}});
    check(
        POD_SPEC,
        object.clone(),
        json!({"containers": [{"name": "a", "$patch": "delete"}], "nodeSelector": {"$patch": "delete"}}),
        json!({"containers": [{"name": "b", "image": "x"}], "nodeSelector": {}}),
    );
    check(
        POD_SPEC,
        object.clone(),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}],
            "nodeSelector": {"$patch": "replace", "n": "m"}}),
        json!({"containers": [{"name": "c"}], "nodeSelector": {"n": "m"}}),
    );
    // A mark is no item, whatever it carries; and what is not there cannot be replaced or deleted.
    check(
        POD_SPEC,
        object,
        json!({"containers": [{"$patch": "replace", "name": "x"}, {"name": "c"}],
            "securityContext": {"$patch": "replace", "runAsUser": 1}, "affinity": {"$patch": "delete"}}),
        json!({"containers": [{"name": "c"}], "nodeSelector": {"k": "v"}}),
    );
}

#[test]
fn faults_have_upstreams_class_and_words() {
    let object = json!({"containers": [{"name": "a"}], "nodeSelector": {"k": "v"},
        "strategy": {"type": "x"}, "hostAliases": []});
    let schema = facts().schema(POD_SPEC);
    for (patch, code, expect) in [
        (
            json!({"nodeSelector": {"$patch": "swap"}}),
            500,
            "unknown patch type: swap in map: map[$patch:swap]",
        ),
        (
            json!({"nodeSelector": {"$patch": "merge"}}),
            500,
            "unknown patch type: merge in map: map[$patch:merge]",
        ),
        (
            json!({"containers": [{"image": "i"}]}),
            500,
            "map: map[image:i] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"$patch": "delete"}]}),
            500,
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"containers": [1]}), 500, "list element types are not identical: [[map[name:a]] [1]]"),
        (
            json!({"hostAliases": [[1]]}),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            json!({"$setElementOrder/containers": "x"}),
            500,
            "expected a []interface {}, but received a string",
        ),
        (json!({"$setElementOrder": []}), 400, "invalid patch format of setElementOrder list"),
        (json!({"$deleteFromPrimitiveList": []}), 400, "invalid patch format of primitive list"),
        (json!({"$retainKeys": 1}), 400, "invalid patch format of retainKeys"),
        (json!({"$retainKeys": [], "hostname": "h"}), 400, "invalid patch format of retainKeys"),
        (
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                   "containers": [{"name": "a"}, {"name": "b"}]}),
            500,
            "The order in patch list:\n[map[name:a] map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:b] map[name:a]]\n",
        ),
        (json!([]), 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ] {
        let status = crate::Status::from(apply(&object, &patch, schema).expect_err(&patch.to_string()));
        assert_eq!((status.code(), status.message.as_str()), (code, expect), "{patch}");
    }
}

#[test]
fn directives_never_reach_new_parts() {
    check(
        POD_SPEC,
        json!({}),
        json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b", "ports": [{"containerPort": 1}],
            "$setElementOrder/ports": [{"containerPort": 1}]}], "$setElementOrder/containers": [{"name": "b"}]}),
        json!({"containers": [{"name": "b", "ports": [{"containerPort": 1}]}]}),
    );
}

#[test]
fn primitive_lists() {
    check(
        META,
        json!({"finalizers": ["a/x", "b/x"]}),
        json!({"finalizers": ["c/x"], "$deleteFromPrimitiveList/finalizers": ["a/x"]}),
        json!({"finalizers": ["c/x", "b/x"]}),
    );
}

#[test]
fn retain_keys() {
    check(
        DEPLOYMENT,
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    let patch = json!({"strategy": {"$retainKeys": [], "type": "Recreate"}});
    assert!(apply(&json!({}), &patch, facts().schema(DEPLOYMENT)).is_err());
}

#[test]
fn order_is_set_by_the_patch() {
    let named = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
    for (server, wanted, patch, expect) in [
        (&["a", "b", "c"][..], &["c", "a"][..], &[][..], &["b", "c", "a"][..]),
        (&["a", "b"], &["b", "a"], &[], &["b", "a"]),
        (&["a", "b"], &["a", "n", "b"], &["n"], &["a", "n", "b"]),
        (&["x", "a"], &["a"], &[], &["x", "a"]),
    ] {
        let mut change = json!({"$setElementOrder/containers": named(wanted)});
        if !patch.is_empty() {
            change["containers"] = json!(named(patch));
        }
        check(POD_SPEC, json!({"containers": named(server)}), change, json!({"containers": named(expect)}));
    }
}

/// Patches without directives whose null leaves are allowed.
fn spec() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[xy]", 0..3).prop_map(|vars| {
        Value::Array(vars.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect())
    });
    let image = prop_oneof![Just(Value::Null), "[uv]".prop_map(Value::from)];
    let container = (image, env).prop_map(|(image, env)| json!({"image": image, "env": env}));
    (prop::collection::vec(("[a-d]", container), 0..4), prop::collection::btree_map("[kl]", "[12]", 0..2))
        .prop_map(|(containers, labels)| {
            let mut seen = Vec::new();
            let mut list = Vec::new();
            for (name, mut container) in containers {
                if !seen.contains(&name) {
                    container["name"] = name.clone().into();
                    list.push(container);
                    seen.push(name);
                }
            }
            json!({"containers": list, "nodeSelector": labels})
        })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(object in spec(), patch in spec()) {
        let schema = facts().schema(POD_SPEC);
        let object = apply(&json!({}), &object, schema).unwrap();
        let once = apply(&object, &patch, schema).unwrap();
        prop_assert_eq!(apply(&once, &patch, schema).unwrap(), once);
    }

    /// The patch client-side apply would send for it makes the other of the one.
    #[test]
    fn a_difference_applied_is_the_other(a in spec(), b in spec()) {
        let schema = facts().schema(POD_SPEC);
        let a = apply(&json!({}), &a, schema).unwrap();
        let b = apply(&json!({}), &b, schema).unwrap();
        let patch = crate::three_way::patch(&a, &b, &a, schema);
        prop_assert_eq!(apply(&a, &patch, schema).unwrap(), b, "{}", patch);
    }

    #[test]
    fn an_empty_patch_changes_nothing(object in spec()) {
        prop_assert_eq!(apply(&object, &json!({}), facts().schema(POD_SPEC)).unwrap(), object);
    }

    #[test]
    fn without_a_schema_it_is_a_merge_patch(object in object(), patch in object()) {
        // They differ in nulls below a list that replaces another.
        prop_assume!(!patch.to_string().contains("null"));
        let merged = merge::apply(&object, &patch).unwrap();
        prop_assert_eq!(apply(&object, &patch, None).unwrap(), merged);
    }
}
