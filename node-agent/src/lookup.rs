//! Which pod is which container here: for the node API (logs, exec) and for statistics.
//!
//! Entry point: [`PodTable`], which workers keep current; the node API sees it as a [`PodLookup`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::server::{ContainerPlace, PodLookup, PodPlace, RunningContainer};
use crate::stages::log_directory;

/// A container that was started at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEntry {
    /// `spec.containers[].name`.
    pub name: String,
    /// The runtime's id of the newest attempt.
    pub id: String,
    /// Its number.
    pub attempt: u32,
    /// It has not ended.
    pub running: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Its input ends with that of the first client.
    pub stdin_once: bool,
}

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEntry {
    /// `metadata.uid`, the runtime's name of the pod.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Primary address first.
    pub addresses: Vec<IpAddr>,
    /// Names its network namespace; empty before there is one.
    pub netns: PathBuf,
    /// Init containers included.
    pub containers: Vec<ContainerEntry>,
}

impl PodEntry {
    /// One container.
    pub fn container(&self, name: &str) -> Option<&ContainerEntry> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// The pods of this node.
pub struct PodTable {
    pods: RwLock<BTreeMap<String, PodEntry>>,
    logs: PathBuf,
    changed: watch::Sender<u64>,
}

impl PodTable {
    /// Empty; logs are looked for below `logs`.
    pub fn new(logs: PathBuf) -> Self {
        Self { pods: RwLock::default(), logs, changed: watch::Sender::new(0) }
    }

    pub(crate) fn set(&self, uid: &str, entry: PodEntry) {
        let mut pods = self.pods.write();
        if pods.get(uid) != Some(&entry) {
            pods.insert(uid.to_owned(), entry);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn remove(&self, uid: &str) {
        if self.pods.write().remove(uid).is_some() {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// The pod of that name; with `uid` only if it is that very pod.
    pub fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<PodEntry> {
        let pods = self.pods.read();
        let mut named = pods.values().filter(|pod| pod.namespace == namespace && pod.name == name);
        match uid {
            Some(uid) => named.find(|pod| pod.uid == uid).cloned(),
            // Of two pods of one name the one that runs is meant, not the one that goes.
            None => {
                let all: Vec<&PodEntry> = named.collect();
                let running = |pod: &&&PodEntry| pod.containers.iter().any(|container| container.running);
                all.iter().find(running).or(all.first()).map(|pod| (*pod).clone())
            }
        }
    }

    /// Everything known.
    pub fn list(&self) -> Vec<PodEntry> {
        self.pods.read().values().cloned().collect()
    }

    /// The CRI log of a container's newest attempt, or of the one before. `None` when there is none.
    pub fn log_path(&self, pod: &PodEntry, container: &str, previous: bool) -> Option<PathBuf> {
        let attempts = self.attempts(pod, container);
        let newest = pod.container(container).map(|container| container.attempt);
        let newest = newest.or(attempts.last().copied())?;
        let wanted = if previous { newest.checked_sub(1)? } else { newest };
        attempts.contains(&wanted).then(|| self.log_file(pod, container, wanted))
    }

    fn log_file(&self, pod: &PodEntry, container: &str, attempt: u32) -> PathBuf {
        let dir = log_directory(&self.logs, &pod.namespace, &pod.name, &pod.uid);
        dir.join(container).join(format!("{attempt}.log"))
    }

    fn is_running(&self, uid: &str, container_id: &str) -> bool {
        let pods = self.pods.read();
        let containers = pods.get(uid).into_iter().flat_map(|pod| &pod.containers);
        containers.into_iter().any(|container| container.id == container_id && container.running)
    }

    /// Counts changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Attempts with a log on disk, lowest first. Survives the runtime's records.
    fn attempts(&self, pod: &PodEntry, container: &str) -> Vec<u32> {
        let dir = log_directory(&self.logs, &pod.namespace, &pod.name, &pod.uid).join(container);
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let number = |name: &str| name.strip_suffix(".log").and_then(|number| number.parse().ok());
        let mut out: Vec<u32> = names.filter_map(|name| number(&name.to_string_lossy())).collect();
        out.sort_unstable();
        out
    }
}

#[async_trait]
impl PodLookup for PodTable {
    fn pod(&self, namespace: &str, pod: &str) -> Option<PodPlace> {
        let entry = self.find(namespace, pod, None).filter(|entry| !entry.netns.as_os_str().is_empty())?;
        Some(PodPlace { uid: entry.uid, netns: entry.netns })
    }

    fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerPlace> {
        let entry = self.find(namespace, pod, None)?;
        let log_path = self.log_path(&entry, container, false);
        let known = entry.container(container);
        // Without a record the log alone tells that it ran once.
        let newest = log_path.as_ref().and_then(|path| path.file_stem()?.to_str()?.parse::<u32>().ok());
        let container_id = match (known, newest) {
            (Some(known), _) => known.id.clone(),
            (None, Some(attempt)) => format!("{container}-{attempt}"),
            (None, None) => return None,
        };
        let attempt = known.map(|known| known.attempt).or(newest).unwrap_or(0);
        Some(ContainerPlace {
            container_id,
            tty: known.is_some_and(|known| known.tty),
            stdin_once: known.is_some_and(|known| known.stdin_once),
            log_path: log_path.unwrap_or_else(|| self.log_file(&entry, container, attempt)),
            previous_log_path: self.log_path(&entry, container, true),
            uid: entry.uid,
        })
    }

    fn running(&self) -> Vec<RunningContainer> {
        let mut out = Vec::new();
        for pod in self.pods.read().values() {
            for container in pod.containers.iter().filter(|container| container.running) {
                out.push(RunningContainer {
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                    container: container.name.clone(),
                    container_id: container.id.clone(),
                });
            }
        }
        out
    }

    async fn ended(&self, uid: &str, container_id: &str) {
        let mut changes = self.changes();
        while self.is_running(uid, container_id) && changes.changed().await.is_ok() {}
    }
}
