//! What happens to a pod's containers: starts, probes, ends.

use std::time::Duration;

use client::plan::EventType;
use tokio_util::task::AbortOnDropHandle;

use super::{PodEvent, Worker};
use crate::container_runtime::{ContainerExit, ContainerRecord, RuntimeError};
use crate::observed::{Attempt, Condemned, ProbeKind, Setback};
use crate::pod_actions::{BACK_OFF_FIRST, BACK_OFF_LONGEST};
use crate::probes::{self, Prober, Report, Target};
use crate::stages::StartError;
use crate::termination_message;

/// Exit code of a container that could not be started (as containerd reports it).
const START_ERROR_CODE: i32 = 128;
/// A configuration error is looked at again after this even if nothing it refers to changed.
const CONFIG_RETRY: Duration = Duration::from_secs(60);

impl Worker {
    pub(super) fn on_started(
        &mut self,
        name: &str,
        attempt: u32,
        back_off: Duration,
        result: Result<Box<ContainerRecord>, StartError>,
    ) {
        let now = self.node.clock.now();
        self.seen(name).starting = false;
        match result {
            Ok(record) => {
                let mut started = Attempt::from_record(&record);
                if let Some(exit) = self.early_exits.remove(&started.id) {
                    started.exit.get_or_insert(exit);
                }
                let (id, live) = (started.id.clone(), started.is_live());
                self.begin_attempt(name, started);
                if live {
                    self.after_start(name, &id);
                } else {
                    self.read_last_words(name);
                }
            }
            Err(error) if error.attempted => {
                let exit =
                    ContainerExit { code: START_ERROR_CODE, signal: 0, oom_killed: false, finished_at: now };
                let id = format!("{name}-{attempt}");
                self.forget_container(id.clone());
                let image = self.definition(name).and_then(|container| container.image.clone());
                let failed = Attempt {
                    id,
                    number: attempt,
                    image: image.unwrap_or_default(),
                    image_id: String::new(),
                    created_at: now,
                    started_at: None,
                    exit: Some(exit),
                    exit_reason: Some("StartError"),
                    message: Some(error.message),
                    back_off,
                };
                self.begin_attempt(name, failed);
            }
            Err(error) => self.hold_back(name, error),
        }
    }

    /// Makes `attempt` the container's current one; only one ended run is kept beside it.
    fn begin_attempt(&mut self, name: &str, attempt: Attempt) {
        let reads_probe = self.definition(name).is_some_and(|container| container.readiness_probe.is_some());
        let seen = self.seen(name);
        let old = std::mem::replace(&mut seen.previous, seen.current.take());
        seen.next_attempt = attempt.number + 1;
        seen.current = Some(attempt);
        seen.setback = None;
        seen.condemned = None;
        seen.restart_wanted = false;
        seen.started = false;
        seen.ready = !reads_probe;
        if let Some(old) = old {
            self.forget_container(old.id);
        }
    }

    fn hold_back(&mut self, name: &str, error: StartError) {
        let now = self.node.clock.now();
        let seen = self.seen(name);
        let previous = seen.setback.as_ref().filter(|setback| setback.reason == error.reason);
        let delay = if error.reason == "CreateContainerConfigError" {
            CONFIG_RETRY
        } else {
            previous.map_or(BACK_OFF_FIRST, |setback| (setback.delay * 2).min(BACK_OFF_LONGEST))
        };
        seen.setback = Some(Setback {
            reason: error.reason,
            message: error.message,
            since: now,
            retry_at: now + delay,
            delay,
        });
    }

    /// The postStart hook first, then probes.
    fn after_start(&mut self, name: &str, id: &str) {
        let hook = self.definition(name).and_then(|container| container.lifecycle.as_ref());
        match hook.and_then(|lifecycle| lifecycle.post_start.clone()) {
            Some(hook) => self.run_post_start(name, id, hook),
            None => self.begin_probing(name, id, false),
        }
    }

    pub(super) fn on_post_start(&mut self, name: &str, id: &str, result: Result<(), String>) {
        if self.running(name, id).is_none() {
            return;
        }
        match result {
            Ok(()) => self.begin_probing(name, id, false),
            Err(reason) => {
                tracing::debug!(pod = self.uid, container = name, reason, "postStart hook failed");
                // The reason may hold output of the container, which may be secret.
                self.warn(Some(name), "FailedPostStartHook", "PostStartHook failed".to_owned());
                self.seen(name).condemned = Some(Condemned::PostStartHook);
            }
        }
    }

    /// The startup probe alone, or the others at once when there is none.
    pub(super) fn begin_probing(&mut self, name: &str, id: &str, adopted: bool) {
        let Some(container) = self.definition(name) else { return };
        let waits = container.startup_probe.is_some() && !self.seen_started(name);
        if waits {
            self.probe(name, id, ProbeKind::Startup, adopted);
        } else {
            self.seen(name).started = true;
            self.probe(name, id, ProbeKind::Liveness, adopted);
            self.probe(name, id, ProbeKind::Readiness, adopted);
        }
    }

