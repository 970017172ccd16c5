//! Tables of situations and what is decided in them, one YAML file per controller.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use client::plan::{Action, Plan};
use client::request;
use controller_manager::{deployment, endpoint_slice, replica_set};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde::Deserialize;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("a time")
}

fn cases<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    serde_yaml::from_str(text).expect("cases")
}

/// What is said about actions that succeed.
fn said(plan: &Plan) -> Vec<String> {
    plan.reports
        .values()
        .filter_map(|report| report.success.as_ref())
        .map(|event| event.message.clone())
        .collect()
}

fn conditions(plan: &Plan) -> Option<Vec<String>> {
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"].clone()),
        _ => None,
    })?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = status["conditions"].as_array().cloned().unwrap_or_default();
    Some(
        each.iter()
            .map(|c| format!("{} {} {}", text(&c["type"]), text(&c["status"]), text(&c["reason"])))
            .collect(),
    )
}

/// Name, version of the template, wanted, available, `desired/max` annotations.
type ShortSet = (String, String, i32, i32, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentCase {
    name: String,
    wanted: i32,
    #[serde(default)]
    strategy: Value,
    #[serde(default)]
    paused: bool,
    sets: Vec<ShortSet>,
    /// The `Progressing` condition: status, reason, last update.
    #[serde(default)]
    progressing: Option<(String, String, String)>,
    expect: Vec<String>,
    #[serde(default)]
    conditions: Option<Vec<String>>,
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web", "version": version}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn set(index: usize, (name, version, wanted, available, annotations): &ShortSet) -> Value {
    let (desired, max) = annotations.split_once('/').unwrap_or(("", ""));
    json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:{index:02}:00Z"), "labels": {"app": "web"},
            "annotations": {"deployment.kubernetes.io/desired-replicas": desired,
                "deployment.kubernetes.io/max-replicas": max,
                "deployment.kubernetes.io/revision": (index + 1).to_string()},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web",
                "controller": true}]},
        "spec": {"replicas": wanted, "selector": {"matchLabels": {"app": "web"}}, "template": template(version)},
        "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available,
            "observedGeneration": 1},
    })
}

#[test]
fn deployments() {
    for case in cases::<DeploymentCase>(include_str!("deployment.yaml")) {
        let progressing = case.progressing.iter().map(|(status, reason, updated)| {
            json!({"type": "Progressing", "status": status, "reason": reason, "lastUpdateTime": updated})
        });
        let sum = |count: &dyn Fn(&ShortSet) -> i32| case.sets.iter().map(count).sum::<i32>();
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "web", "generation": 1},
            "spec": {"replicas": case.wanted, "paused": case.paused, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}}, "template": template("new"),
                "strategy": if case.strategy.is_null() { json!({"type": "RollingUpdate"}) } else { case.strategy }},
            "status": {"conditions": progressing.collect::<Vec<_>>(), "observedGeneration": 1,
                "replicas": sum(&|set| set.2), "readyReplicas": sum(&|set| set.3),
                "availableReplicas": sum(&|set| set.3),
                "updatedReplicas": sum(&|set| if set.1 == "new" { set.2 } else { 0 })},
        });
        let sets = case.sets.iter().enumerate().map(|(index, short)| set(index, short));
        let observed = deployment::Observed {
            deployment: Arc::new(serde_json::from_value(deployment).expect("a deployment")),
            sets: sets.map(|set| Arc::new(serde_json::from_value(set).expect("a set"))).collect(),
            pods: Vec::new(),
            last: None,
        };
        let plan = deployment::reconcile(&observed, now());
        let name_of_new = plan.actions.iter().find_map(|action| match action {
            Action::Create { object, .. } => object["metadata"]["name"].as_str().map(str::to_owned),
            _ => None,
        });
        let got = said(&plan).into_iter().map(|message| match &name_of_new {
            Some(name) => message.replace(name.as_str(), "NEW"),
            None => message,
        });
        assert_eq!(got.collect::<Vec<_>>(), case.expect, "{}", case.name);
        if case.conditions.is_some() {
            assert_eq!(conditions(&plan), case.conditions, "{}", case.name);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicaSetCase {
    name: String,
    wanted: i32,
    pods: BTreeMap<String, Value>,
    expect: Vec<String>,
}

fn pod(name: &str, changes: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web",
            "controller": true}]},
        "spec": {"containers": []}, "status": {"phase": "Running"}});
    merge(&mut pod, changes);
    pod
}

fn merge(target: &mut Value, changes: &Value) {
    match changes.as_object() {
        Some(changes) => changes.iter().for_each(|(key, value)| merge(&mut target[key], value)),
        None if changes.is_null() => {}
        None => *target = changes.clone(),
    }
}

