//! What pods and the node use: sampled from cgroups while there are pods, served to `metrics.k8s.io`.
//!
//! Entry points: [`Sampler::run`], [`Sampler::report`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::clock::{SharedClock, rfc3339_seconds};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::container_runtime::{CgroupUsage, ContainerRuntime};
use crate::lookup::PodTable;
use crate::machine;

/// Time between samples.
const PERIOD: Duration = Duration::from_secs(10);
/// Time to the second sample of a new container, so that its first rate comes soon.
const FIRST_PERIOD: Duration = Duration::from_secs(2);

/// The body of `GET /metrics/usage`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The whole machine.
    pub node: NodeUsage,
    /// Pods with at least one measured container.
    pub pods: Vec<PodUsage>,
}

/// Use of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUsage {
    /// End of the window, RFC 3339.
    pub timestamp: String,
    /// Length of the window.
    pub window_seconds: f64,
    /// CPU time per second of the window, nanoseconds.
    pub cpu_nano_cores: u64,
    /// Bytes not reclaimable.
    pub memory_working_set_bytes: u64,
}

/// Use of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodUsage {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Measured containers.
    pub containers: Vec<ContainerUsage>,
}

/// Use of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// CPU time per second of the window, nanoseconds.
    pub cpu_nano_cores: u64,
    /// Bytes not reclaimable.
    pub memory_working_set_bytes: u64,
}

/// Two successive readings.
#[derive(Debug, Clone, Copy)]
struct Window {
    at: Duration,
    cpu_ns: u64,
    memory_bytes: u64,
    /// Rate over the last interval and its length, once there are two readings.
    rate: Option<(u64, Duration)>,
}

impl Window {
    fn next(previous: Option<&Self>, at: Duration, cpu_ns: u64, memory_bytes: u64) -> Self {
        let rate = previous.and_then(|before| {
            let elapsed = at.checked_sub(before.at).filter(|elapsed| !elapsed.is_zero())?;
            let used = cpu_ns.saturating_sub(before.cpu_ns);
            let per_second = u128::from(used) * 1_000_000_000 / elapsed.as_nanos();
            Some((u64::try_from(per_second).unwrap_or(u64::MAX), elapsed))
        });
        Self { at, cpu_ns, memory_bytes, rate }
    }
}

#[derive(Default)]
struct State {
    /// By pod uid and container id.
    containers: BTreeMap<(String, String), Window>,
    node: Option<Window>,
    taken: Option<Timestamp>,
}

/// Takes samples and answers with the newest.
pub struct Sampler {
    runtime: Arc<dyn ContainerRuntime>,
    table: Arc<PodTable>,
    clock: SharedClock,
    state: Mutex<State>,
}

impl Sampler {
    /// Nothing measured yet.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, table: Arc<PodTable>, clock: SharedClock) -> Self {
        Self { runtime, table, clock, state: Mutex::default() }
    }

    /// Samples until dropped; rests while nothing runs.
    pub async fn run(&self) {
        let mut changes = self.table.changes();
        loop {
            let fresh = self.sample().await;
            if self.state.lock().containers.is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
            } else {
                self.clock.sleep(if fresh { FIRST_PERIOD } else { PERIOD }).await;
            }
        }
    }

    /// Reads every running container once; `true` when one was read for the first time.
    pub async fn sample(&self) -> bool {
        let mut readings: Vec<((String, String), CgroupUsage)> = Vec::new();
        for pod in self.table.list() {
            for container in pod.containers.iter().filter(|container| container.running) {
                if let Ok(usage) = self.runtime.usage(&pod.uid, Some(&container.id)).await {
                    readings.push(((pod.uid.clone(), container.id.clone()), usage));
                }
            }
        }
        let used = machine::memory("MemTotal").saturating_sub(machine::memory("MemAvailable"));
        let at = self.clock.monotonic();
        let mut state = self.state.lock();
        state.node = Some(Window::next(state.node.as_ref(), at, machine::cpu_ns(), used));
        state.taken = Some(self.clock.now());
        let mut fresh = false;
        let mut containers = BTreeMap::new();
        for (key, usage) in readings {
            let before = state.containers.get(&key);
            fresh |= before.is_none();
            let window = Window::next(before, at, usage.cpu_ns, usage.memory_working_set_bytes);
            containers.insert(key, window);
        }
        state.containers = containers;
        fresh
    }

    /// What `GET /metrics/usage` answers: rates over the last window. While nothing runs no samples are taken, so
    /// the window then ends now and began with the last sample.
    pub async fn report(&self) -> Option<Summary> {
        let age = self.state.lock().node.map(|node| self.clock.monotonic().saturating_sub(node.at));
        if age.is_none_or(|age| age > PERIOD * 2) {
            self.sample().await;
        }
        // A first reading alone is no rate.
        let rated = self.state.lock().node.is_some_and(|node| node.rate.is_some());
        if !rated {
            self.sample().await;
        }
        self.summary()
    }

    /// The newest rates; `None` before there are two samples.
    pub fn summary(&self) -> Option<Summary> {
        let state = self.state.lock();
        let node = state.node?;
        let (cpu_nano_cores, window) = node.rate?;
        let mut pods = Vec::new();
        for pod in self.table.list() {
            let usage = |container: &crate::lookup::ContainerEntry| {
                let window = state.containers.get(&(pod.uid.clone(), container.id.clone()))?;
                let (cpu_nano_cores, _) = window.rate?;
                let name = container.name.clone();
                Some(ContainerUsage { name, cpu_nano_cores, memory_working_set_bytes: window.memory_bytes })
            };
            let containers: Vec<ContainerUsage> = pod.containers.iter().filter_map(usage).collect();
            if !containers.is_empty() {
                let (namespace, name, uid) = (pod.namespace.clone(), pod.name.clone(), pod.uid.clone());
                pods.push(PodUsage { namespace, name, uid, containers });
            }
        }
        Some(Summary {
            node: NodeUsage {
                timestamp: rfc3339_seconds(state.taken?),
                window_seconds: window.as_secs_f64(),
                cpu_nano_cores,
                memory_working_set_bytes: node.memory_bytes,
            },
            pods,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let first = Window::next(None, Duration::from_secs(1), 500, 7);
        assert!(first.rate.is_none());
        let second = Window::next(Some(&first), Duration::from_secs(3), 500 + 1_000_000_000, 8);
        assert_eq!(second.rate, Some((500_000_000, Duration::from_secs(2))));
        let reset = Window::next(Some(&second), Duration::from_secs(4), 0, 8);
        assert_eq!(reset.rate.map(|(rate, _)| rate), Some(0));
    }
}
