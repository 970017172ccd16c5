//! What to do next for one pod: `(spec, observed, now) -> Decision`. Pure.
//!
//! Entry point: [`pod_actions`]. A step that is under way is in `observed`, so it is never asked for twice;
//! a step that must wait says until when. Order follows upstream's kubelet: set-up, init containers in order
//! (restartable ones stay), then all containers; at the end containers, then restartable init containers in
//! reverse, then everything the node holds for the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::observed::{Attempt, Condemned, ObservedContainer, ObservedPod, PodFailure, ProbeKind, Setback};

/// First wait after a crash.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
/// Longest wait after crashes.
pub const BACK_OFF_LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long starts its back-off anew.
pub const BACK_OFF_FORGET: Duration = Duration::from_secs(600);
/// `ErrImagePull` turns into `ImagePullBackOff` after this.
const SHOW_PULL_ERROR: Duration = Duration::from_secs(3);
/// `RunContainerError` turns into `CrashLoopBackOff` after this.
const SHOW_START_ERROR: Duration = Duration::from_secs(3);
/// `terminationGracePeriodSeconds` when nothing says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make volumes, namespaces and network.
    SetUp,
    /// Start a container.
    StartContainer {
        /// Which.
        name: String,
        /// The back-off that led here, kept for the next one to double.
        back_off: Duration,
    },
    /// preStop hook, stop signal, grace, KILL.
    StopContainer {
        /// Which.
        name: String,
        /// Its running attempt.
        id: String,
        /// preStop and stop signal together get this long.
        grace: Duration,
        /// Text of the `Killing` event.
        message: String,
        /// Start it again afterwards whatever the restart policy says.
        restart: bool,
    },
    /// The pod fails as a whole.
    Fail(PodFailure),
    /// Remove everything the node holds for the pod, except logs.
    TearDown,
    /// Remove the API object and the logs.
    Delete,
}

/// Why a container is not running, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: Option<String>,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to do now.
    pub actions: Vec<Action>,
    /// Containers that wait, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// Look again at this time even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

impl Decision {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// The container is an init container that keeps running (KEP-753).
pub fn is_restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The pod's restart policy, defaulted.
pub fn restart_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

/// Decides.
pub fn pod_actions(pod: &Pod, observed: &ObservedPod, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &pod.spec else { return decision };
    if is_ending(pod, spec, observed) {
        end(pod, spec, observed, &mut decision);
        return decision;
    }
    if let Some(failure) = deadline(spec, observed, now, &mut decision) {
        decision.actions.push(Action::Fail(failure));
        return decision;
    }
    if !observed.set_up {
        set_up(observed, now, &mut decision);
        return decision;
    }
    let mut round = Round { pod, spec, observed, now, decision };
    if round.init_containers() {
        for container in &spec.containers {
            round.container(container, restart_policy(spec));
        }
    }
    round.decision
}

/// The pod is on its way out, or has run to its end.
fn is_ending(pod: &Pod, spec: &PodSpec, observed: &ObservedPod) -> bool {
    let over = |phase: &str| matches!(phase, "Succeeded" | "Failed");
    pod.metadata.deletion_timestamp.is_some()
        || observed.removed
        || observed.failure.is_some()
        || observed.torn_down
        || observed.tearing_down
        || pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(over)
        || has_finished(spec, observed)
}

/// Every container ended and none will start again.
pub fn has_finished(spec: &PodSpec, observed: &ObservedPod) -> bool {
    let policy = restart_policy(spec);
    let init_failed = policy == "Never"
        && spec.init_containers.iter().flatten().filter(|init| !is_restartable_init(init)).any(|init| {
            let exit = observed.container(&init.name).and_then(ObservedContainer::exit);
            exit.is_some_and(|exit| exit.code != 0)
        });
    init_failed
        || spec.containers.iter().all(|container| {
            observed.container(&container.name).is_some_and(|seen| {
                !seen.restart_wanted
                    && seen.stopping.is_none()
                    && seen.exit().is_some_and(|exit| !should_restart(policy, exit.code))
            })
        })
}

fn should_restart(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// `activeDeadlineSeconds`.
fn deadline(
    spec: &PodSpec,
    observed: &ObservedPod,
    now: Timestamp,
    decision: &mut Decision,
) -> Option<PodFailure> {
    let seconds = u64::try_from(spec.active_deadline_seconds?).ok()?;
    let due = observed.start_time? + Duration::from_secs(seconds);
    if now < due {
        decision.wake(due);
        return None;
    }
    Some(PodFailure {
        reason: "DeadlineExceeded",
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
    })
}

fn set_up(observed: &ObservedPod, now: Timestamp, decision: &mut Decision) {
    if observed.setting_up {
        return;
    }
    match &observed.setback {
        Some(setback) if now < setback.retry_at => decision.wake(setback.retry_at),
        _ => decision.actions.push(Action::SetUp),
    }
}

/// One round over the containers of a pod that runs.
struct Round<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    observed: &'a ObservedPod,
    now: Timestamp,
    decision: Decision,
}

impl Round<'_> {
    /// Brings init containers forward; `true` when the others may run.
    fn init_containers(&mut self) -> bool {
        let initialized = self.spec.containers.iter().any(|container| {
            self.observed
                .container(&container.name)
                .is_some_and(|seen| seen.current.is_some() || seen.starting)
        });
        for init in self.spec.init_containers.iter().flatten() {
            let seen = self.observed.container(&init.name);
            if is_restartable_init(init) {
                self.container(init, "Always");
                if !initialized && !seen.is_some_and(|seen| seen.started && seen.exit().is_none()) {
                    return false;
                }
            } else if !initialized && seen.and_then(ObservedContainer::exit).is_none_or(|exit| exit.code != 0)
            {
                let policy = if restart_policy(self.spec) == "Never" { "Never" } else { "OnFailure" };
                self.container(init, policy);
                return false;
            }
        }
        true
    }

