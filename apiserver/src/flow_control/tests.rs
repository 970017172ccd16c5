//! Which schema and flow a request belongs to, and what seats cost when they are free.

use serde_json::json;

use super::*;

fn entry(plural: &str, object: &Value) -> Stored {
    let key = api::names::storage_key(GROUP, plural, None, api::object::name(object));
    Stored {
        key: key.into(),
        bytes: object.to_string().into(),
        create_revision: 1,
        mod_revision: 1,
        index: std::sync::OnceLock::new(),
    }
}

fn usual() -> Configured {
    let mut configured = Configured::default();
    for (plural, object, _) in bootstrap::objects() {
        configured.put(&entry(plural, &object));
    }
    configured
}

fn info(verb: &'static str, group: &str, resource: &str, namespace: &str) -> RequestInfo {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    RequestInfo {
        verb,
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        ..RequestInfo::default()
    }
}

#[test]
fn requests_find_upstreams_schemas() {
    let configured = usual();
    let leases = || info("update", "coordination.k8s.io", "leases", "kube-system");
    let pods = || info("list", "", "pods", "a");
    let account = |name: &str| {
        let namespace = name.split(':').nth(2).unwrap_or_default();
        let own = format!("system:serviceaccounts:{namespace}");
        UserInfo::component(name, &["system:serviceaccounts", &own])
    };
    for (user, what, expected) in [
        (UserInfo::component("admin", &["system:masters"]), pods(), "exempt"),
        (UserInfo::component("system:kube-scheduler", &[]), leases(), "system-leader-election"),
        (UserInfo::component("system:kube-scheduler", &[]), pods(), "kube-scheduler"),
        (UserInfo::component("system:node:a", &["system:nodes"]), leases(), "system-node-high"),
        (
            UserInfo::component("system:node:a", &["system:nodes"]),
            info("patch", "", "nodes/status", ""),
            "system-node-high",
        ),
        (UserInfo::component("system:node:a", &["system:nodes"]), pods(), "system-nodes"),
        (account("system:serviceaccount:kube-system:x"), leases(), "system-leader-election"),
        (account("system:serviceaccount:kube-system:x"), pods(), "kube-system-service-accounts"),
        (account("system:serviceaccount:kube-systems:x"), pods(), "service-accounts"),
        (UserInfo::component("somebody", &[]), pods(), "global-default"),
        (
            UserInfo::component("somebody", &[]),
            RequestInfo { verb: "get", path: "/livez/ping".to_owned(), ..RequestInfo::default() },
            "probes",
        ),
        (
            UserInfo::component("somebody", &[]),
            RequestInfo { verb: "get", path: "/livezz".to_owned(), ..RequestInfo::default() },
            "global-default",
        ),
    ] {
        let found = configured.find(&user, &what).map(|(row, _)| row.schema.name.as_str());
        assert_eq!(found, Some(expected), "{user:?} {what:?}");
    }
}

#[test]
fn flows_are_told_apart_as_the_schema_says() {
    let configured = usual();
    let flow = |user: &str, namespace: &str| {
        let (user, what) = (UserInfo::component(user, &[]), info("list", "", "pods", namespace));
        configured.find(&user, &what).map(|(row, _)| row.schema.flow(&user, &what))
    };
    assert_eq!(flow("a", "x"), flow("a", "y"), "by user");
    assert_ne!(flow("a", "x"), flow("b", "x"));
    assert_ne!(flow("system:kube-scheduler", "x"), flow("system:kube-scheduler", "y"), "by namespace");
}

#[test]
fn a_schema_without_its_level_is_passed_over_and_changes_count() {
    let mut configured = usual();
    let user = UserInfo::component("somebody", &[]);
    let what = info("list", "", "pods", "a");
    let name =
        |configured: &Configured| configured.find(&user, &what).map(|(row, _)| row.schema.name.clone());
    let mine = json!({"metadata": {"name": "mine"}, "spec": {"matchingPrecedence": 7, "priorityLevelConfiguration": {"name": "none"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "somebody"}}],
                   "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}]}]}});
    configured.put(&entry(SCHEMAS, &mine));
    assert_eq!(name(&configured).as_deref(), Some("global-default"));
    let level = json!({"metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5,
        "limitResponse": {"type": "Reject"}}}});
    configured.put(&entry(LEVELS, &level));
    assert_eq!(name(&configured).as_deref(), Some("mine"));
    configured.remove(&api::names::storage_key(GROUP, SCHEMAS, None, "mine"));
    assert_eq!(name(&configured).as_deref(), Some("global-default"));
}

/// Prints what admission costs a request that nobody stands in the way of.
#[test]
fn free_seats_cost_little() {
    let configured = usual();
    let (user, what) = (UserInfo::component("somebody", &[]), Arc::new(info("get", "", "pods", "a")));
    let rounds = 20_000;
    let clock = component_base::clock::RealClock::shared();
    let began = clock.monotonic();
    for _ in 0..rounds {
        let (row, level) = configured.find(&user, &what).expect("a schema");
        let asker = Asker {
            schema: Arc::clone(&row.name),
            flow: row.schema.told_apart(&user, &what).to_owned(),
            user: user.name.clone(),
            info: Arc::clone(&what),
            arrived: jiff::Timestamp::UNIX_EPOCH,
            seats: 1,
            counted: Arc::clone(&row.counted),
        };
        assert!(matches!(level.enter(|| row.schema.flow(&user, &what), asker), Entry::Runs(_)));
    }
    let each = (clock.monotonic() - began) / rounds;
    println!("{each:?} a request, matching its schema included");
    assert!(each < Duration::from_millis(1), "{each:?}");
}
