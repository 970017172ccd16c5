//! Tells the API and the rest of the agent about the pod: status writes, events about waiting, the pod table.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};

use super::{PodEvent, Worker, revision};
use crate::lookup::{ContainerEntry, PodEntry};
use crate::pod_actions::Decision;
use crate::pod_status::{pod_status, status_patch};

/// First wait after a refused status write; doubles to [`WRITE_RETRY_LONGEST`].
const WRITE_RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait after refused status writes.
const WRITE_RETRY_LONGEST: Duration = Duration::from_secs(10);

impl Worker {
    /// Writes the status if it differs from what the API has. One write at a time.
    pub(super) fn report(&mut self, decision: &Decision, now: Timestamp) {
        if self.frozen || self.unwritable || self.observed.removed {
            self.observed.reported = true;
            return;
        }
        self.observed.host_ips.clone_from(&self.node.config.node_ips);
        let desired = pod_status(&self.pod, &self.observed, decision, &self.api_status, now);
        let patch = status_patch(&self.uid, &self.api_status, &desired);
        self.observed.reported = patch.is_none() && !self.writing;
        let held = self.write_setback.is_some_and(|(_, at)| now < at);
        let Some(patch) = patch.filter(|_| !self.writing && !held) else { return };
        self.writing = true;
        let (client, myself) = (self.node.client.clone(), self.myself.clone());
        let meta = &self.pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        self.node.shutdown.spawn(async move {
            let pods: Api<Pod> = Api::namespaced(client, &namespace);
            let result = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            Self::answer(&myself, PodEvent::Written(result.map(Box::new)));
        });
    }

    pub(super) fn on_written(&mut self, result: Result<Box<Pod>, kube::Error>) {
        self.writing = false;
        match result {
            Ok(pod) => {
                self.write_setback = None;
                if revision(&pod) >= revision(&self.pod) {
                    self.api_status = pod.status.clone().unwrap_or_default();
                    self.pod = Arc::from(pod);
                }
            }
            // Deleted, or replaced by another pod of the same name: the removal is on its way.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
                tracing::debug!(pod = self.uid, reason = status.message, "status refused");
                self.unwritable = matches!(status.code, 404 | 409);
                self.delay_writes();
            }
            Err(error) => {
                tracing::warn!(pod = self.uid, %error, "status not written");
                self.delay_writes();
            }
        }
    }

    fn delay_writes(&mut self) {
        let delay = self.write_setback.map_or(WRITE_RETRY_FIRST, |(delay, _)| delay * 2);
        let delay = delay.min(WRITE_RETRY_LONGEST);
        self.write_setback = Some((delay, self.node.clock.now() + delay));
    }

    /// Events about containers that began to wait, once per reason.
    pub(super) fn tell(&mut self, decision: &Decision) {
        self.told.retain(|name, _| decision.waiting.contains_key(name));
        for (name, waiting) in &decision.waiting {
            if self.told.insert(name.clone(), waiting.reason) == Some(waiting.reason) {
                continue;
            }
            match waiting.reason {
                "CrashLoopBackOff" => {
                    let meta = &self.pod.metadata;
                    let text = |value: &Option<String>| value.clone().unwrap_or_default();
                    let message = format!(
                        "Back-off restarting failed container {name} in pod {}_{}({})",
                        text(&meta.name),
                        text(&meta.namespace),
                        self.uid
                    );
                    self.warn(Some(name), "BackOff", message);
                }
                "ImagePullBackOff" => {
                    let image = self.definition(name).and_then(|container| container.image.clone());
                    let message = format!("Back-off pulling image \"{}\"", image.unwrap_or_default());
                    self.note(Some(name), "BackOff", message);
                    self.warn(Some(name), "Failed", "Error: ImagePullBackOff".to_owned());
                }
                _ => {}
            }
        }
    }

    /// What the node API and statistics may know.
    pub(super) fn publish(&self) {
        let meta = &self.pod.metadata;
        let mut containers = Vec::new();
        for (name, seen) in &self.observed.containers {
            let Some(current) = &seen.current else { continue };
            let definition = self.definition(name);
            containers.push(ContainerEntry {
                name: name.clone(),
                id: current.id.clone(),
                attempt: current.number,
                running: current.is_live(),
                tty: definition.is_some_and(|container| container.tty.unwrap_or(false)),
                stdin_once: definition.is_some_and(|container| container.stdin_once.unwrap_or(false)),
            });
        }
        self.node.table.set(
            &self.uid,
            PodEntry {
                uid: self.uid.clone(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                addresses: self.observed.pod_ips.clone(),
                netns: self.observed.netns.clone(),
                containers,
            },
        );
    }
}
