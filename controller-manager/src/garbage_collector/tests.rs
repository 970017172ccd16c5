//! Tables for the decision and for whom a change concerns.

use super::*;

fn resource() -> ApiResource {
    request::resource::<k8s_openapi::api::core::v1::Pod>()
}

fn owner(uid: &str, blocks: bool) -> OwnerReference {
    OwnerReference {
        uid: uid.into(),
        name: uid.into(),
        block_owner_deletion: Some(blocks),
        ..Default::default()
    }
}

fn meta(uid: &str, owners: &[OwnerReference], finalizers: &[&str], deleting: bool) -> ObjectMeta {
    let text = json!({
        "name": uid, "uid": uid, "namespace": "ns", "resourceVersion": "1",
        "ownerReferences": owners, "finalizers": finalizers,
        "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
    });
    serde_json::from_value(text).expect("metadata")
}

fn dependent(uid: &str, owners: Vec<OwnerReference>, waiting: bool) -> Dependent {
    Dependent { resource: resource(), key: Key::new("ns", uid), uid: uid.into(), owners, waiting }
}

/// The plan in short: `delete Background`, `patch x {…}`.
fn check(meta: ObjectMeta, owners: &[OwnerState], dependents: Vec<Dependent>, expect: &[&str]) {
    let observed = Observed { resource: resource(), meta, owners: owners.to_vec(), dependents };
    let got: Vec<String> = reconcile(&observed)
        .actions
        .into_iter()
        .map(|action| match action {
            Action::Delete { target, propagation, .. } => format!("delete {} {propagation:?}", target.name),
            Action::Patch { target, patch, .. } => format!("patch {} {}", target.name, patch["metadata"]),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(got, expect);
}

#[test]
fn decides() {
    use OwnerState::{Absent, Solid, Waiting};
    let owned = |owners: &[&str]| -> Vec<_> { owners.iter().map(|uid| owner(uid, true)).collect() };
    let free = |uid| meta(uid, &owned(&["a"]), &[], false);
    check(free("x"), &[Solid], vec![], &[]);
    check(free("x"), &[Absent], vec![], &["delete x Background"]);
    check(free("x"), &[Waiting], vec![], &["delete x Background"]);
    check(free("x"), &[Waiting], vec![dependent("y", owned(&["x"]), false)], &["delete x Foreground"]);
    check(meta("x", &[], &[], false), &[], vec![], &[]);
    check(meta("x", &owned(&["a"]), &["orphan"], false), &[Absent], vec![], &["delete x Orphan"]);
    let two = meta("x", &[owner("a", false), owner("b", true)], &[], false);
    let kept = r#"patch x {"ownerReferences":[{"apiVersion":"","blockOwnerDeletion":true,"kind":"","name":"b","uid":"b"}]}"#;
    check(two, &[Absent, Solid], vec![], &[kept]);
}

#[test]
fn waits_and_orphans() {
    let waiting = || meta("x", &[], &["foregroundDeletion", "keep"], true);
    check(waiting(), &[], vec![dependent("y", vec![owner("x", true)], false)], &[]);
    let done = [r#"patch x {"finalizers":["keep"]}"#];
    check(waiting(), &[], vec![dependent("y", vec![owner("x", false)], false)], &done);
    check(waiting(), &[], vec![], &done);
    let orphaning = meta("x", &[], &["orphan"], true);
    let expect = [r#"patch y {"ownerReferences":[]}"#, r#"patch x {"finalizers":[]}"#];
    check(orphaning, &[], vec![dependent("y", vec![owner("x", true)], false)], &expect);
}

#[test]
fn graph_knows_whom_a_change_concerns() {
    let (mut graph, kind) = (Graph::default(), Arc::new(resource()));
    let mut put = |meta: ObjectMeta| graph.put(Node::new(&kind, &meta));
    // The owner is not known yet: look (live).
    assert_eq!(put(meta("pod", &[owner("set", true)], &[], false)), ["pod"]);
    assert_eq!(put(meta("set", &[], &[], false)), Vec::<String>::new());
    assert_eq!(put(meta("pod", &[owner("set", true)], &[], false)), Vec::<String>::new());
    assert_eq!(put(meta("set", &[], &["foregroundDeletion"], true)), ["pod", "set"]);
    assert_eq!(graph.remove("pod"), ["set"]);
    let mut put = |meta: ObjectMeta| graph.put(Node::new(&kind, &meta));
    put(meta("pod", &[owner("other", true)], &[], false));
    put(meta("other", &[], &[], false));
    assert_eq!(graph.remove("other"), ["pod"]);
    assert_eq!(graph.dependents("other").len(), 1);
}
