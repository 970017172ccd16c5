//! What the API should say about a pod: `(spec, observed, decision) -> PodStatus`. Pure.
//!
//! Entry points: [`pod_status`], and [`status_patch`] for the smallest write that gets there. Phase, condition
//! and reason rules are upstream kubelet's.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::observed::{Attempt, ObservedContainer, ObservedPod};
use crate::pod_actions::{Decision, Waiting, is_restartable_init, restart_policy};
use crate::resources::qos_class;

/// Scheme of `containerID`.
pub const CONTAINER_ID_SCHEME: &str = "gantry://";

/// `containerID` of an attempt: unique in the cluster, the same after a restart of the agent.
pub fn container_id(pod_uid: &str, id: &str) -> String {
    format!("{CONTAINER_ID_SCHEME}{}", hex::encode(Sha256::digest(format!("{pod_uid}/{id}"))))
}

/// The status of a pod the agent works on. `previous` gives transition times and other writers' conditions.
pub fn pod_status(
    pod: &Pod,
    observed: &ObservedPod,
    decision: &Decision,
    previous: &PodStatus,
    now: Timestamp,
) -> PodStatus {
    let Some(spec) = &pod.spec else { return PodStatus::default() };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let view = View { uid, spec, observed, decision };
    let init = view.statuses(spec.init_containers.as_deref().unwrap_or_default(), true);
    let main = view.statuses(&spec.containers, false);
    let phase = match previous.phase.as_deref() {
        Some(over @ ("Succeeded" | "Failed")) => over,
        _ if observed.failure.is_some() => "Failed",
        _ => phase(spec, &init, &main, observed.torn_down || is_last_word(observed, spec)),
    };
    let facts = Facts { spec, init: &init, main: &main, phase };
    let mut conditions = facts.conditions(observed, previous);
    finish_conditions(&mut conditions, pod.metadata.generation, previous, now);
    let texts = |ips: &[std::net::IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (pod_ips, host_ips) = (texts(&observed.pod_ips), texts(&observed.host_ips));
    let failure = observed.failure.as_ref();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        container_statuses: Some(main),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: host_ips.first().cloned(),
        host_ips: (!host_ips.is_empty()).then(|| host_ips.into_iter().map(|ip| HostIP { ip }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(qos_class(spec).as_str().to_owned()),
        start_time: observed.start_time.map(Time),
        reason: failure.map(|failure| failure.reason.to_owned()).or_else(|| previous.reason.clone()),
        message: failure.map(|failure| failure.message.clone()).or_else(|| previous.message.clone()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// All containers that ever ran have ended and the pod will not start any again.
fn is_last_word(observed: &ObservedPod, spec: &PodSpec) -> bool {
    crate::pod_actions::has_finished(spec, observed)
}

struct View<'a> {
    uid: &'a str,
    spec: &'a PodSpec,
    observed: &'a ObservedPod,
    decision: &'a Decision,
}

impl View<'_> {
    fn statuses(&self, containers: &[Container], init: bool) -> Vec<ContainerStatus> {
        containers.iter().map(|container| self.status(container, init)).collect()
    }

    fn status(&self, container: &Container, init: bool) -> ContainerStatus {
        let fresh = ObservedContainer::default();
        let seen = self.observed.container(&container.name).unwrap_or(&fresh);
        let waiting = self.decision.waiting.get(&container.name);
        let (state, last_state) = self.states(seen, waiting);
        let running = state.running.is_some();
        let succeeded = state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
        let sidecar = init && is_restartable_init(container);
        let started = running && seen.started;
        let current = seen.current.as_ref();
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: current.map(|attempt| attempt.image_id.clone()).unwrap_or_default(),
            container_id: current.map(|attempt| container_id(self.uid, &attempt.id)),
            restart_count: current.map_or(0, |attempt| i32::try_from(attempt.number).unwrap_or(i32::MAX)),
            ready: if init && !sidecar { succeeded } else { started && seen.ready },
            started: Some(started),
            state: Some(state),
            last_state: Some(last_state),
            resources: running.then(|| container.resources.clone()).flatten(),
            allocated_resources: container.resources.as_ref().and_then(|list| list.requests.clone()),
            volume_mounts: volume_mounts(container),
            ..ContainerStatus::default()
        }
    }

    /// `state` and `lastState`.
    fn states(
        &self,
        seen: &ObservedContainer,
        waiting: Option<&Waiting>,
    ) -> (ContainerState, ContainerState) {
        let terminated = |attempt: Option<&Attempt>| ContainerState {
            terminated: attempt.and_then(|attempt| terminated(self.uid, attempt)),
            ..ContainerState::default()
        };
        let wait = |waiting: &Waiting| ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(waiting.reason.to_owned()),
                message: waiting.message.clone(),
            }),
            ..ContainerState::default()
        };
        match &seen.current {
            None => {
                let state = waiting.map_or_else(|| wait(&self.default_waiting()), wait);
                (state, terminated(seen.previous.as_ref()))
            }
            Some(attempt) if attempt.is_live() => {
                let running = ContainerStateRunning { started_at: attempt.started_at.map(Time) };
                let state = ContainerState { running: Some(running), ..ContainerState::default() };
                (state, terminated(seen.previous.as_ref()))
            }
            Some(attempt) => match waiting {
                Some(waiting) => (wait(waiting), terminated(Some(attempt))),
                None => (terminated(Some(attempt)), terminated(seen.previous.as_ref())),
            },
        }
    }

    fn default_waiting(&self) -> Waiting {
        let has_init = self.spec.init_containers.as_ref().is_some_and(|init| !init.is_empty());
        let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let message = None;
        Waiting { reason, message }
    }
}

