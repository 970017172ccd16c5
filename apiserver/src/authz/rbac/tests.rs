//! Decisions by roles and bindings.

use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::index::of_objects;
use super::*;

fn binding(kind: &str, name: &str, namespace: &str, role: (&str, &str), subjects: Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"kind": kind, "metadata": metadata, "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects})
}

fn cluster() -> Bindings {
    let reader = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
    let one = json!([{"apiGroups": ["apps"], "resources": ["deployments", "*/scale"], "resourceNames": ["web"], "verbs": ["*"]}]);
    let paths = json!([{"nonResourceURLs": ["/logs/*", "/metrics"], "verbs": ["get"]}]);
    let user = |name: &str| json!([{"kind": "User", "name": name}]);
    let accounts = json!([{"kind": "ServiceAccount", "name": "robot"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "b"}]);
    of_objects(&[
        json!({"kind": "Role", "metadata": {"name": "reader", "namespace": "a"}, "rules": reader}),
        json!({"kind": "ClusterRole", "metadata": {"name": "web"}, "rules": one}),
        json!({"kind": "ClusterRole", "metadata": {"name": "paths"}, "rules": paths}),
        binding("RoleBinding", "jane", "a", ("Role", "reader"), user("jane")),
        binding("RoleBinding", "lost", "a", ("Role", "gone"), user("lost")),
        binding("RoleBinding", "robots", "a", ("Role", "reader"), accounts.clone()),
        binding("ClusterRoleBinding", "robots", "", ("ClusterRole", "web"), accounts),
        binding(
            "ClusterRoleBinding",
            "team",
            "",
            ("ClusterRole", "web"),
            json!([{"kind": "Group", "name": "team"}]),
        ),
        binding("ClusterRoleBinding", "paths", "", ("ClusterRole", "paths"), user("jane")),
        binding("ClusterRoleBinding", "lost", "", ("ClusterRole", "gone"), user("lost")),
    ])
}

/// `VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE NAME`, or `VERB PATH`; `-` is nothing.
fn wish(text: &str) -> Attributes<'_> {
    let words: Vec<&str> = text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let [verb, what, ref rest @ ..] = words[..] else { panic!("two words: {text}") };
    if what.starts_with('/') {
        return Attributes { verb, path: what, ..Attributes::default() };
    }
    let mut what = what.splitn(3, '/');
    let mut part = || what.next().map_or("", |word| if word == "core" { "" } else { word });
    let (group, resource, subresource) = (part(), part(), part());
    let rest = |at: usize| rest.get(at).copied().unwrap_or_default();
    Attributes {
        verb,
        group,
        resource,
        subresource,
        namespace: rest(0),
        name: rest(1),
        is_resource: true,
        ..Attributes::default()
    }
}

fn check(user: &str, groups: &[&str], text: &str, expect: &str) {
    let decision = decide(&cluster(), &UserInfo::component(user, groups), &wish(text));
    let verdict = if decision.verdict == Verdict::Allow { "yes" } else { "no" };
    assert_eq!(format!("{verdict} {}", decision.reason).trim_end(), expect, "{user} {text}");
}

#[test]
fn who_may_what() {
    let by_role = r#"yes RBAC: allowed by RoleBinding "jane/a" of Role "reader" to User "jane""#;
    check("jane", &[], "get core/pods a x", by_role);
    check("jane", &[], "list core/pods a -", by_role);
    check("jane", &[], "list core/pods - -", "no");
    check("jane", &[], "list core/pods b -", "no");
    check("jane", &[], "delete core/pods a x", "no");
    check("jane", &[], "get core/pods/log a x", "no");
    check("jane", &[], "get apps/pods a x", "no");
    check("joe", &[], "get core/pods a x", "no");
    check("system:serviceaccount:a:jane", &[], "get core/pods a x", "no");
}

#[test]
fn service_accounts_and_groups() {
    let here = r#"yes RBAC: allowed by RoleBinding "robots/a" of Role "reader" to ServiceAccount "robot/a""#;
    check("system:serviceaccount:a:robot", &[], "get core/pods a x", here);
    let there = r#"yes RBAC: allowed by RoleBinding "robots/a" of Role "reader" to ServiceAccount "robot/b""#;
    check("system:serviceaccount:b:robot", &[], "get core/pods a x", there);
    let everywhere = r#"yes RBAC: allowed by ClusterRoleBinding "robots" of ClusterRole "web" to ServiceAccount "robot/b""#;
    check("system:serviceaccount:b:robot", &[], "delete apps/deployments c web", everywhere);
    // Without a namespace it is nobody's in a binding for the whole cluster.
    check("system:serviceaccount:a:robot", &[], "delete apps/deployments c web", "no");
    let team = r#"yes RBAC: allowed by ClusterRoleBinding "team" of ClusterRole "web" to Group "team""#;
    check("joe", &["team"], "patch apps/deployments c web", team);
    check("joe", &["team"], "patch apps/deployments c other", "no");
    check("joe", &["team"], "list apps/deployments c -", "no");
    check("joe", &["team"], "update apps/statefulsets/scale c web", team);
    check("joe", &["team"], "update apps/statefulsets/status c web", "no");
}

#[test]
fn paths_and_roles_that_are_missing() {
    let paths = r#"yes RBAC: allowed by ClusterRoleBinding "paths" of ClusterRole "paths" to User "jane""#;
    check("jane", &[], "get /metrics", paths);
    check("jane", &[], "get /logs/a/b", paths);
    check("jane", &[], "get /logs", "no");
    check("jane", &[], "post /metrics", "no");
    check("lost", &[], "get /metrics", r#"no RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#);
    check(
        "lost",
        &[],
        "get core/pods a x",
        r#"no RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "gone" not found]"#,
    );
}

#[test]
fn what_is_removed_is_gone() {
    use crate::followed::Index as _;
    let mut bindings = cluster();
    let jane = UserInfo::component("jane", &[]);
    let allowed = |bindings: &Bindings| decide(bindings, &jane, &wish("get core/pods a x")).is_allowed();
    assert!(allowed(&bindings));
    bindings.remove("/registry/rbac.authorization.k8s.io/rolebindings/a/jane");
    assert!(!allowed(&bindings));
    assert!(decide(&bindings, &jane, &wish("get /metrics")).is_allowed());
    bindings.remove("/registry/rbac.authorization.k8s.io/clusterroles/paths");
    assert!(!decide(&bindings, &jane, &wish("get /metrics")).is_allowed());
}
