//! No sequence of requests that are allowed gives anybody more than the first of them had.
//!
//! Two friends, of whom one may write roles and bindings, try whatever they like; after each request what
//! both may do is compared with what that one could at the start.

use api::rbac::{PolicyRule, describe, missing};
use component_base::user::UserInfo;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{World, admin, world};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const FRIENDS: [&str; 2] = ["mallory", "eve"];

/// A try: who, how, and what.
#[derive(Debug, Clone)]
struct Try {
    friend: usize,
    cluster: bool,
    update: bool,
    name: usize,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Role { rules: Vec<Value>, gathers: bool },
    Binding { kind: usize, role: usize, subject: usize },
}

fn rule() -> impl Strategy<Value = Value> {
    let some = |words: &'static [&'static str]| prop::sample::subsequence(words.to_vec(), 1..=2);
    let names = prop::sample::subsequence(vec!["one", "two"], 0..=1);
    let groups = some(&["", "*", "rbac.authorization.k8s.io"]);
    let resources = some(&["pods", "pods/log", "secrets", "roles", "rolebindings", "*", "*/log"]);
    let verbs = some(&["get", "list", "create", "bind", "escalate", "impersonate", "*"]);
    (groups, resources, verbs, names).prop_map(|(groups, resources, verbs, names)| {
        json!({"apiGroups": groups, "resources": resources, "verbs": verbs, "resourceNames": names})
    })
}

fn attempt() -> impl Strategy<Value = Try> {
    let role = (prop::collection::vec(rule(), 0..3), any::<bool>());
    let role = role.prop_map(|(rules, gathers)| What::Role { rules, gathers });
    let binding = (0..2_usize, 0..5_usize, 0..3_usize);
    let binding = binding.prop_map(|(kind, role, subject)| What::Binding { kind, role, subject });
    let head = (0..FRIENDS.len(), prop::bool::weighted(0.3), any::<bool>(), 0..2_usize);
    (head, prop_oneof![role, binding]).prop_map(|((friend, cluster, update, name), what)| Try {
        friend,
        cluster,
        update,
        name,
        what,
    })
}

impl Try {
    fn request(&self) -> (&'static str, String, Value) {
        let (plural, object) = match &self.what {
            What::Role { rules, gathers } => {
                let mut role = json!({"rules": rules});
                if *gathers && self.cluster {
                    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]});
                }
                ("roles", role)
            }
            What::Binding { kind, role, subject } => {
                ("rolebindings", binding(self.cluster, *kind, *role, *subject))
            }
        };
        let name = format!("{}-{}", plural.trim_end_matches('s'), self.name);
        let mut object = object;
        object["metadata"] = json!({ "name": name });
        let place = if self.cluster {
            format!("{RBAC}/cluster{plural}")
        } else {
            format!("{RBAC}/namespaces/a/{plural}")
        };
        if self.update { ("PUT", format!("{place}/{name}"), object) } else { ("POST", place, object) }
    }
}

fn binding(cluster: bool, kind: usize, role: usize, subject: usize) -> Value {
    let kind = if cluster { "ClusterRole" } else { ["Role", "ClusterRole"][kind] };
    let role = ["role-0", "role-1", "start", "cluster-admin", "view"][role];
    let subject = match subject {
        2 => {
            json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"})
        }
        friend => json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": FRIENDS[friend]}),
    };
    json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": [subject]})
}

fn user(friend: usize) -> UserInfo {
    UserInfo::component(FRIENDS[friend], &[])
}

/// What the first friend has at the start, in namespace `a` and everywhere.
async fn set_up() -> World {
    let world = world().await;
    let all = json!(["create", "update", "patch", "get"]);
    let here = json!([
        {"apiGroups": [""], "resources": ["pods", "*/log"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": all},
    ]);
    let everywhere = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"], "verbs": all},
    ]);
    world.ask(&admin(), "/api/v1/namespaces", json!({"metadata": {"name": "a"}})).await;
    for (place, kind, rules) in [("namespaces/a/", "Role", here), ("cluster", "ClusterRole", everywhere)] {
        let role = json!({"metadata": {"name": "start"}, "rules": rules});
        world.ask(&admin(), &format!("{RBAC}/{place}roles"), role).await;
        let mut start = binding(true, 0, 2, 0);
        start["roleRef"]["kind"] = kind.into();
        start["metadata"] = json!({"name": "start"});
        world.ask(&admin(), &format!("{RBAC}/{place}rolebindings"), start).await;
    }
    world
}

async fn rules(world: &World, friend: usize, namespace: &str) -> Vec<PolicyRule> {
    // A refusal waits until every change before it is known.
    world.send(&user(friend), "DELETE", "/api/v1/nodes/x", Value::Null).await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let status =
        world.ask(&user(friend), path, json!({"spec": {"namespace": namespace}})).await["status"].clone();
    let lists =
        ["resourceRules", "nonResourceRules"].map(|key| status[key].as_array().cloned().unwrap_or_default());
    lists.concat().iter().map(PolicyRule::of).collect()
}

/// Plays a sequence; answers how many requests were allowed.
async fn play(tries: &[Try]) -> usize {
    let world = set_up().await;
    let held = [rules(&world, 0, "a").await, rules(&world, 0, "b").await];
    let mut allowed = 0;
    for attempt in tries {
        let (method, path, object) = attempt.request();
        let (code, _) = world.send(&user(attempt.friend), method, &path, object).await;
        allowed += usize::from(code < 300);
        for (friend, name) in FRIENDS.iter().enumerate() {
            for (namespace, held) in ["a", "b"].iter().zip(&held) {
                let more = missing(held, &rules(&world, friend, namespace).await);
                assert!(more.is_empty(), "{name} has gained in {namespace}:\n{}", describe(&more));
            }
        }
    }
    allowed
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn nobody_gains(tries in prop::collection::vec(attempt(), 1..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play(&tries));
    }
}

/// The walk is worth something only if some requests get through.
#[tokio::test]
async fn what_one_has_may_be_given_away() {
    let reader = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let role = What::Role { rules: vec![reader], gathers: false };
    let share = What::Binding { kind: 0, role: 0, subject: 1 };
    let tries = [role, share].map(|what| Try { friend: 0, cluster: false, update: false, name: 0, what });
    assert_eq!(play(&tries).await, 2);
}