fn terminated(uid: &str, attempt: &Attempt) -> Option<ContainerStateTerminated> {
    let exit = attempt.exit.as_ref()?;
    let reason = match (attempt.exit_reason, exit.oom_killed, exit.code) {
        (Some(reason), _, _) => reason,
        (None, true, _) => "OOMKilled",
        (None, false, 0) => "Completed",
        (None, false, _) => "Error",
    };
    Some(ContainerStateTerminated {
        container_id: Some(container_id(uid, &attempt.id)),
        exit_code: exit.code,
        finished_at: Some(Time(exit.finished_at)),
        started_at: Some(Time(attempt.started_at.unwrap_or(attempt.created_at))),
        message: attempt.message.clone().filter(|message| !message.is_empty()),
        reason: Some(reason.to_owned()),
        signal: None,
    })
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.filter(|yes| *yes).map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    };
    Some(mounts.iter().map(status).collect())
}

fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

fn ended_before(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Upstream's `getPhase`. `last` says that nothing of the pod will run again.
fn phase(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus], last: bool) -> &'static str {
    let policy = restart_policy(spec);
    let mut pending_init = false;
    let mut failed_init = false;
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        if is_restartable_init(container) {
            pending_init |= !status.started.unwrap_or(false) && ended(status).is_none() && !last;
        } else {
            match (ended(status), is_running(status), ended_before(status)) {
                (Some(exit), _, _) => failed_init |= exit.exit_code != 0,
                (None, true, _) => pending_init = true,
                (None, false, Some(exit)) => failed_init |= exit.exit_code != 0,
                (None, false, None) => pending_init = true,
            }
        }
    }
    let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for status in main {
        if is_running(status) {
            running += 1;
        } else if let Some(exit) = ended(status) {
            stopped += 1;
            succeeded += i32::from(exit.exit_code == 0);
        } else if ended_before(status).is_some() {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    if failed_init && policy == "Never" {
        return "Failed";
    }
    let any_started = running + stopped > 0;
    if last && running == 0 {
        return if stopped > 0 && stopped == succeeded && waiting == 0 { "Succeeded" } else { "Failed" };
    }
    match () {
        () if (pending_init || failed_init) && !any_started => "Pending",
        () if waiting > 0 => {
            if stopped > 0 {
                "Running"
            } else {
                "Pending"
            }
        }
        () if running > 0 => "Running",
        () if stopped > 0 && policy == "Always" => "Running",
        () if stopped > 0 && stopped == succeeded => "Succeeded",
        () if stopped > 0 && policy == "Never" => "Failed",
        () if stopped > 0 => "Running",
        () => "Pending",
    }
}

struct Facts<'a> {
    spec: &'a PodSpec,
    init: &'a [ContainerStatus],
    main: &'a [ContainerStatus],
    phase: &'a str,
}

