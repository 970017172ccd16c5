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

/// Whoever may list one secret is shown that one, however the wish is written.
#[tokio::test]
async fn a_name_that_may_be_listed_hides_no_others() {
    let world = world().await;
    for name in ["one", "two"] {
        world.ask(&admin(), "/api/v1/namespaces/default/secrets", json!({"metadata": {"name": name}})).await;
    }
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"],
        "verbs": ["list", "watch", "deletecollection"]});
    let roles = format!("{RBAC}/namespaces/default");
    world.ask(&admin(), &format!("{roles}/roles"), json!({"metadata": {"name": "r"}, "rules": [rule]})).await;
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    let binding = json!({"metadata": {"name": "r"}, "roleRef": role, "subjects": [subject]});
    world.ask(&admin(), &format!("{roles}/rolebindings"), binding).await;
    let mallory = UserInfo::component("mallory", &[]);
    for (query, expected) in [
        ("fieldSelector=metadata.name=one", 200),
        ("fieldSelector=metadata.name=one&fieldSelector=", 200),
        ("fieldSelector=&fieldSelector=metadata.name=one", 403),
        ("fieldSelector=metadata.name=two&fieldSelector=metadata.name=one", 403),
        ("fieldSelector=metadata.name!=two", 403),
        ("labelSelector=a&fieldSelector=", 403),
    ] {
        let uri = format!("/api/v1/namespaces/default/secrets?{query}");
        let (code, answer) = world.send(&mallory, "GET", &uri, Value::Null).await;
        assert_eq!(code, expected, "{query}: {answer}");
        assert!(!answer.to_string().contains("\"two\"") || code == 403, "{query}: {answer}");
        if expected == 403 {
            let (code, answer) = world.send(&mallory, "DELETE", &uri, Value::Null).await;
            assert_eq!(code, 403, "{query}: {answer}");
        }
    }
}

/// A node cannot have itself deleted, nor take what was allocated for others.
#[tokio::test]
async fn nodes_give_themselves_no_owners_and_no_claims() {
    let world = world().await;
    let made = world.ask(&admin(), "/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let node = UserInfo::component("system:node:n1", &["system:nodes"]);
    let gone = json!([{"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}]);
    let owned = json!({"metadata": {"ownerReferences": gone}});
    for path in ["/api/v1/nodes/n1", "/api/v1/nodes/n1/status"] {
        let (code, answer) = world.send(&node, "PATCH", path, owned.clone()).await;
        let told = "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify ownerReferences";
        assert!(code == 403 && answer["message"] == told, "{path}: {code} {answer}");
    }
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": made["metadata"]["uid"],
        "controller": true});
    let pod = |claims: Value| {
        json!({"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [owner]}, "spec": {"nodeName": "n1", "resourceClaims": claims,
            "containers": [{"name": "c", "image": "i:1"}]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    let claims = json!([{"name": "c", "resourceClaimName": "of-another"}]);
    let (code, answer) = world.send(&node, "POST", pods, pod(claims)).await;
    let told = "pods \"m\" is forbidden: node \"n1\" can not create pods that reference resourceclaims";
    assert!(code == 403 && answer["message"] == told, "{code} {answer}");
    let (code, answer) = world.send(&node, "POST", pods, pod(json!([]))).await;
    assert_eq!(code, 201, "{answer}");
}

/// A WebSocket is opened with a GET: who may only `get` must not run commands by it.
#[tokio::test]
async fn who_may_only_read_runs_nothing() {
    let world = world().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    world.ask(&admin(), "/api/v1/namespaces/default/pods", pod).await;
    let streams = ["pods/exec", "pods/attach", "pods/portforward"];
    let roles = format!("{RBAC}/namespaces/default");
    for (user, verbs) in [("reader", json!(["get"])), ("runner", json!(["get", "create"]))] {
        let rule = json!({"apiGroups": [""], "resources": streams, "verbs": verbs});
        let named = json!({"name": user});
        world.ask(&admin(), &format!("{roles}/roles"), json!({"metadata": named, "rules": [rule]})).await;
        let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user});
        let binding = json!({"metadata": named, "roleRef": role, "subjects": [subject]});
        world.ask(&admin(), &format!("{roles}/rolebindings"), binding).await;
    }
    for stream in ["exec?command=x&stdout=1", "attach?stdout=1", "portforward?ports=80"] {
        let uri = format!("/api/v1/namespaces/default/pods/p/{stream}");
        let get =
            async |user: &str| world.send(&UserInfo::component(user, &[]), "GET", &uri, Value::Null).await;
        let (code, answer) = get("reader").await;
        let told = answer["message"].as_str().unwrap_or_default();
        assert!(code == 403 && told.contains("cannot create resource \"pods/"), "{stream}: {code} {answer}");
        let (code, answer) = get("runner").await;
        assert_eq!(code, 400, "nothing but a node is missing: {answer}");
    }
}
