//! A worker's first view of its pod: from nothing, or from what the runtime still has of it (N13).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::sync::mpsc;

use super::{PodEvent, Worker};
use crate::container_runtime::{ContainerExit, PodRecord};
use crate::event_loop::Event;
use crate::node::Node;
use crate::observed::{Attempt, ObservedContainer, ObservedPod};
use crate::pod_status::container_id;
use crate::stages;

impl Worker {
    /// A worker for a pod, with the runtime's record if there is one. Returns the inbox's sender too.
    pub fn new(
        node: Arc<Node>,
        pod: Arc<Pod>,
        record: Option<PodRecord>,
        loop_events: mpsc::UnboundedSender<Event>,
    ) -> (Self, mpsc::UnboundedSender<PodEvent>) {
        let (myself, inbox) = mpsc::unbounded_channel();
        let status = pod.status.clone().unwrap_or_default();
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let frozen = over && record.is_none();
        let start_time = status.start_time.as_ref().map(|time| time.0);
        let mut worker = Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            observed: ObservedPod {
                start_time: Some(start_time.unwrap_or_else(|| node.clock.now())),
                torn_down: frozen,
                reported: frozen,
                ..ObservedPod::default()
            },
            node,
            pod,
            inbox,
            myself: myself.clone(),
            loop_events,
            api_status: status,
            frozen,
            writing: false,
            unwritable: false,
            write_setback: None,
            refreshing: false,
            refresh_again: false,
            stale_sandbox: false,
            early_exits: BTreeMap::new(),
            probes: BTreeMap::new(),
            told: BTreeMap::new(),
            finished: false,
        };
        if let Some(record) = record {
            worker.adopt(&record);
        }
        (worker, myself)
    }

    /// Takes over what the runtime has: nothing is restarted, no restart is counted.
    fn adopt(&mut self, record: &PodRecord) {
        let addresses = if record.config.host_network {
            self.node.config.node_ips.clone()
        } else {
            self.node.network.addresses(&self.uid)
        };
        // A pod whose shim died with the agent can only be removed and made anew; without an address the set-up
        // had not ended, is idempotent and simply runs again.
        self.stale_sandbox = record.shim_pid == 0;
        self.observed.set_up = !addresses.is_empty() && !self.stale_sandbox;
        self.observed.pod_ips = addresses;
        self.observed.netns.clone_from(&record.netns);
        let mut by_name: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for container in record.containers.values() {
            let mut attempt = Attempt::from_record(container);
            if attempt.is_live() && attempt.started_at.is_none() {
                // The agent died between create and start.
                let finished_at = attempt.created_at;
                attempt.exit = Some(ContainerExit { code: 137, signal: 9, oom_killed: false, finished_at });
            }
            by_name.entry(container.config.name.clone()).or_default().push(attempt);
        }
        for (name, mut attempts) in by_name {
            attempts.sort_by_key(|attempt| attempt.number);
            let current = attempts.pop();
            let previous = attempts.pop();
            for old in attempts {
                self.forget_container(old.id);
            }
            self.adopt_container(&name, current, previous);
        }
        if self.observed.set_up {
            self.node.sources.keep(&self.uid, &crate::sources::references(&self.pod));
            self.refresh();
        }
    }

    fn adopt_container(&mut self, name: &str, current: Option<Attempt>, previous: Option<Attempt>) {
        let Some(attempt) = &current else { return };
        let (id, live) = (attempt.id.clone(), attempt.is_live());
        let logged = stages::next_attempt(&self.node, &self.pod, name);
        let next_attempt = logged.max(attempt.number + 1);
        let definition = self.definition(name);
        let known = self.api_container(name, &id);
        let started = known.and_then(|status| status.started);
        let started = started.unwrap_or(definition.is_some_and(|c| c.startup_probe.is_none()));
        let ready = known.map(|status| status.ready);
        let ready = ready.unwrap_or(definition.is_some_and(|c| c.readiness_probe.is_none()));
        let seen = ObservedContainer {
            current,
            previous,
            next_attempt,
            started: live && started,
            ready: live && ready,
            ..ObservedContainer::default()
        };
        self.observed.containers.insert(name.to_owned(), seen);
        if live {
            self.begin_probing(name, &id, true);
        } else {
            self.read_last_words(name);
        }
    }

    /// What the API says about exactly this attempt.
    fn api_container(&self, name: &str, id: &str) -> Option<&ContainerStatus> {
        let wanted = container_id(&self.uid, id);
        let lists = [&self.api_status.init_container_statuses, &self.api_status.container_statuses];
        let mut all = lists.into_iter().flatten().flatten();
        all.find(|status| status.name == name && status.container_id.as_deref() == Some(wanted.as_str()))
    }
}
