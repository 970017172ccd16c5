//! What objects are charged, by table.

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn quota(spec: &Value, hard: &Value, used: &Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

fn pod(requests: &Value, limits: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

/// What the first of the quotas has used after a charge.
fn shown(quota: &Value, charges: &BTreeMap<usize, Charge>) -> Option<String> {
    let charged = charges.get(&0)?.on(quota.clone()).expect("room");
    Some(told(&list(&charged["status"]["used"])))
}

fn told(resources: &Resources) -> String {
    resources.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Charges one object to one quota; answers with what is used then, or with the refusal.
fn check(kind: (&str, &str), quota: &Value, object: &Value, old: Option<&Value>, expect: &str) {
    let evaluator = Evaluator::of(kind.0, kind.1);
    let request = Request { evaluator, subresource: "", object, old, now: now() };
    let outcome = charge(vec![quota.clone()], &request);
    let got = match outcome {
        Ok(charged) => shown(quota, &charged).unwrap_or_else(|| "free".to_owned()),
        Err(why) => why,
    };
    assert_eq!(got, expect, "{object}");
}

const PODS: (&str, &str) = ("", "pods");

#[test]
fn pods() {
    let two = quota(&json!({}), &json!({"pods": "2"}), &json!({"pods": "1"}));
    check(PODS, &two, &pod(&json!({}), &json!({})), None, "pods=2");
    let full = quota(&json!({}), &json!({"pods": "2", "cpu": "1"}), &json!({"pods": "2", "cpu": "0"}));
    let text = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    check(PODS, &full, &pod(&json!({"cpu": "1"}), &json!({})), None, text);
    let dear = quota(&json!({}), &json!({"pods": "2", "cpu": "1"}), &json!({"pods": "1", "cpu": "600m"}));
    let text = "exceeded quota: q, requested: cpu=500m, used: cpu=600m, limited: cpu=1";
    check(PODS, &dear, &pod(&json!({"cpu": "500m"}), &json!({})), None, text);
    check(PODS, &dear, &pod(&json!({"cpu": "400m"}), &json!({})), None, "cpu=1,pods=2");
    check(PODS, &dear, &pod(&json!({}), &json!({})), None, "failed quota: q: must specify cpu for: c");
    let limits = quota(&json!({}), &json!({"limits.cpu": "1"}), &json!({"limits.cpu": "0"}));
    check(
        PODS,
        &limits,
        &pod(&json!({}), &json!({})),
        None,
        "failed quota: q: must specify limits.cpu for: c",
    );
    let unknown = quota(&json!({}), &json!({"pods": "2"}), &json!({}));
    let text = "status unknown for quota: q, resources: pods";
    check(PODS, &unknown, &pod(&json!({}), &json!({})), None, text);
    let gpus = quota(
        &json!({}),
        &json!({"requests.example.com/gpu": "1"}),
        &json!({"requests.example.com/gpu": "0"}),
    );
    let text = "requests.example.com/gpu=1";
    check(PODS, &gpus, &pod(&json!({"example.com/gpu": "1"}), &json!({})), None, text);
    check(PODS, &gpus, &pod(&json!({}), &json!({})), None, "free");
}

#[test]
fn resizes_cost_the_difference() {
    let quota = quota(&json!({}), &json!({"cpu": "2", "pods": "1"}), &json!({"cpu": "1", "pods": "1"}));
    let (small, large) = (pod(&json!({"cpu": "1"}), &json!({})), pod(&json!({"cpu": "2"}), &json!({})));
    let charged = |subresource, object: &Value, old: &Value| {
        let evaluator = Evaluator::of("", "pods");
        let request = Request { evaluator, subresource, object, old: Some(old), now: now() };
        charge(vec![quota.clone()], &request).map(|of| shown(&quota, &of))
    };
    assert_eq!(charged("resize", &large, &small), Ok(Some("cpu=2,pods=1".to_owned())));
    assert_eq!(charged("resize", &small, &large), Ok(None));
    assert_eq!(charged("", &large, &small), Ok(None));
    let text = "exceeded quota: q, requested: cpu=2, used: cpu=1, limited: cpu=2";
    assert_eq!(charged("resize", &pod(&json!({"cpu": "3"}), &json!({})), &small), Err(text.to_owned()));
}

#[test]
fn scopes() {
    let check = |spec: Value, pod: &Value, expect: bool| {
        let quota = quota(&spec, &json!({"pods": "2"}), &json!({"pods": "0"}));
        super::tests::check(PODS, &quota, pod, None, if expect { "pods=1" } else { "free" });
    };
    let effort = pod(&json!({"cpu": "1"}), &json!({}));
    let mut best = pod(&json!({}), &json!({}));
    check(json!({"scopes": ["BestEffort"]}), &best, true);
    check(json!({"scopes": ["BestEffort"]}), &effort, false);
    check(json!({"scopes": ["NotBestEffort"]}), &effort, true);
    check(json!({"scopes": ["Terminating"]}), &best, false);
    check(json!({"scopes": ["NotTerminating", "BestEffort"]}), &best, true);
    best["spec"]["activeDeadlineSeconds"] = 5.into();
    check(json!({"scopes": ["Terminating"]}), &best, true);
    let class = |operator: &str, values: &[&str]| {
        json!({"scopeSelector": {"matchExpressions":
            [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    check(class("Exists", &[]), &best, false);
    check(class("DoesNotExist", &[]), &best, true);
    check(class("NotIn", &["high"]), &best, true);
    best["spec"]["priorityClassName"] = "high".into();
    check(class("In", &["high", "low"]), &best, true);
    check(class("In", &["low"]), &best, false);
    check(class("NotIn", &["high"]), &best, false);
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), &best, false);
    best["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] =
        json!([{"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}}]);
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), &best, true);
}

#[test]
fn other_kinds() {
    let of = |kind: (&str, &str), object: Value| told(&Evaluator::of(kind.0, kind.1).usage(&object, now()));
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{}, {}]}});
    assert_eq!(
        of(("", "services"), service("NodePort")),
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"
    );
    assert_eq!(
        of(("", "services"), service("LoadBalancer")),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"
    );
    assert_eq!(
        of(
            ("", "persistentvolumeclaims"),
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}})
        ),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi"
    );
    let exactly = |class: &str, count: i64| json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": count});
    assert_eq!(
        of(
            ("resource.k8s.io", "resourceclaims"),
            json!({"spec": {"devices": {"requests": [
                {"name": "a", "exactly": exactly("gpu", 2)},
                {"name": "b", "firstAvailable": [exactly("gpu", 1), exactly("gpu", 3)]},
                {"name": "c", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
            ]}}})
        ),
        "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=5,\
         nic.deviceclass.resource.k8s.io/devices=32"
    );
    assert_eq!(of(("", "secrets"), json!({})), "count/secrets=1,secrets=1");
    assert_eq!(of(("example.com", "widgets"), json!({})), "count/widgets.example.com=1");
    let over = json!({"status": {"phase": "Succeeded"}, "spec": {"containers": []}});
    assert_eq!(of(PODS, over), "count/pods=1");
    let gone =
        json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}});
    assert_eq!(of(PODS, gone), "count/pods=1");
}

