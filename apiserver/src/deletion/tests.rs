//! What a delete does to an object, case by case.

use api::kinds::builtin;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn check(plural: &str, current: &Value, options: &DeleteOptions, expect: &str) -> Deletion {
    let table = builtin();
    let kind = table.resource("", "v1", plural).expect("a row");
    let got = decide(kind, current, options, now());
    let word = match &got {
        Deletion::Remove => "remove",
        Deletion::Pending => "pending",
        Deletion::Mark(_) => "mark",
    };
    assert_eq!(word, expect, "{current} {options:?}");
    got
}

fn policy(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

#[test]
fn plain_objects_go_at_once_unless_something_holds_them() {
    let plain = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
    let held = json!({"kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["x/y"]}});
    let none = DeleteOptions::default();
    check("configmaps", &plain, &none, "remove");
    check("configmaps", &plain, &policy(Propagation::Background), "remove");
    let Deletion::Mark(marked) = check("configmaps", &held, &none, "mark") else { return };
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    check("configmaps", &marked, &none, "pending");
}

#[test]
fn policies_become_finalizers() {
    let plain = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
    for (propagation, expect) in
        [(Propagation::Foreground, "foregroundDeletion"), (Propagation::Orphan, "orphan")]
    {
        let Deletion::Mark(marked) = check("configmaps", &plain, &policy(propagation), "mark") else {
            return;
        };
        assert_eq!(marked["metadata"]["finalizers"], json!([expect]));
        check("configmaps", &marked, &policy(Propagation::Background), "remove");
    }
}

#[test]
fn namespaces_wait_for_their_own_finalizers() {
    let namespace =
        json!({"kind": "Namespace", "metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
    let Deletion::Mark(mut marked) = check("namespaces", &namespace, &DeleteOptions::default(), "mark")
    else {
        return;
    };
    assert_eq!(marked["status"]["phase"], "Terminating");
    let table = builtin();
    let kind = table.resource("", "v1", "namespaces").expect("a row");
    assert!(!is_finished(kind, &marked));
    marked["spec"]["finalizers"] = json!([]);
    assert!(is_finished(kind, &marked));
    check("namespaces", &marked, &DeleteOptions::default(), "remove");
}
