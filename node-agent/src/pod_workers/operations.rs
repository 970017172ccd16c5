//! Carries out actions: marks them as under way, runs them in tasks, answers with events.

use std::sync::Arc;
use std::time::Duration;

use client::plan::EventType;
use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};
use kube::api::{Api, DeleteParams, Preconditions};

use super::{PodEvent, Worker};
use crate::container_runtime::RuntimeError;
use crate::event_loop::Event;
use crate::node::Node;
use crate::pod_actions::Action;
use crate::pod_events::record;
use crate::stages::{self, Start};

/// Wait before a failed stop or removal is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::SetUp => self.set_up(),
            Action::StartContainer { name, back_off } => self.start(&name, back_off),
            Action::StopContainer { name, id, grace, message, restart } => {
                self.note(Some(&name), "Killing", message);
                self.stop(&name, id, grace, restart);
            }
            Action::Fail(failure) => {
                self.note(None, failure.reason, failure.message.clone());
                self.observed.failure = Some(failure);
            }
            Action::TearDown => self.tear_down(),
            Action::Delete if self.observed.removed => self.finish(),
            Action::Delete => self.delete(),
        }
    }

    fn set_up(&mut self) {
        self.observed.setting_up = true;
        let (node, pod, myself) = (self.node.clone(), self.pod.clone(), self.myself.clone());
        let (uid, stale) = (self.uid.clone(), self.stale_sandbox);
        self.node.shutdown.spawn(async move {
            if stale && let Err(error) = node.runtime.remove_pod(&uid).await {
                tracing::warn!(pod = uid, %error, "dead sandbox not removed");
            }
            let result = stages::set_up(&node, &pod).await;
            Self::answer(&myself, PodEvent::SetUp(result));
        });
    }

    fn start(&mut self, name: &str, back_off: Duration) {
        let Some(container) = self.definition(name).cloned() else { return };
        if self.observed.container(name).is_none_or(|seen| seen.current.is_none()) {
            let next = stages::next_attempt(&self.node, &self.pod, name);
            // A failed start may have left a log file already: the number must not run away then.
            let seen = self.seen(name);
            if seen.setback.is_none() {
                seen.next_attempt = next;
            }
        }
        let attempt = self.seen(name).next_attempt;
        self.seen(name).starting = true;
        let addresses = self.observed.pod_ips.clone();
        let start = Start { pod: self.pod.clone(), container, attempt, back_off, addresses };
        let (node, myself, name) = (self.node.clone(), self.myself.clone(), name.to_owned());
        self.node.shutdown.spawn(async move {
            let result = stages::start_container(&node, &start).await.map(Box::new);
            Self::answer(&myself, PodEvent::Started { name, attempt, back_off, result });
        });
    }

    pub(super) fn run_post_start(&mut self, name: &str, id: &str, hook: LifecycleHandler) {
        let Some(container) = self.definition(name).cloned() else { return };
        let (node, myself, uid) = (self.node.clone(), self.myself.clone(), self.uid.clone());
        let (name, id) = (name.to_owned(), id.to_owned());
        let address = self.observed.pod_ips.first().copied();
        self.node.shutdown.spawn_until(async move {
            let run = crate::hooks::run(&hook, &*node.runtime, &node.clock, &uid, &id, &container, address);
            let result = run.await;
            Self::answer(&myself, PodEvent::PostStart { name, id, result });
        });
    }

    fn stop(&mut self, name: &str, id: String, grace: Duration, restart: bool) {
        let Some(container) = self.definition(name).cloned() else { return };
        self.seen(name).stopping = Some(grace);
        let (node, pod, myself) = (self.node.clone(), self.pod.clone(), self.myself.clone());
        let (name, address) = (name.to_owned(), self.observed.pod_ips.first().copied());
        self.node.shutdown.spawn_until(async move {
            let result = loop {
                match stages::stop_container(&node, &pod, &container, &id, grace, address).await {
                    Err(RuntimeError::Failed { act, reason }) => {
                        let text = format!("error killing pod: {act}: {reason}");
                        record(&node, &pod, Some(&name), EventType::Warning, "FailedKillPod", text);
                        node.clock.sleep(RETRY).await;
                    }
                    result => break result,
                }
            };
            Self::answer(&myself, PodEvent::Stopped { name, id, restart, result });
        });
    }

    /// Drops the runtime's record of an ended attempt; best effort, since removal of the pod takes it too.
    pub(super) fn forget_container(&self, id: String) {
        let (node, uid) = (self.node.clone(), self.uid.clone());
        self.node.shutdown.spawn(async move {
            match node.runtime.remove_container(&uid, &id).await {
                Ok(()) | Err(RuntimeError::NotFound(_)) => {}
                Err(error) => {
                    tracing::debug!(pod = uid, container = id, %error, "ended container not removed")
                }
            }
        });
    }

    /// Rewrites content volumes; a change during the rewrite causes another one.
    pub(super) fn refresh(&mut self) {
        if self.refreshing {
            self.refresh_again = true;
            return;
        }
        self.refreshing = true;
        let (node, pod, myself) = (self.node.clone(), self.pod.clone(), self.myself.clone());
        let addresses = self.observed.pod_ips.clone();
        self.node.shutdown.spawn_until(async move {
            let result = stages::refresh_volumes(&node, &pod, &addresses).await;
            Self::answer(&myself, PodEvent::Refreshed(result));
        });
    }

    fn tear_down(&mut self) {
        self.observed.tearing_down = true;
        self.probes.clear();
        let (node, pod, myself) = (self.node.clone(), self.pod.clone(), self.myself.clone());
        let uid = self.uid.clone();
        self.node.shutdown.spawn_until(async move {
            while let Err(reason) = stages::tear_down(&node, &uid).await {
                tracing::warn!(pod = uid, reason, "pod not removed yet");
                let text = format!("error killing pod: {reason}");
                record(&node, &pod, None, EventType::Warning, "FailedKillPod", text);
                node.clock.sleep(RETRY).await;
            }
            Self::answer(&myself, PodEvent::TornDown);
        });
    }

    /// The final DELETE; the API's answer comes as the removal of the pod.
    fn delete(&mut self) {
        self.observed.deleting = true;
        let (node, pod) = (self.node.clone(), self.pod.clone());
        self.node.shutdown.spawn_until(async move { delete_object(&node, &pod).await });
    }

    /// Nothing is left but logs and watches.
    fn finish(&mut self) {
        self.finished = true;
        self.node.sources.keep(&self.uid, &std::collections::BTreeSet::new());
        self.node.table.remove(&self.uid);
        let logs = stages::logs_of(&self.node, &self.pod);
        if let Err(error) = std::fs::remove_dir_all(&logs)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %logs.display(), "logs not removed");
        }
        let _stopped = self.loop_events.send(Event::Finished(self.uid.clone())).is_err();
    }
}

async fn delete_object(node: &Node, pod: &Arc<Pod>) {
    let meta = &pod.metadata;
    let pods: Api<Pod> = Api::namespaced(node.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    loop {
        match pods.delete(meta.name.as_deref().unwrap_or_default(), &params).await {
            Ok(_) => return,
            // Gone already, or the name belongs to a new pod.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = meta.uid, %error, "pod object not deleted yet");
                node.clock.sleep(RETRY).await;
            }
        }
    }
}
