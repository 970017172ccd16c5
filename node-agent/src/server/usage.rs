//! What the node and its containers use. Entry point: [`report`].
//!
//! Counters, not rates: who asks twice can divide.

use std::collections::BTreeMap;

use component_base::clock::SharedClock;
use serde_json::{Value, json};

use super::PodLookup;
use crate::container_runtime::ContainerRuntime;

/// The kernel's clock tick, fixed for user space.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// The node's and every running container's use, as JSON: `{timestamp, node: {cpuNanoseconds,
/// memoryWorkingSetBytes}, pods: [{namespace, name, uid, containers: [{name, cpuNanoseconds,
/// memoryWorkingSetBytes}]}]}`. A container that ends meanwhile is left out.
pub async fn report(runtime: &dyn ContainerRuntime, lookup: &dyn PodLookup, clock: &SharedClock) -> Value {
    let mut pods: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for container in lookup.running() {
        let usage = runtime.usage(&container.uid, Some(&container.container_id)).await;
        let pod = pods.entry((container.namespace, container.pod, container.uid)).or_default();
        if let Ok(usage) = usage {
            pod.push(json!({
                "name": container.container,
                "cpuNanoseconds": usage.cpu_ns,
                "memoryWorkingSetBytes": usage.memory_working_set_bytes,
            }));
        }
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            json!({"namespace": namespace, "name": name, "uid": uid, "containers": containers})
        })
        .collect();
    json!({
        "timestamp": component_base::clock::rfc3339_micros(clock.now()),
        "node": {
            "cpuNanoseconds": read("/proc/stat", busy_nanoseconds),
            "memoryWorkingSetBytes": read("/proc/meminfo", unavailable_bytes),
        },
        "pods": pods,
    })
}

fn read(path: &str, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    parse(&std::fs::read_to_string(path).ok()?)
}

/// CPU time of all kinds but idle and waiting, since boot.
fn busy_nanoseconds(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time.
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|index| ticks.get(index)).sum::<u64>();
    Some(busy * NANOSECONDS_PER_TICK)
}

/// Memory that cannot be had without swapping.
fn unavailable_bytes(meminfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(field("MemTotal:")?.saturating_sub(field("MemAvailable:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_kernels_tables() {
        let stat = "cpu  10 1 5 1000 50 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_nanoseconds(stat), Some(25 * NANOSECONDS_PER_TICK));
        let meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  600 kB\n";
        assert_eq!(unavailable_bytes(meminfo), Some(400 * 1024));
        assert_eq!(unavailable_bytes("MemTotal: 1 kB\n"), None);
    }
}