/// `create pods`, `delete pods x`, `patch pods x {…}`; status patches by what they count.
fn actions(plan: &Plan) -> Vec<String> {
    let each = plan.actions.iter().map(|action| match action {
        Action::Create { resource, object, .. } => {
            format!(
                "create {} {}",
                resource.plural,
                object["metadata"]["generateName"].as_str().unwrap_or_default()
            )
        }
        Action::Delete { target, .. } => format!("delete {} {}", target.resource.plural, target.name),
        Action::Patch { patch, subresource: Some("status"), .. } => {
            let status = &patch["status"];
            format!(
                "status {} {} {}",
                status["replicas"], status["readyReplicas"], status["terminatingReplicas"]
            )
        }
        Action::Patch { target, patch, .. } => {
            format!("patch {} {} {patch}", target.resource.plural, target.name)
        }
        other => format!("{other:?}"),
    });
    each.collect()
}

#[test]
fn replica_sets() {
    for case in cases::<ReplicaSetCase>(include_str!("replica_set.yaml")) {
        let set = json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "web", "generation": 1},
            "spec": {"replicas": case.wanted, "selector": {"matchLabels": {"app": "web"}}, "template": template("1")},
        });
        let pods = case.pods.iter().map(|(name, changes)| pod(name, changes));
        let observed = replica_set::Observed {
            resource: request::resource::<ReplicaSet>(),
            set: Arc::new(serde_json::from_value(set).expect("a set")),
            pods: pods.map(|pod| Arc::new(serde_json::from_value(pod).expect("a pod"))).collect(),
            crowd: BTreeMap::new(),
            last: None,
        };
        assert_eq!(actions(&replica_set::reconcile(&observed, now())), case.expect, "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SliceCase {
    name: String,
    #[serde(default)]
    service: Value,
    #[serde(default)]
    pods: BTreeMap<String, Value>,
    /// Name, and the pods in it; all on port 8080 of address family IPv4.
    #[serde(default)]
    slices: BTreeMap<String, Vec<String>>,
    expect: Vec<String>,
}

#[test]
fn endpoint_slices() {
    for case in cases::<SliceCase>(include_str!("endpoint_slice.yaml")) {
        let mut service = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "web"},
            "spec": {"clusterIP": "10.43.0.7", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}});
        merge(&mut service, &case.service);
        let pods = case.pods.iter().enumerate().map(|(index, (name, changes))| {
            let mut with_address = pod(
                name,
                &json!({"status": {"podIP": format!("10.42.0.{index}"),
                "conditions": [{"type": "Ready", "status": "True"}]}}),
            );
            merge(&mut with_address, changes);
            Arc::new(serde_json::from_value(with_address).expect("a pod"))
        });
        let address = |name: &String| case.pods.keys().position(|key| key == name).unwrap_or(99);
        let slices = case.slices.iter().map(|(name, pods)| {
            let endpoints: Vec<Value> = pods
                .iter()
                .map(|pod| {
                    json!({
                "addresses": [format!("10.42.0.{}", address(pod))],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod, "uid": pod}})
                })
                .collect();
            let slice = json!({"metadata": {"name": name, "namespace": "ns", "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
                "addressType": "IPv4", "endpoints": endpoints,
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
            Arc::new(serde_json::from_value(slice).expect("a slice"))
        });
        let (pods, slices) = (pods.collect(), slices.collect());
        let service = Arc::new(serde_json::from_value(service).expect("a service"));
        let observed = endpoint_slice::Observed { service, pods, slices, zones: BTreeMap::new() };
        assert_eq!(slice_actions(&endpoint_slice::reconcile(&observed)), case.expect, "{}", case.name);
    }
}

fn slice_actions(plan: &Plan) -> Vec<String> {
    let endpoints = |object: &Value| -> String {
        let each = object["endpoints"].as_array().into_iter().flatten();
        let text = |endpoint: &Value| {
            let conditions = &endpoint["conditions"];
            let flag = |name: &str, letter: &str| {
                if conditions[name] == true { letter.to_owned() } else { String::new() }
            };
            let flags = flag("ready", "r") + &flag("serving", "s") + &flag("terminating", "t");
            format!("{}:{flags}", endpoint["targetRef"]["name"].as_str().unwrap_or_default())
        };
        each.map(text).collect::<Vec<_>>().join(" ")
    };
    let each = plan.actions.iter().map(|action| match action {
        Action::Create { object, .. } => {
            let ports = object["ports"].as_array().into_iter().flatten().map(|port| port["port"].to_string());
            format!("create [{}] {}", ports.collect::<Vec<_>>().join(","), endpoints(object))
        }
        Action::Patch { target, patch, .. } => format!("patch {} {}", target.name, endpoints(patch)),
        Action::Delete { target, .. } => format!("delete {}", target.name),
        other => format!("{other:?}"),
    });
    each.map(|line| line.trim_end().to_owned()).collect()
}
