//! Tables of small worlds: which node a pod goes to, or why it waits. One file of cases per plugin.
//!
//! A case is a YAML document: `nodes` (name → short form), `pods` (those that are placed), `pod` (the one
//! to place), and `expect`: the node's name, or the sentence of the pod's condition.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use scheduler::cycle::{self, Outcome};
use scheduler::explain;
use scheduler::pod::Pod;
use scheduler::snapshot::Snapshot;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    nodes: BTreeMap<String, ShortNode>,
    #[serde(default)]
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pods: Vec<ShortPod>,
    pod: ShortPod,
    expect: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ShortNode {
    cpu: Option<String>,
    memory: Option<String>,
    pods: Option<String>,
    other: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    taints: Vec<Value>,
    cordoned: bool,
    images: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ShortPod {
    name: Option<String>,
    namespace: Option<String>,
    on: Option<String>,
    labels: BTreeMap<String, String>,
    requests: BTreeMap<String, String>,
    ports: Vec<Value>,
    image: Option<String>,
    owner: Option<String>,
    deleting: bool,
    /// Further fields of the spec.
    spec: serde_json::Map<String, Value>,
}

fn node(name: &str, short: &ShortNode) -> k8s_openapi::api::core::v1::Node {
    let mut allocatable = json!({
        "cpu": short.cpu.as_deref().unwrap_or("4"),
        "memory": short.memory.as_deref().unwrap_or("8Gi"),
        "pods": short.pods.as_deref().unwrap_or("110"),
    });
    short.other.iter().for_each(|(name, amount)| allocatable[name] = json!(amount));
    let mut labels = json!({"kubernetes.io/hostname": name});
    short.labels.iter().for_each(|(key, value)| labels[key] = json!(value));
    labels.as_object_mut().expect("a map").retain(|_, value| value != "-");
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": short.cordoned, "taints": short.taints},
        "status": {"allocatable": allocatable, "images": short.images},
    }))
    .expect("a node")
}

fn pod(short: &ShortPod, default_name: &str) -> Pod {
    let name = short.name.as_deref().unwrap_or(default_name);
    let mut object = json!({
        "metadata": {"name": name, "namespace": short.namespace.as_deref().unwrap_or("default"),
            "uid": name, "labels": short.labels},
        "spec": {"schedulerName": "default-scheduler", "containers": [{
            "name": "c", "image": short.image, "ports": short.ports,
            "resources": {"requests": short.requests},
        }]},
    });
    if let Some(owner) = &short.owner {
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
    }
    if short.deleting {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if let Some(on) = &short.on {
        object["spec"]["nodeName"] = json!(on);
    }
    for (key, value) in &short.spec {
        object["spec"][key] = value.clone();
    }
    Pod::read(&serde_json::from_value(object).expect("a pod"))
}

fn outcome(case: &Case) -> String {
    let mut snapshot = Snapshot::default();
    snapshot.namespaces.clone_from(&case.namespaces);
    for (name, short) in &case.nodes {
        snapshot.set_node(&node(name, short));
    }
    for (at, short) in case.pods.iter().enumerate() {
        let placed = pod(short, &format!("placed-{at}"));
        let on = placed.node.clone().expect("a placed pod names its node");
        snapshot.place(Arc::new(placed), &on, false);
    }
    let pod = pod(&case.pod, "incoming");
    match cycle::schedule(&pod, &snapshot, 0, 0).outcome {
        Outcome::Placed(slot) => snapshot.nodes[slot].name.to_string(),
        Outcome::Unschedulable(diagnosis) => explain::message(&pod, &diagnosis, &snapshot),
    }
}

/// Runs a table; returns how many cases it has.
fn table(text: &str) -> usize {
    let cases: Vec<Case> = serde_yaml::from_str(text).expect("a table");
    for case in &cases {
        assert_eq!(outcome(case), case.expect, "{}", case.name);
    }
    cases.len()
}

macro_rules! tables {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                assert!(table(include_str!(concat!("cases/", stringify!($name), ".yaml"))) > 0);
            }
        )+
    };
}

tables!(nodes, resources, ports, taints, node_affinity, pod_affinity, spread, images, messages);
