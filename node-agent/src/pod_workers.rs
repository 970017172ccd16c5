//! One worker per pod: takes what happened, asks `pod_actions` what to do, does it, tells the API.
//!
//! Entry points: [`Worker::new`], [`Worker::run`]. Long steps run in tasks of their own and answer with a
//! [`PodEvent`], so a worker never waits for anything but its inbox and the next deadline. What is under way is
//! in `observed`; nothing is asked for twice. Dropping a worker leaves the pod running.

mod adopt;
mod containers;
mod operations;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::container_runtime::{ContainerExit, ContainerRecord, RuntimeError};
use crate::event_loop::Event;
use crate::node::Node;
use crate::observed::{Attempt, ObservedContainer, ObservedPod, ProbeKind, Setback};
use crate::pod_actions::{Decision, pod_actions};
use crate::probes::Report;
use crate::sources::references;
use crate::stages::{Sandbox, SetUpError, StartError};

/// First wait after a failed set-up; doubles.
const SET_UP_RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest wait after failed set-ups (upstream's volume manager: 2 min 2 s).
const SET_UP_RETRY_LONGEST: Duration = Duration::from_secs(122);

/// Everything that can happen to one pod.
#[derive(Debug)]
pub enum PodEvent {
    /// The API has another version of it.
    Updated(Arc<Pod>),
    /// The API has it no longer.
    Removed,
    /// A container ended.
    Exited {
        /// The runtime's id.
        container_id: String,
        /// How.
        exit: ContainerExit,
    },
    /// The pod's shim and all its containers are gone.
    ShimLost,
    /// Something it refers to changed.
    References,
    /// The node's images changed.
    Images,
    /// Set-up is over.
    SetUp(Result<Sandbox, SetUpError>),
    /// A start is over.
    Started {
        /// The container.
        name: String,
        /// The attempt.
        attempt: u32,
        /// The back-off that led to it.
        back_off: Duration,
        /// How it went.
        result: Result<Box<ContainerRecord>, StartError>,
    },
    /// The postStart hook is over.
    PostStart {
        /// The container.
        name: String,
        /// The attempt's id.
        id: String,
        /// How it went.
        result: Result<(), String>,
    },
    /// A stop is over.
    Stopped {
        /// The container.
        name: String,
        /// The attempt's id.
        id: String,
        /// Start it again whatever the policy.
        restart: bool,
        /// How it ended.
        result: Result<ContainerExit, RuntimeError>,
    },
    /// A probe has something to say.
    Probe {
        /// The container.
        name: String,
        /// The attempt's id.
        id: String,
        /// Which probe.
        kind: ProbeKind,
        /// What.
        report: Report,
    },
    /// Nothing is left of it on the node.
    TornDown,
    /// A status write is over.
    Written(Result<Box<Pod>, kube::Error>),
    /// Volumes are up to date, or not.
    Refreshed(Result<(), SetUpError>),
}

/// Works on one pod.
pub struct Worker {
    node: Arc<Node>,
    uid: String,
    pod: Arc<Pod>,
    observed: ObservedPod,
    inbox: mpsc::UnboundedReceiver<PodEvent>,
    myself: mpsc::UnboundedSender<PodEvent>,
    /// Tells the event loop when the worker is done.
    loop_events: mpsc::UnboundedSender<Event>,
    /// The status as the API has it.
    api_status: PodStatus,
    /// A finished pod of an earlier agent: its status stays as it is.
    frozen: bool,
    writing: bool,
    /// The API will not take this pod's status any more.
    unwritable: bool,
    write_setback: Option<(Duration, Timestamp)>,
    refreshing: bool,
    refresh_again: bool,
    /// The runtime still holds a dead sandbox.
    stale_sandbox: bool,
    /// Ends that arrived before the answer to the start.
    early_exits: BTreeMap<String, ContainerExit>,
    probes: BTreeMap<(String, ProbeKind), AbortOnDropHandle<()>>,
    /// Waiting reasons that have been told as events, by container.
    told: BTreeMap<String, &'static str>,
    finished: bool,
}

impl Worker {
    /// Works until the pod is gone or the future is dropped.
    pub async fn run(mut self) {
        self.node.sources.keep(&self.uid, &references(&self.pod));
        loop {
            let wake = self.step();
            if self.finished {
                return;
            }
            let pause = wake.map(|at| until(self.node.clock.now(), at));
            let clock = self.node.clock.clone();
            let event = tokio::select! {
                event = self.inbox.recv() => event,
                () = async { clock.sleep(pause.unwrap_or_default()).await }, if pause.is_some() => {
                    self.on_deadline();
                    continue;
                }
            };
            let Some(event) = event else { return };
            self.apply(event);
            while let Ok(event) = self.inbox.try_recv() {
                self.apply(event);
            }
        }
    }

    /// Decides, acts and reports until there is nothing more to do now; answers when to look again.
    fn step(&mut self) -> Option<Timestamp> {
        loop {
            let now = self.node.clock.now();
            let decision = pod_actions(&self.pod, &self.observed, now);
            if !decision.actions.is_empty() {
                for action in decision.actions {
                    self.perform(action);
                }
                if self.finished {
                    return None;
                }
                continue;
            }
            self.tell(&decision);
            let reported = self.observed.reported;
            self.report(&decision, now);
            self.publish();
            if self.observed.reported == reported {
                return self.next_wake(&decision);
            }
        }
    }

    fn next_wake(&self, decision: &Decision) -> Option<Timestamp> {
        let retry = self.write_setback.filter(|_| !self.writing).map(|(_, at)| at);
        let renew = self.node.tokens.renew_at(&self.uid).filter(|_| self.observed.set_up && !self.refreshing);
        [decision.wake_at, retry, renew].into_iter().flatten().min()
    }

    /// A deadline has come: tokens may need renewal; the rest is found by deciding anew.
    fn on_deadline(&mut self) {
        let now = self.node.clock.now();
        if self.observed.set_up && self.node.tokens.renew_at(&self.uid).is_some_and(|at| at <= now) {
            self.refresh();
        }
    }

    fn apply(&mut self, event: PodEvent) {
        match event {
            PodEvent::Updated(pod) => self.on_updated(pod),
            PodEvent::Removed => {
                self.observed.removed = true;
                self.observed.deleting = false;
                self.stop_probes_on_the_way_out();
            }
            PodEvent::Exited { container_id, exit } => self.on_exit(&container_id, exit),
            PodEvent::ShimLost => self.on_shim_lost(),
            PodEvent::References => self.on_references(),
            PodEvent::Images => self.retry_now(|reason| reason.contains("Image")),
            PodEvent::SetUp(result) => self.on_set_up(result),
            PodEvent::Started { name, attempt, back_off, result } => {
                self.on_started(&name, attempt, back_off, result);
            }
            PodEvent::PostStart { name, id, result } => self.on_post_start(&name, &id, result),
            PodEvent::Stopped { name, id, restart, result } => self.on_stopped(&name, &id, restart, result),
            PodEvent::Probe { name, id, kind, report } => self.on_probe(&name, &id, kind, report),
            PodEvent::TornDown => {
                self.observed.torn_down = true;
                self.observed.tearing_down = false;
                self.observed.set_up = false;
            }
            PodEvent::Written(result) => self.on_written(result),
            PodEvent::Refreshed(result) => self.on_refreshed(result),
        }
    }

    fn on_updated(&mut self, pod: Arc<Pod>) {
        if revision(&pod) < revision(&self.pod) {
            return;
        }
        let labels = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
        let meta_changed = labels(&pod) != labels(&self.pod);
        self.api_status = pod.status.clone().unwrap_or_default();
        self.pod = pod;
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.stop_probes_on_the_way_out();
        }
        if meta_changed && self.observed.set_up {
            self.refresh();
        }
    }

    fn on_set_up(&mut self, result: Result<Sandbox, SetUpError>) {
        self.observed.setting_up = false;
        match result {
            Ok(sandbox) => {
                self.observed.set_up = true;
                self.observed.setback = None;
                self.observed.pod_ips = sandbox.addresses;
                self.observed.netns = sandbox.netns;
                self.stale_sandbox = false;
            }
            Err(error) => {
                let now = self.node.clock.now();
                let previous = self.observed.setback.as_ref().map(|setback| setback.delay);
                let delay =
                    previous.map_or(SET_UP_RETRY_FIRST, |delay| (delay * 2).min(SET_UP_RETRY_LONGEST));
                self.warn(None, error.reason, error.message.clone());
                self.observed.setback = Some(Setback {
                    reason: error.reason,
                    message: error.message,
                    since: now,
                    retry_at: now + delay,
                    delay,
                });
            }
        }
    }

    /// All containers are dead with their shim: the sandbox is made anew.
    fn on_shim_lost(&mut self) {
        let now = self.node.clock.now();
        let lost = ContainerExit { code: 137, signal: 9, oom_killed: false, finished_at: now };
        let live: Vec<String> = self.live_ids();
        for id in live {
            self.on_exit(&id, lost.clone());
        }
        if self.observed.set_up && !self.observed.tearing_down {
            self.stale_sandbox = true;
            self.observed.set_up = false;
            let text = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.note(None, "SandboxChanged", text);
        }
    }

    fn on_references(&mut self) {
        let now = self.node.clock.now();
        if let Some(setback) = &mut self.observed.setback {
            setback.retry_at = now;
        }
        self.retry_now(|reason| reason == "CreateContainerConfigError");
        if self.observed.set_up {
            self.refresh();
        }
    }

    /// Lets containers held back for a matching reason try again at once.
    fn retry_now(&mut self, matches: impl Fn(&str) -> bool) {
        let now = self.node.clock.now();
        for seen in self.observed.containers.values_mut() {
            if let Some(setback) = seen.setback.as_mut().filter(|setback| matches(setback.reason)) {
                setback.retry_at = now;
            }
        }
    }

    fn on_refreshed(&mut self, result: Result<(), SetUpError>) {
        self.refreshing = false;
        if let Err(error) = result {
            self.warn(None, error.reason, error.message);
        }
        if std::mem::take(&mut self.refresh_again) {
            self.refresh();
        }
    }

    fn live_ids(&self) -> Vec<String> {
        let attempts = self.observed.containers.values().filter_map(|seen| seen.current.as_ref());
        attempts.filter(|attempt| attempt.is_live()).map(|attempt| attempt.id.clone()).collect()
    }

    /// The definition of a container, init containers included.
    fn definition(&self, name: &str) -> Option<&Container> {
        let spec = self.pod.spec.as_ref()?;
        spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
    }

    fn seen(&mut self, name: &str) -> &mut ObservedContainer {
        self.observed.containers.entry(name.to_owned()).or_default()
    }

    /// The attempt that runs now under this name, if it is still the one meant.
    fn running(&self, name: &str, id: &str) -> Option<&Attempt> {
        let current = self.observed.container(name)?.current.as_ref()?;
        (current.id == id && current.is_live()).then_some(current)
    }

    /// Sends to itself; a closed inbox means that nobody works on the pod any more.
    fn answer(myself: &mpsc::UnboundedSender<PodEvent>, event: PodEvent) {
        let _nobody_left = myself.send(event).is_err();
    }
}

/// resourceVersion as a number; versions of other stores compare as equal.
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// How long to wait; not shorter than a millisecond, so that rounding cannot make the worker spin.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    left.max(Duration::from_millis(1))
}
