//! The node's own API: exec, attach, port-forward, logs, usage. Entry point: [`NodeServer`].
//!
//! The API server is its only client: it authorises users and passes their streams on. What the server
//! shows comes from the runtime and from a [`PodLookup`], which the pod manager provides.

use std::path::PathBuf;

use async_trait::async_trait;

/// A running (or ended) container, to reach its streams and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlace {
    /// The pod's `metadata.uid`.
    pub uid: String,
    /// The runtime's id of the current or last attempt.
    pub container_id: String,
    /// It has a terminal.
    pub tty: bool,
    /// Its log, in CRI format.
    pub log_path: PathBuf,
    /// The log of the attempt before, if there was one.
    pub previous_log_path: Option<PathBuf>,
}

/// A pod, to reach its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPlace {
    /// `metadata.uid`.
    pub uid: String,
    /// Path that names its network namespace; the host's for host-network pods.
    pub netns: PathBuf,
}

/// A running container's names, for usage reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its pod's `metadata.uid`.
    pub uid: String,
    /// Its name in the pod.
    pub container: String,
    /// The runtime's id.
    pub container_id: String,
}

/// Answers what is where on this node.
#[async_trait]
pub trait PodLookup: Send + Sync {
    /// A pod with a network.
    fn pod(&self, namespace: &str, pod: &str) -> Option<PodPlace>;

    /// A container that was started at least once; init and ephemeral containers too.
    fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerPlace>;

    /// All running containers.
    fn running(&self) -> Vec<RunningContainer>;

    /// Completes when this attempt of a container has ended (at once if it has, or is not known), so that
    /// nothing more will be written to its log.
    async fn ended(&self, uid: &str, container_id: &str);
}
