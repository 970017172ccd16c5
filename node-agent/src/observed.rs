//! What the agent knows about one pod at one instant: the input of `pod_actions` and `pod_status`.
//!
//! Everything here is rebuilt from the runtime's records and the API after a restart of the agent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::container_runtime::{ContainerExit, ContainerRecord};

/// Annotation of a container's record: the image as the pod names it.
pub const IMAGE: &str = "image";
/// Annotation: the image's digest.
pub const IMAGE_ID: &str = "image-id";
/// Annotation: seconds of crash back-off that led to this attempt; what the next one doubles.
pub const BACK_OFF_SECONDS: &str = "back-off-seconds";
/// Annotation: seconds of grace when the pod must be stopped without its API object at hand.
pub const GRACE_SECONDS: &str = "grace-seconds";

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The runtime's id.
    pub id: String,
    /// 0 for the first.
    pub number: u32,
    /// As the pod names it.
    pub image: String,
    /// Digest.
    pub image_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// The end, once over.
    pub exit: Option<ContainerExit>,
    /// Overrides the reason shown for the end (`StartError`).
    pub exit_reason: Option<&'static str>,
    /// The termination message, once over.
    pub message: Option<String>,
    /// Crash back-off that preceded it.
    pub back_off: Duration,
}

impl Attempt {
    /// From the runtime's record.
    pub fn from_record(record: &ContainerRecord) -> Self {
        let annotation = |key: &str| record.config.annotations.get(key).cloned().unwrap_or_default();
        Self {
            id: record.config.id.clone(),
            number: record.config.attempt,
            image: annotation(IMAGE),
            image_id: annotation(IMAGE_ID),
            created_at: record.created_at,
            started_at: record.started_at,
            exit: record.exit.clone(),
            exit_reason: None,
            message: None,
            back_off: Duration::from_secs(annotation(BACK_OFF_SECONDS).parse().unwrap_or(0)),
        }
    }

    /// Not ended yet.
    pub fn is_live(&self) -> bool {
        self.exit.is_none()
    }
}

/// Why a step has to be tried again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// The waiting reason users see, such as `ErrImagePull`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When it happened.
    pub since: Timestamp,
    /// Not before this time.
    pub retry_at: Timestamp,
    /// How long the wait is; the next one doubles.
    pub delay: Duration,
}

/// Which probe condemned a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds.
    Startup,
    /// Restarts.
    Liveness,
    /// Takes traffic away.
    Readiness,
}

/// One container of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedContainer {
    /// The newest run.
    pub current: Option<Attempt>,
    /// The run before it.
    pub previous: Option<Attempt>,
    /// Number of the next run.
    pub next_attempt: u32,
    /// A start is under way.
    pub starting: bool,
    /// A stop is under way, with this grace.
    pub stopping: Option<Duration>,
    /// Starting failed.
    pub setback: Option<Setback>,
    /// postStart done and startup probe passed.
    pub started: bool,
    /// The readiness probe's last word; true without one.
    pub ready: bool,
    /// A probe or the postStart hook condemned the running attempt.
    pub condemned: Option<Condemned>,
    /// Restart whatever the policy says: its definition changed.
    pub restart_wanted: bool,
}

/// Why a running container must be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condemned {
    /// A liveness or startup probe failed often enough.
    Probe(ProbeKind),
    /// The postStart hook failed.
    PostStartHook,
}

impl ObservedContainer {
    /// Runs, or is about to.
    pub fn is_live(&self) -> bool {
        self.starting || self.current.as_ref().is_some_and(Attempt::is_live)
    }

    /// The end of the newest run.
    pub fn exit(&self) -> Option<&ContainerExit> {
        if self.starting { None } else { self.current.as_ref()?.exit.as_ref() }
    }
}

/// Why the whole pod ends before its containers did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFailure {
    /// `status.reason`, such as `DeadlineExceeded`.
    pub reason: &'static str,
    /// `status.message`.
    pub message: String,
}

/// The pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// Volumes, namespaces and network are there.
    pub set_up: bool,
    /// Being made.
    pub setting_up: bool,
    /// Making them failed.
    pub setback: Option<Setback>,
    /// By name, init containers included.
    pub containers: BTreeMap<String, ObservedContainer>,
    /// When the agent first saw the pod.
    pub start_time: Option<Timestamp>,
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// Names the pod's network namespace; empty before there is one.
    pub netns: PathBuf,
    /// The node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// The pod failed as a whole.
    pub failure: Option<PodFailure>,
    /// The API object is gone.
    pub removed: bool,
    /// Removal of everything is under way.
    pub tearing_down: bool,
    /// Nothing is left on the node.
    pub torn_down: bool,
    /// The API has the newest status.
    pub reported: bool,
    /// The final DELETE is under way or done.
    pub deleting: bool,
}

impl ObservedPod {
    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.get(name)
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
