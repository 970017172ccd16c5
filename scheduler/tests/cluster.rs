//! The scheduler against an API server: what it binds, what it says, what wakes it.

#![expect(clippy::expect_used, clippy::panic, reason = "a test ends where its set-up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::clock::FakeClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use serde_json::{Value, json};

#[path = "cluster/fake_api.rs"]
mod fake_api;

use fake_api::FakeApi;

struct Cluster {
    api: FakeApi,
    clock: Arc<FakeClock>,
    shutdown: Shutdown,
}

/// A scheduler at work on what `api` has.
fn start(api: FakeApi) -> Cluster {
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let shutdown = Shutdown::new();
    tokio::spawn(scheduler::run(api.client(), clock.clone(), Rng::seeded(1), shutdown.clone()));
    Cluster { api, clock, shutdown }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn bound(name: &'static str, node: &'static str) -> impl Fn(&FakeApi) -> bool {
    move |api| api.get("pods", "default", name)["spec"]["nodeName"] == node
}

fn says(reason: &'static str, message: &'static str) -> impl Fn(&FakeApi) -> bool {
    move |api| api.events().contains(&format!("{reason}: {message}"))
}

fn condition(api: &FakeApi, name: &str) -> Value {
    api.get("pods", "default", name)["status"]["conditions"][0].clone()
}

const TOO_LARGE: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_ROOM: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

#[tokio::test]
async fn a_pod_is_bound_and_an_event_tells_where() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "1"));
    api.put("pods", pod("web", "100m"));
    let cluster = start(api);
    cluster.api.until(bound("web", "node-1")).await;
    cluster.api.until(says("Scheduled", "Successfully assigned default/web to node-1")).await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_so_and_goes_when_there_is_room() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "1"));
    let cluster = start(api);
    cluster.api.put("pods", pod("web", "2"));
    cluster.api.until(says("FailedScheduling", TOO_LARGE)).await;
    cluster.api.until(|api| condition(api, "web")["reason"] == "Unschedulable").await;
    let told = condition(&cluster.api, "web");
    assert_eq!((&told["type"], &told["status"]), (&json!("PodScheduled"), &json!("False")));
    assert_eq!(told["message"], TOO_LARGE);
    // Neither a node that is too small nor a change that does not matter helps.
    cluster.api.put("nodes", node("node-2", "1"));
    cluster.api.put("nodes", node("node-1", "2"));
    cluster.api.until(bound("web", "node-1")).await;
}

#[tokio::test]
async fn a_pod_that_goes_makes_room() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "1"));
    let mut old = pod("old", "1");
    old["spec"]["nodeName"] = json!("node-1");
    api.put("pods", old);
    api.put("pods", pod("new", "1"));
    let cluster = start(api);
    cluster.api.until(says("FailedScheduling", NO_ROOM)).await;
    cluster.api.delete("pods", "default", "old");
    cluster.api.until(bound("new", "node-1")).await;
}

#[tokio::test]
async fn a_pod_that_ended_makes_room_too() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "1"));
    let mut old = pod("old", "1");
    old["spec"]["nodeName"] = json!("node-1");
    api.put("pods", old.clone());
    api.put("pods", pod("new", "1"));
    let cluster = start(api);
    cluster.api.until(says("FailedScheduling", NO_ROOM)).await;
    old["status"] = json!({"phase": "Succeeded"});
    cluster.api.put("pods", old);
    cluster.api.until(bound("new", "node-1")).await;
}

#[tokio::test]
async fn a_failed_binding_frees_the_room_and_is_tried_again_after_a_while() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "1"));
    api.fail_bindings(1);
    api.put("pods", pod("web", "1"));
    let cluster = start(api);
    cluster.api.until(|api| condition(api, "web")["reason"] == "SchedulerError").await;
    assert!(cluster.api.bindings().is_empty());
    cluster.clock.advance(Duration::from_secs(1));
    cluster.api.until(bound("web", "node-1")).await;
}

#[tokio::test]
async fn others_pods_and_gated_pods_are_left_alone() {
    let api = FakeApi::new();
    api.put("nodes", node("node-1", "4"));
    let mut theirs = pod("theirs", "1");
    theirs["spec"]["schedulerName"] = json!("another");
    api.put("pods", theirs);
    let mut gated = pod("gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    api.put("pods", gated);
    api.put("pods", pod("last", "1"));
    let cluster = start(api);
    cluster.api.until(bound("last", "node-1")).await;
    assert_eq!(cluster.api.bindings().len(), 1);
    cluster.api.put("pods", pod("gated", "1"));
    cluster.api.until(bound("gated", "node-1")).await;
    assert_eq!(cluster.api.bindings().len(), 2);
}

#[tokio::test]
async fn many_pods_at_once_are_each_bound_once_and_nothing_is_overcommitted() {
    let api = FakeApi::new();
    for n in 0..10 {
        api.put("nodes", node(&format!("node-{n}"), "4"));
    }
    let cluster = start(api);
    for n in 0..405 {
        cluster.api.put("pods", pod(&format!("web-{n}"), "100m"));
    }
    // 400 fit; the last five say so.
    let waits = |api: &FakeApi| {
        let waiting = (0..405).filter(|n| condition(api, &format!("web-{n}"))["reason"] == "Unschedulable");
        waiting.count() == 5 && api.bindings().len() == 400
    };
    cluster.api.until(waits).await;
    let mut per_node: BTreeMap<String, usize> = BTreeMap::new();
    let mut pods: Vec<String> = Vec::new();
    for (pod, node) in cluster.api.bindings() {
        *per_node.entry(node).or_default() += 1;
        pods.push(pod);
    }
    pods.sort();
    pods.dedup();
    assert_eq!(pods.len(), 400, "no pod is bound twice");
    assert!(per_node.values().all(|count| *count == 40), "{per_node:?}");
}