#[test]
fn what_is_used() {
    let quota = quota(&json!({"scopes": ["BestEffort"]}), &json!({}), &json!({}));
    let pods =
        [pod(&json!({}), &json!({})), pod(&json!({}), &json!({})), pod(&json!({"cpu": "1"}), &json!({}))];
    assert_eq!(told(&used(&quota, &Evaluator::of("", "pods"), &pods, now())), "count/pods=2,pods=2");
}

#[test]
fn a_charge_counts_on_what_others_have_used_by_then() {
    let seen = quota(&json!({}), &json!({"pods": "3"}), &json!({"pods": "0"}));
    let changed = |pointer: &str, value: Value| {
        let mut quota = seen.clone();
        *quota.pointer_mut(pointer).expect("a place") = value;
        quota
    };
    let object = pod(&json!({}), &json!({}));
    let charge = |subresource, object: &Value| {
        let request =
            Request { evaluator: Evaluator::of("", "pods"), subresource, object, old: None, now: now() };
        let charges = super::charge(vec![seen.clone()], &request).expect("room");
        charges.into_values().next().expect("a charge")
    };
    for (what, now, expect) in [
        ("nobody else", seen.clone(), Some("pods=1")),
        ("others", changed("/status/used/pods", json!("2")), Some("pods=3")),
        ("too many others", changed("/status/used/pods", json!("3")), None),
        ("nothing is counted any more", changed("/status/used", json!({})), None),
        ("more is allowed", changed("/status/hard/pods", json!("4")), None),
        ("other scopes", changed("/spec", json!({"scopes": ["BestEffort"]})), None),
        ("another quota of the name", changed("/metadata", json!({"name": "q", "uid": "2"})), None),
    ] {
        let total = charge("", &object).on(now).map(|quota| told(&list(&quota["status"]["used"])));
        assert_eq!(total.as_deref(), expect, "{what}");
    }
}