    /// Starts, restarts or stops one container as `policy` says.
    fn container(&mut self, container: &Container, policy: &str) {
        let fresh = ObservedContainer::default();
        let seen = self.observed.container(&container.name).unwrap_or(&fresh);
        if seen.starting || seen.stopping.is_some() {
            return;
        }
        match &seen.current {
            None => self.start(container, seen, Duration::ZERO),
            Some(attempt) if attempt.is_live() => self.check_running(container, seen, attempt, policy),
            Some(_) if seen.restart_wanted => self.start(container, seen, Duration::ZERO),
            Some(attempt) => {
                if attempt.exit.as_ref().is_some_and(|exit| should_restart(policy, exit.code)) {
                    self.restart(container, seen, attempt);
                }
            }
        }
    }

    fn check_running(
        &mut self,
        container: &Container,
        seen: &ObservedContainer,
        attempt: &Attempt,
        policy: &str,
    ) {
        let name = &container.name;
        let grace = grace_of(self.pod, self.spec);
        let wanted = container.image.as_deref().unwrap_or_default();
        let restarts = policy != "Never";
        let suffix = if restarts { ", will be restarted" } else { "" };
        let (message, grace, restart) = if !attempt.image.is_empty() && attempt.image != wanted {
            (format!("Container {name} definition changed, will be restarted"), grace, true)
        } else {
            match seen.condemned {
                None => return,
                Some(Condemned::PostStartHook) => ("FailedPostStartHook".to_owned(), grace, false),
                Some(Condemned::Probe(kind)) => {
                    let (word, probe) = match kind {
                        ProbeKind::Startup => ("startup", &container.startup_probe),
                        _ => ("liveness", &container.liveness_probe),
                    };
                    let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                    let grace = own.map_or(grace, seconds);
                    (format!("Container {name} failed {word} probe{suffix}"), grace, false)
                }
            }
        };
        self.decision.actions.push(Action::StopContainer {
            name: name.clone(),
            id: attempt.id.clone(),
            grace,
            message,
            restart,
        });
    }

    /// Starts again once the back-off has passed.
    fn restart(&mut self, container: &Container, seen: &ObservedContainer, attempt: &Attempt) {
        let (delay, until) = back_off(attempt);
        if self.now >= until {
            self.start(container, seen, next_back_off(attempt));
            return;
        }
        self.decision.wake(until);
        let flip = attempt.created_at + SHOW_START_ERROR;
        if attempt.exit_reason.is_some() && self.now < flip {
            self.decision.wake(flip);
            let waiting = Waiting { reason: "RunContainerError", message: attempt.message.clone() };
            self.decision.waiting.insert(container.name.clone(), waiting);
            return;
        }
        let meta = &self.pod.metadata;
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            go_duration(delay),
            container.name,
            meta.name.as_deref().unwrap_or_default(),
            meta.namespace.as_deref().unwrap_or_default(),
            meta.uid.as_deref().unwrap_or_default(),
        );
        let waiting = Waiting { reason: "CrashLoopBackOff", message: Some(message) };
        self.decision.waiting.insert(container.name.clone(), waiting);
    }

    fn start(&mut self, container: &Container, seen: &ObservedContainer, back_off: Duration) {
        if let Some(setback) = seen.setback.as_ref().filter(|setback| self.now < setback.retry_at) {
            self.wait_out(container, setback);
            return;
        }
        self.decision.actions.push(Action::StartContainer { name: container.name.clone(), back_off });
    }

    fn wait_out(&mut self, container: &Container, setback: &Setback) {
        self.decision.wake(setback.retry_at);
        let image = container.image.as_deref().unwrap_or_default();
        let flip = setback.since + SHOW_PULL_ERROR;
        let waiting = if setback.reason == "ErrImagePull" && self.now >= flip {
            let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", setback.message);
            Waiting { reason: "ImagePullBackOff", message: Some(message) }
        } else {
            if setback.reason == "ErrImagePull" {
                self.decision.wake(flip);
            }
            Waiting { reason: setback.reason, message: Some(setback.message.clone()) }
        };
        self.decision.waiting.insert(container.name.clone(), waiting);
    }
}