/// Status, reason, message.
type Verdict = (bool, Option<&'static str>, Option<String>);

impl Facts<'_> {
    fn conditions(&self, observed: &ObservedPod, previous: &PodStatus) -> Vec<PodCondition> {
        let ready = self.containers_ready();
        vec![
            condition("PodReadyToStartContainers", (observed.set_up && !observed.torn_down, None, None)),
            condition("Initialized", self.initialized()),
            condition("Ready", self.pod_ready(&ready, previous)),
            condition("ContainersReady", ready),
            condition("PodScheduled", (true, None, None)),
        ]
    }

    fn initialized(&self) -> Verdict {
        if self.phase == "Succeeded" {
            return (true, Some("PodCompleted"), None);
        }
        if self
            .main
            .iter()
            .any(|status| is_running(status) || ended(status).or(ended_before(status)).is_some())
        {
            return (true, None, None);
        }
        let incomplete: Vec<&str> = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .zip(self.init)
            .filter(|(container, status)| {
                if is_restartable_init(container) { !status.started.unwrap_or(false) } else { !status.ready }
            })
            .map(|(container, _)| container.name.as_str())
            .collect();
        if incomplete.is_empty() {
            return (true, None, None);
        }
        let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
        (false, Some("ContainersNotInitialized"), Some(message))
    }

    fn containers_ready(&self) -> Verdict {
        match self.phase {
            "Succeeded" => return (false, Some("PodCompleted"), None),
            "Failed" => return (false, Some("PodFailed"), None),
            _ => {}
        }
        let sidecars = self.spec.init_containers.iter().flatten().zip(self.init);
        let unready: Vec<&str> = sidecars
            .filter(|(container, _)| is_restartable_init(container))
            .map(|(_, status)| status)
            .chain(self.main)
            .filter(|status| !status.ready)
            .map(|status| status.name.as_str())
            .collect();
        if unready.is_empty() {
            return (true, None, None);
        }
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        (false, Some("ContainersNotReady"), Some(message))
    }

    fn pod_ready(&self, containers: &Verdict, previous: &PodStatus) -> Verdict {
        if !containers.0 {
            return containers.clone();
        }
        let mut messages = Vec::new();
        for gate in self.spec.readiness_gates.iter().flatten() {
            let name = &gate.condition_type;
            match previous.conditions.iter().flatten().find(|condition| condition.type_ == *name) {
                None => messages.push(format!(
                    "corresponding condition of pod readiness gate \"{name}\" does not exist."
                )),
                Some(found) if found.status != "True" => messages.push(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    found.status
                )),
                Some(_) => {}
            }
        }
        if messages.is_empty() {
            return (true, None, None);
        }
        (false, Some("ReadinessGatesNotReady"), Some(messages.join(", ")))
    }
}

fn condition(name: &str, (status, reason, message): Verdict) -> PodCondition {
    PodCondition {
        type_: name.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        ..PodCondition::default()
    }
}

/// Transition times move only when the status does; other writers' conditions stay.
fn finish_conditions(
    conditions: &mut Vec<PodCondition>,
    generation: Option<i64>,
    previous: &PodStatus,
    now: Timestamp,
) {
    let before = previous.conditions.as_deref().unwrap_or_default();
    for condition in conditions.iter_mut() {
        condition.observed_generation = generation;
        let same = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_transition_time =
            same.and_then(|old| old.last_transition_time.clone()).or(Some(Time(now)));
    }
    let foreign = before.iter().filter(|old| conditions.iter().all(|ours| ours.type_ != old.type_));
    let foreign: Vec<PodCondition> = foreign.cloned().collect();
    conditions.extend(foreign);
}

/// A strategic merge patch of the status subresource from `previous` to `desired`; `None` when nothing changed.
/// The uid makes the write fail if the name belongs to another pod by now.
pub fn status_patch(uid: &str, previous: &PodStatus, desired: &PodStatus) -> Option<Value> {
    let (old, new) = (to_map(previous), to_map(desired));
    let mut changed = Map::new();
    for (key, value) in &new {
        match (key.as_str(), old.get(key)) {
            (_, Some(before)) if before == value => {}
            ("conditions", before) => {
                let before = before.and_then(Value::as_array).cloned().unwrap_or_default();
                let list: Vec<Value> = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|condition| !before.contains(condition))
                    .map(|condition| with_removals(condition, &before))
                    .collect();
                if !list.is_empty() {
                    changed.insert(key.clone(), Value::Array(list));
                }
            }
            _ => {
                changed.insert(key.clone(), value.clone());
            }
        }
    }
    // Only what the agent owns is ever taken back.
    for key in ["reason", "message"] {
        if old.contains_key(key) && !new.contains_key(key) {
            changed.insert(key.to_owned(), Value::Null);
        }
    }
    (!changed.is_empty()).then(|| json!({ "metadata": { "uid": uid }, "status": changed }))
}

/// A condition as a strategic merge element: fields its predecessor had and it has not are taken away.
fn with_removals(condition: &Value, before: &[Value]) -> Value {
    let mut merged = condition.clone();
    let old = before.iter().find(|old| old.get("type") == condition.get("type")).and_then(Value::as_object);
    if let Value::Object(fields) = &mut merged {
        for key in old.into_iter().flat_map(Map::keys) {
            fields.entry(key.clone()).or_insert(Value::Null);
        }
    }
    merged
}

fn to_map(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