    fn seen_started(&self, name: &str) -> bool {
        self.observed.container(name).is_some_and(|seen| seen.started)
    }

    fn probe(&mut self, name: &str, id: &str, kind: ProbeKind, adopted: bool) {
        let Some(container) = self.definition(name).cloned() else { return };
        let probe = match kind {
            ProbeKind::Startup => container.startup_probe.clone(),
            ProbeKind::Liveness => container.liveness_probe.clone(),
            ProbeKind::Readiness => container.readiness_probe.clone(),
        };
        let (Some(probe), Some(attempt)) = (probe, self.running(name, id)) else { return };
        let started = attempt.started_at.unwrap_or(attempt.created_at);
        let already = Duration::try_from(self.node.clock.now().duration_since(started)).unwrap_or_default();
        let target = Target {
            pod_uid: self.uid.clone(),
            container_id: id.to_owned(),
            container,
            address: self.observed.pod_ips.first().copied(),
        };
        let prober = Prober {
            runtime: self.node.runtime.clone(),
            clock: self.node.clock.clone(),
            rng: self.node.rng.clone(),
        };
        let (myself, name, key) = (self.myself.clone(), name.to_owned(), (id.to_owned(), kind));
        let id = id.to_owned();
        let report = move |report| {
            let event = PodEvent::Probe { name: name.clone(), id: id.clone(), kind, report };
            Self::answer(&myself, event);
        };
        let watch = probes::watch(prober, kind, probe, target, adopted, already, report);
        self.probes.insert(key, AbortOnDropHandle::new(tokio::spawn(watch)));
    }

    pub(super) fn on_probe(&mut self, name: &str, id: &str, kind: ProbeKind, report: Report) {
        if self.running(name, id).is_none() {
            return;
        }
        match (report, kind) {
            (Report::Complaint(text), _) => self.warn(Some(name), "Unhealthy", text),
            (Report::Verdict(ready), ProbeKind::Readiness) => self.seen(name).ready = ready,
            (Report::Verdict(true), ProbeKind::Startup) => {
                self.seen(name).started = true;
                self.begin_probing(name, id, false);
            }
            (Report::Verdict(true), ProbeKind::Liveness) => {}
            (Report::Verdict(false), kind) => {
                self.probes.remove(&(id.to_owned(), kind));
                self.seen(name).condemned = Some(Condemned::Probe(kind));
            }
        }
    }

    /// A pod that goes is no longer restarted, so only readiness still matters.
    pub(super) fn stop_probes_on_the_way_out(&mut self) {
        self.probes.retain(|(_, kind), _| *kind == ProbeKind::Readiness);
    }

    pub(super) fn on_exit(&mut self, id: &str, exit: ContainerExit) {
        let mut known = None;
        for (name, seen) in &mut self.observed.containers {
            let Some(current) = seen.current.as_mut().filter(|current| current.id == id) else { continue };
            if current.exit.is_none() {
                current.exit = Some(exit.clone());
                seen.ready = false;
                seen.started = false;
                seen.condemned = None;
                known = Some(name.clone());
            } else {
                return;
            }
        }
        match known {
            Some(name) => {
                self.probes.retain(|(probed, _), _| probed != id);
                self.read_last_words(&name);
            }
            None => {
                self.early_exits.insert(id.to_owned(), exit);
            }
        }
    }

    /// The termination message of a container that just ended.
    pub(super) fn read_last_words(&mut self, name: &str) {
        let Some(definition) = self.definition(name) else { return };
        let policy = definition.termination_message_policy.clone();
        let directory = self.node.locations.pod(&self.uid).join("termination");
        let logs = crate::stages::logs_of(&self.node, &self.pod).join(name);
        let Some(current) = self.seen(name).current.as_mut() else { return };
        let Some(exit) = &current.exit else { return };
        let from_logs = policy.as_deref() == Some("FallbackToLogsOnError") && exit.code != 0;
        let log = logs.join(format!("{}.log", current.number));
        current.message =
            termination_message::read(&directory.join(&current.id), from_logs.then_some(log.as_path()));
    }

    pub(super) fn on_stopped(
        &mut self,
        name: &str,
        id: &str,
        restart: bool,
        result: Result<ContainerExit, RuntimeError>,
    ) {
        let now = self.node.clock.now();
        self.seen(name).stopping = None;
        let exit = result.unwrap_or_else(|error| {
            // The runtime does not know it (any more): it is dead, nobody knows since when.
            tracing::debug!(pod = self.uid, container = name, %error, "stopped container had gone");
            ContainerExit { code: 137, signal: 9, oom_killed: false, finished_at: now }
        });
        if self.running(name, id).is_some() {
            self.on_exit(id, exit);
        }
        self.seen(name).restart_wanted |= restart;
    }

    pub(super) fn warn(&self, container: Option<&str>, reason: &'static str, message: String) {
        crate::pod_events::record(&self.node, &self.pod, container, EventType::Warning, reason, message);
    }

    pub(super) fn note(&self, container: Option<&str>, reason: &'static str, message: String) {
        crate::pod_events::record(&self.node, &self.pod, container, EventType::Normal, reason, message);
    }
}
