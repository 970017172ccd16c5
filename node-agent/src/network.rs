//! Gives each pod its network: addresses, a link to the host, routes. Entry point: [`PodNetwork`].
//!
//! Pods are named by uid. What was handed out is on disk, so it survives the agent.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

/// Why a pod's network could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Every address of the node's range is in use or resting.
    #[error("no free address in {0}")]
    Exhausted(String),
    /// The configuration cannot work, such as a range without room for pods.
    #[error("pod network configuration: {0}")]
    Config(String),
    /// The record of addresses could not be read or written.
    #[error("{act} {path}: {source}")]
    State {
        /// What was being done.
        act: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a step.
    #[error("{act}: {reason}")]
    Kernel {
        /// What was being done, such as `create link gantry1234`.
        act: String,
        /// The cause, for people.
        reason: String,
    },
}

/// Connects pods to the network.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Gives the pod an address and connects the namespace named by `netns`. Idempotent: a pod that
    /// already has its network gets the same answer.
    async fn attach(&self, uid: &str, netns: &Path) -> Result<Vec<IpAddr>, NetworkError>;

    /// Takes the pod's network away; call it after the namespace is gone (or about to be). The address
    /// becomes free once the host's end of the link is gone. Idempotent.
    async fn detach(&self, uid: &str) -> Result<(), NetworkError>;

    /// The pod's addresses, the primary one first; empty when it has none.
    fn addresses(&self, uid: &str) -> Vec<IpAddr>;

    /// After a restart: keeps what the `live` pods (uid, namespace path) have, repairs what they lack,
    /// frees everything else.
    async fn recover(&self, live: &[(String, PathBuf)]) -> Result<(), NetworkError>;
}
