//! Everything that can happen to the agent, in one closed enum, and who hears about it.
//!
//! Entry point: [`run`]. The loop owns the table of workers and does nothing slow: it hands events on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::informer::Change;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use crate::container_runtime::{PodRecord, RuntimeEvent};
use crate::node::Node;
use crate::observed::GRACE_SECONDS;
use crate::pod_workers::{PodEvent, Worker};
use crate::sources::Reference;
use crate::stages;

/// Grace of a pod nobody knows anything about.
const DEFAULT_GRACE_SECONDS: u64 = 30;

/// Everything that can happen.
#[derive(Debug)]
pub enum Event {
    /// A pod of this node appeared, changed or went.
    Pod(Change<Pod>),
    /// All pods of this node are known: what the runtime has beyond them is orphaned.
    PodsSynced,
    /// A ConfigMap or Secret in use changed.
    Reference(Reference),
    /// Images were added.
    Images,
    /// A container or shim ended.
    Runtime(RuntimeEvent),
    /// A worker has nothing left to do.
    Finished(String),
}

struct Loop {
    node: Arc<Node>,
    workers: BTreeMap<String, mpsc::UnboundedSender<PodEvent>>,
    /// What the runtime had at start and nobody has claimed yet.
    recovered: BTreeMap<String, PodRecord>,
    sender: mpsc::UnboundedSender<Event>,
}

/// Hands events to workers until shutdown. Pods keep running afterwards.
pub async fn run(
    node: Arc<Node>,
    recovered: Vec<PodRecord>,
    sender: mpsc::UnboundedSender<Event>,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut runtime_events: mpsc::Receiver<RuntimeEvent>,
) {
    let recovered = recovered.into_iter().map(|record| (record.config.uid.clone(), record)).collect();
    let mut state = Loop { node, workers: BTreeMap::new(), recovered, sender };
    loop {
        let event = tokio::select! {
            Some(event) = runtime_events.recv() => Event::Runtime(event),
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
        };
        state.handle(event);
    }
}

impl Loop {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Pod(Change::Added(pod)) => self.on_pod(pod),
            Event::Pod(Change::Updated { old, new }) => {
                if old.metadata.uid != new.metadata.uid {
                    self.send(uid_of(&old), PodEvent::Removed);
                }
                self.on_pod(new);
            }
            Event::Pod(Change::Removed(pod)) => self.send(uid_of(&pod), PodEvent::Removed),
            Event::PodsSynced => self.remove_orphans(),
            Event::Reference(reference) => {
                for uid in self.node.sources.users(&reference) {
                    self.send(&uid, PodEvent::References);
                }
            }
            Event::Images => {
                for uid in self.workers.keys() {
                    self.send(uid, PodEvent::Images);
                }
            }
            Event::Runtime(RuntimeEvent::Exited { pod_uid, container_id, exit }) => {
                self.note_exit(&pod_uid, &container_id, &exit);
                self.send(&pod_uid, PodEvent::Exited { container_id, exit });
            }
            Event::Runtime(RuntimeEvent::ShimLost { pod_uid }) => self.send(&pod_uid, PodEvent::ShimLost),
            Event::Finished(uid) => {
                self.workers.remove(&uid);
            }
        }
    }

    fn send(&self, uid: &str, event: PodEvent) {
        let Some(worker) = self.workers.get(uid) else { return };
        // A worker that has just finished needs no more events.
        let _finished = worker.send(event).is_err();
    }

    fn on_pod(&mut self, pod: Arc<Pod>) {
        let uid = uid_of(&pod).to_owned();
        if self.workers.contains_key(&uid) {
            self.send(&uid, PodEvent::Updated(pod));
            return;
        }
        let record = self.recovered.remove(&uid);
        let (worker, inbox) = Worker::new(self.node.clone(), pod, record, self.sender.clone());
        self.workers.insert(uid, inbox);
        self.node.shutdown.spawn_until(worker.run());
    }

    /// An end that comes before the pod's worker must not be lost.
    fn note_exit(&mut self, uid: &str, id: &str, exit: &crate::container_runtime::ContainerExit) {
        let record = self.recovered.get_mut(uid).and_then(|record| record.containers.get_mut(id));
        if let Some(container) = record {
            container.exit.get_or_insert_with(|| exit.clone());
        }
    }

    /// Pods deleted while the agent was away: stopped with their grace, then removed. Directories of pods that
    /// neither the API nor the runtime knows go too.
    fn remove_orphans(&mut self) {
        let mut known: BTreeSet<String> = self.workers.keys().cloned().collect();
        for (uid, record) in std::mem::take(&mut self.recovered) {
            known.insert(uid.clone());
            let node = self.node.clone();
            self.node.shutdown.spawn_until(async move { remove_orphan(&node, record).await });
        }
        let node = self.node.clone();
        self.node.shutdown.spawn(async move {
            for uid in names_in(&node.locations.pods).into_iter().chain(names_in(&node.locations.memory)) {
                if known.contains(&uid) {
                    continue;
                }
                if let Err(reason) = stages::tear_down(&node, &uid).await {
                    tracing::warn!(pod = uid, reason, "leftovers not removed");
                }
            }
            for name in names_in(&node.logs) {
                let uid = name.rsplit('_').next().unwrap_or_default();
                if !known.contains(uid) {
                    remove_logs(&node.logs.join(&name));
                }
            }
        });
    }
}

fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn remove_logs(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "logs not removed");
    }
}

async fn remove_orphan(node: &Node, record: PodRecord) {
    let uid = &record.config.uid;
    let live = record.containers.values().filter(|container| container.exit.is_none());
    let stops = live.map(|container| {
        let grace = container.config.annotations.get(GRACE_SECONDS).and_then(|text| text.parse().ok());
        let grace = Duration::from_secs(grace.unwrap_or(DEFAULT_GRACE_SECONDS));
        node.runtime.stop_container(uid, &container.config.id, grace)
    });
    for error in join_all(stops).await.into_iter().filter_map(Result::err) {
        tracing::debug!(pod = uid, %error, "orphaned container not stopped in order");
    }
    match stages::tear_down(node, uid).await {
        Ok(()) => tracing::info!(pod = uid, "orphaned pod removed"),
        Err(reason) => tracing::warn!(pod = uid, reason, "orphaned pod not removed"),
    }
    let config = &record.config;
    remove_logs(&stages::log_directory(&node.logs, &config.namespace, &config.name, uid));
}