/// The wait after an ended attempt, and when it is over. The first crash restarts at once.
fn back_off(attempt: &Attempt) -> (Duration, Timestamp) {
    let finished = attempt.exit.as_ref().map_or(attempt.created_at, |exit| exit.finished_at);
    if ran_long(attempt) {
        return (Duration::ZERO, finished);
    }
    (attempt.back_off, finished + attempt.back_off)
}

/// Back-off to record with the attempt that follows: 10 s, 20 s, … 5 min; anew after a long run.
fn next_back_off(attempt: &Attempt) -> Duration {
    if attempt.back_off.is_zero() || ran_long(attempt) {
        return BACK_OFF_FIRST;
    }
    (attempt.back_off * 2).min(BACK_OFF_LONGEST)
}

fn ran_long(attempt: &Attempt) -> bool {
    let Some(exit) = &attempt.exit else { return false };
    let ran = exit.finished_at.as_millisecond() - attempt.created_at.as_millisecond();
    u64::try_from(ran).is_ok_and(|ran| Duration::from_millis(ran) > BACK_OFF_FORGET)
}

/// Go's way of writing durations of whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    match (total / 3_600, total / 60 % 60, total % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn seconds(value: i64) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

/// How long containers of this pod may take to stop.
pub fn grace_of(pod: &Pod, spec: &PodSpec) -> Duration {
    let own = spec.termination_grace_period_seconds.map_or(DEFAULT_GRACE, seconds);
    pod.metadata.deletion_grace_period_seconds.map_or(own, seconds)
}

/// The way out: containers, restartable init containers in reverse, then the node's part, then the object.
fn end(pod: &Pod, spec: &PodSpec, observed: &ObservedPod, decision: &mut Decision) {
    let deleting = pod.metadata.deletion_timestamp.is_some() || observed.removed;
    if observed.torn_down {
        if deleting && !observed.deleting && (observed.reported || observed.removed) {
            decision.actions.push(Action::Delete);
        }
        return;
    }
    if observed.tearing_down || observed.setting_up || stop_containers(pod, spec, observed, decision) {
        return;
    }
    // A finished pod's last word must be in the API before the runtime's records go.
    if deleting || observed.reported {
        decision.actions.push(Action::TearDown);
    }
}

/// Asks for the stops that may happen now; `true` while something is alive.
fn stop_containers(pod: &Pod, spec: &PodSpec, observed: &ObservedPod, decision: &mut Decision) -> bool {
    let grace = grace_of(pod, spec);
    let sidecars: Vec<&String> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| is_restartable_init(init))
        .map(|init| &init.name)
        .collect();
    let mut alive = false;
    for (name, seen) in observed.containers.iter().filter(|(name, _)| !sidecars.contains(name)) {
        alive |= stop_container(name, seen, grace, decision);
    }
    if alive {
        return true;
    }
    for name in sidecars.into_iter().rev() {
        let Some(seen) = observed.container(name) else { continue };
        if stop_container(name, seen, grace, decision) {
            return true;
        }
    }
    false
}

fn stop_container(name: &str, seen: &ObservedContainer, grace: Duration, decision: &mut Decision) -> bool {
    if seen.starting {
        return true;
    }
    let Some(attempt) = seen.current.as_ref().filter(|attempt| attempt.is_live()) else {
        return seen.stopping.is_some();
    };
    // A shorter grace than the one under way (a forced deletion) overrides it.
    if seen.stopping.is_none_or(|under_way| grace < under_way) {
        decision.actions.push(Action::StopContainer {
            name: name.to_owned(),
            id: attempt.id.clone(),
            grace,
            message: format!("Stopping container {name}"),
            restart: false,
        });
    }
    true
}

#[cfg(test)]
mod tests;
