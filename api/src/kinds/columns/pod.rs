//! Pods. One word sums up what its containers go through; the order of the rules is what people know.

use jiff::Timestamp;
use serde_json::Value;

use super::workload::is_true;
use super::{Column, NONE, age, int, items, name, or, str, text};
use crate::{object, time};

/// What the columns of a pod read.
pub(in crate::kinds) const POD_FIELDS: &[&str] = &[
    "kind",
    "metadata.name",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "spec.containers.name",
    "spec.initContainers.name",
    "spec.initContainers.restartPolicy",
    "spec.nodeName",
    "spec.readinessGates",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.containerStatuses",
    "status.initContainerStatuses",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.reason",
];

pub(in crate::kinds) fn pod() -> Vec<Column> {
    vec![
        name(),
        text("Ready", "Ready containers of all.", |pod| {
            let summary = Summary::of(pod);
            format!("{}/{}", summary.ready, summary.total)
        }),
        text("Status", "What the containers go through.", |pod| Summary::of(pod).reason),
        Column::new("Restarts", "string", "How often containers were restarted.", |pod, now| {
            Summary::of(pod).restarts(now).into()
        }),
        age(),
        text("IP", "Address of the pod.", |pod| {
            let first = items(pod, "/status/podIPs").first();
            or(first.map_or(str(pod, "/status/podIP"), |ip| str(ip, "/ip")), NONE)
        })
        .wide(),
        text("Node", "Where it runs.", |pod| or(str(pod, "/spec/nodeName"), NONE)).wide(),
        text("Nominated Node", "Where room is being made for it.", |pod| {
            or(str(pod, "/status/nominatedNodeName"), NONE)
        })
        .wide(),
        text("Readiness Gates", "Extra conditions that hold.", gates).wide(),
    ]
}

fn gates(pod: &Value) -> String {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(pod, str(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}

/// What the containers of a pod amount to.
#[derive(Default)]
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let phase = str(pod, "/status/phase");
        let mut summary = Self {
            total: items(pod, "/spec/containers").len(),
            reason: or(str(pod, "/status/reason"), phase),
            ..Self::default()
        };
        let gated = |c: &&Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
        if items(pod, "/status/conditions").iter().any(|c| gated(&c)) {
            summary.reason = "SchedulingGated".to_owned();
        }
        let sidecars = items(pod, "/spec/initContainers").iter().filter(|c| c["restartPolicy"] == "Always");
        summary.total += sidecars.count();
        let initializing = summary.init_containers(pod);
        if !initializing || is_true(pod, "Initialized") {
            summary.sidecar_restarts(pod);
            summary.containers(pod);
        }
        if object::is_deleting(pod) {
            if str(pod, "/status/reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !["Succeeded", "Failed"].contains(&phase) {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Follows the init containers up to the first that has not done its part; true if there is one.
    fn init_containers(&mut self, pod: &Value) -> bool {
        let total = items(pod, "/spec/initContainers").len();
        for (at, status) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
            self.count_restarts(status);
            let (ended, waiting) = (&status["state"]["terminated"], &status["state"]["waiting"]);
            let why = str(waiting, "/reason");
            if ended.is_object() && int(ended, "/exitCode") == 0 {
                continue;
            }
            if is_sidecar(pod, status) && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            self.reason = if ended.is_object() {
                format!("Init:{}", end_reason(ended))
            } else if !why.is_empty() && why != "PodInitializing" {
                format!("Init:{why}")
            } else {
                format!("Init:{at}/{total}")
            };
            return true;
        }
        false
    }

    /// Once pods run, restarts of init containers that have ended do not count any more.
    fn sidecar_restarts(&mut self, pod: &Value) {
        (self.restarts, self.last_restart) = (0, None);
        let statuses = items(pod, "/status/initContainerStatuses");
        for status in statuses.iter().filter(|status| is_sidecar(pod, status)) {
            self.count_restarts(status);
        }
    }

    fn containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in items(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(status);
            let state = &status["state"];
            let (waiting, ended) = (str(state, "/waiting/reason"), &state["terminated"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if ended.is_object() {
                self.reason = end_reason(ended);
            } else if status["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += int(status, "/restartCount");
        let ended = time::read(&status["lastState"]["terminated"]["finishedAt"]);
        self.last_restart = self.last_restart.max(ended);
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(at) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, time::age(Some(at), now)),
            _ => self.restarts.to_string(),
        }
    }
}

fn is_sidecar(pod: &Value, status: &Value) -> bool {
    let same = |c: &&Value| c["name"] == status["name"];
    let container = items(pod, "/spec/initContainers").iter().find(same);
    container.is_some_and(|c| c["restartPolicy"] == "Always")
}

fn end_reason(ended: &Value) -> String {
    match (str(ended, "/reason"), int(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", int(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
