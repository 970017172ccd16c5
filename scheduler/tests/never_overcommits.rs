//! Property: whatever comes and goes, no node ever holds more than it offers, no port is taken twice,
//! and a pod that is told to wait fits nowhere.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use scheduler::cycle::{self, Outcome};
use scheduler::pod::Pod;
use scheduler::snapshot::Snapshot;
use serde_json::json;

#[derive(Debug, Clone)]
enum Step {
    /// CPU, memory in MiB, host port (0 is none), zone wanted (3 is any), away from its own kind.
    Schedule(i64, i64, u16, u8, bool),
    Remove(usize),
    /// Which node, CPU, memory in MiB, pods.
    SetNode(u8, i64, i64, i64),
    RemoveNode(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0_i64..2_000, 0_i64..2_000, 0_u16..4, 0_u8..4, any::<bool>())
            .prop_map(|(c, m, p, z, a)| Step::Schedule(c, m, p, z, a)),
        3 => (0_usize..100).prop_map(Step::Remove),
        3 => (0_u8..6, 0_i64..8_000, 0_i64..8_000, 0_i64..8).prop_map(|(n, c, m, p)| Step::SetNode(n, c, m, p)),
        1 => (0_u8..6).prop_map(Step::RemoveNode),
    ];
    prop::collection::vec(step, 1..120)
}

fn pod(number: usize, cpu: i64, memory: i64, port: u16, zone: u8, apart: bool) -> Pod {
    let mut spec = json!({
        "schedulerName": "default-scheduler",
        "containers": [{"name": "c", "resources": {"requests":
            {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}}}],
    });
    if port > 0 {
        spec["containers"][0]["ports"] = json!([{"containerPort": 1, "hostPort": port}]);
    }
    if zone < 3 {
        spec["nodeSelector"] = json!({"zone": zone.to_string()});
    }
    if apart {
        spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "host", "labelSelector": {"matchLabels": {"apart": "yes"}}}]}});
    }
    let labels = if apart { json!({"apart": "yes"}) } else { json!({}) };
    let object = json!({"metadata": {"name": number.to_string(), "namespace": "n", "uid": number.to_string(),
        "labels": labels}, "spec": spec});
    Pod::read(&serde_json::from_value(object).expect("a pod"))
}

fn node(name: u8, cpu: i64, memory: i64, pods: i64) -> k8s_openapi::api::core::v1::Node {
    serde_json::from_value(json!({
        "metadata": {"name": format!("node-{name}"),
            "labels": {"zone": (name % 3).to_string(), "host": name.to_string()}},
        "status": {"allocatable":
            {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi"), "pods": pods.to_string()}},
    }))
    .expect("a node")
}

/// What the pods of a node take, counted anew.
fn check_node(snapshot: &Snapshot, slot: usize) {
    let (row, node) = (&snapshot.rows[slot], &snapshot.nodes[slot]);
    let sum = |of: fn(&Pod) -> i64| node.pods.iter().map(|pod| of(pod)).sum::<i64>();
    let (cpu, memory) = (sum(|p| p.needs.requests.milli_cpu), sum(|p| p.needs.requests.memory));
    assert_eq!((row.used.milli_cpu, row.used.memory), (cpu, memory), "the columns agree with the pods");
}

fn check_fits(snapshot: &Snapshot, slot: usize) {
    let (row, node) = (&snapshot.rows[slot], &snapshot.nodes[slot]);
    assert!(row.used.milli_cpu <= row.allocatable.milli_cpu || row.used.milli_cpu == 0);
    assert!(node.pods.len() as i64 <= row.allowed_pods);
    let mut ports: BTreeMap<i32, usize> = BTreeMap::new();
    node.pods.iter().flat_map(|p| &p.needs.ports).for_each(|p| *ports.entry(p.port).or_default() += 1);
    assert!(ports.values().all(|count| *count == 1), "a port is taken once");
    assert!(node.pods.iter().filter(|pod| !pod.needs.anti_affinity.is_empty()).count() <= 1);
}

fn play(steps: Vec<Step>) {
    let mut snapshot = Snapshot::default();
    let mut placed: Vec<Arc<Pod>> = Vec::new();
    let mut start = 0;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Schedule(cpu, memory, port, zone, apart) => {
                let pod = Arc::new(pod(number, cpu, memory, port, zone, apart));
                let decision = cycle::schedule(&pod, &snapshot, start, number as u64);
                start = decision.next_start;
                match decision.outcome {
                    Outcome::Placed(slot) => {
                        let name = snapshot.nodes[slot].name.to_string();
                        let needs = &pod.needs.requests;
                        snapshot.place(Arc::clone(&pod), &name, true);
                        let row = &snapshot.rows[slot];
                        assert!(needs.milli_cpu == 0 || row.used.milli_cpu <= row.allocatable.milli_cpu);
                        assert!(needs.memory == 0 || row.used.memory <= row.allocatable.memory);
                        assert!(snapshot.nodes[slot].pods.len() as i64 <= row.allowed_pods);
                        placed.push(pod);
                    }
                    Outcome::Unschedulable(diagnosis) => {
                        assert_eq!(diagnosis.verdicts.len(), snapshot.known_nodes());
                        for slot in snapshot.slots() {
                            assert!(cycle::judge(&pod, &snapshot, slot).is_some(), "it fits nowhere");
                        }
                    }
                }
            }
            Step::Remove(at) if !placed.is_empty() => {
                let pod = placed.swap_remove(at % placed.len());
                assert!(snapshot.remove_pod(&pod.uid).is_some());
            }
            Step::SetNode(name, cpu, memory, pods) => {
                // A node only grows here, or what was placed before would not fit and prove nothing.
                let name_text = format!("node-{name}");
                let row =
                    snapshot.slot(&name_text).map(|slot| snapshot.rows[slot].clone()).unwrap_or_default();
                let cpu = cpu.max(row.allocatable.milli_cpu);
                let memory = memory.max(row.allocatable.memory >> 20);
                snapshot.set_node(&node(name, cpu, memory, pods.max(row.allowed_pods)));
            }
            Step::RemoveNode(name) => {
                // Its pods go with it, as the garbage collector sees to.
                let name = format!("node-{name}");
                placed.retain(|pod| {
                    let here = snapshot.slot(&name).is_some_and(|slot| {
                        snapshot.nodes[slot].pods.iter().any(|other| other.uid == pod.uid)
                    });
                    if here {
                        snapshot.remove_pod(&pod.uid);
                    }
                    !here
                });
                snapshot.remove_node(&name);
            }
            Step::Remove(_) => {}
        }
        for slot in snapshot.slots() {
            check_node(&snapshot, slot);
            check_fits(&snapshot, slot);
        }
    }
    assert_eq!(snapshot.slots().map(|slot| snapshot.nodes[slot].pods.len()).sum::<usize>(), placed.len());
}

proptest! {
    #[test]
    fn no_node_is_overcommitted(steps in steps()) {
        play(steps);
    }
}
