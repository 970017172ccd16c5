//! What the agent asks of a container runtime. `shim_client` is the real one; `fake` is scripted.
//!
//! Pods are named by uid, containers by an id the agent makes (`<container name>-<attempt>` is unique in
//! a pod). Everything needed to clean up is on disk below the agent's data directory, so a new agent
//! process can re-adopt or remove what an old one left.

pub mod fake;
pub mod shim_client;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Which namespaces and cgroup a pod gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxConfig {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Host name inside the pod.
    pub hostname: String,
    /// Share the host's network (no network namespace is made).
    pub host_network: bool,
    /// Share the host's process ids.
    pub host_pid: bool,
    /// Share the host's IPC.
    pub host_ipc: bool,
    /// All containers see each other's processes.
    pub share_process_namespace: bool,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Pod cgroup relative to each hierarchy's mount, such as `/gantry/burstable/pod<uid>`.
    pub cgroup: String,
    /// Limits of the pod cgroup.
    pub resources: Resources,
}

/// cgroup limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// v1 `cpu.shares`; converted to `cpu.weight` on v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; `None` is unlimited.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds, normally 100,000.
    pub cpu_period_us: Option<u64>,
    /// Bytes.
    pub memory_limit_bytes: Option<i64>,
    /// Processes.
    pub pids_limit: Option<i64>,
}

/// A bind mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Host path (in the agent's view).
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Everything needed to create one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Unique in the pod: `<name>-<attempt>`.
    pub id: String,
    /// `spec.containers[].name`.
    pub name: String,
    /// How many times this container was started before.
    pub attempt: u32,
    /// Directories of the image's unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// Entry point and arguments, already expanded.
    pub args: Vec<String>,
    /// `KEY=value`, already expanded, with PATH.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Numeric user, or a user name of the image's passwd, `""` = root.
    pub user: String,
    /// Overrides the user's group.
    pub run_as_group: Option<u32>,
    /// Refuse to start when the user is root.
    pub run_as_non_root: bool,
    /// Extra groups.
    pub supplemental_groups: Vec<u32>,
    /// Volumes and files such as /etc/hosts.
    pub mounts: Vec<Mount>,
    /// A terminal is allocated.
    pub tty: bool,
    /// Standard input stays open for attach.
    pub stdin: bool,
    /// Standard input ends when the first attached client ends it.
    #[serde(default)]
    pub stdin_once: bool,
    /// Read-only root file system.
    pub read_only_root: bool,
    /// All capabilities, all devices, no seccomp.
    pub privileged: bool,
    /// Kubernetes' `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// Capability names without `CAP_`, complete set.
    pub capabilities: Vec<String>,
    /// `true` filters system calls by the default profile.
    pub seccomp_default: bool,
    /// Kubernetes' default masked and read-only paths.
    pub mask_paths: bool,
    /// cgroup limits.
    pub resources: Resources,
    /// Score of the OOM killer.
    pub oom_score_adj: i32,
    /// CRI-format log file, appended.
    pub log_path: PathBuf,
    /// Rotate the log at this size.
    pub log_max_bytes: u64,
    /// How many rotated files to keep.
    pub log_max_files: u32,
    /// Signal number that stops the container, normally SIGTERM (15).
    pub stop_signal: i32,
    /// Where the container writes its termination message, bind-mounted from `termination_message_host_path`.
    pub termination_message_path: String,
    /// Host file behind it.
    pub termination_message_host_path: PathBuf,
    /// What the agent wants to find again in the record; means nothing to the runtime.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// Exit code; 128 + signal when killed by one.
    pub code: i32,
    /// The signal, 0 if none.
    pub signal: i32,
    /// The kernel's OOM killer took a process of it.
    pub oom_killed: bool,
    /// When.
    pub finished_at: Timestamp,
}

/// A container as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// As created.
    pub config: ContainerConfig,
    /// Init process in the host's pid namespace; 0 before create ended.
    pub pid: i32,
    /// Created at.
    pub created_at: Timestamp,
    /// Started at; `None` while only created.
    pub started_at: Option<Timestamp>,
    /// The end, once over.
    pub exit: Option<ContainerExit>,
}

/// A pod as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// As started.
    pub config: PodSandboxConfig,
    /// The shim's pid; 0 when the shim is gone: the pod can only be removed then.
    pub shim_pid: i32,
    /// Path that names the pod's network namespace (`/proc/<pid>/ns/net` or a bind), host's when hostNetwork.
    pub netns: PathBuf,
    /// By container id.
    pub containers: BTreeMap<String, ContainerRecord>,
}

/// Something happened that the agent did not ask for, or asked for and now is done.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeEvent {
    /// A container's main process ended; its exit record is on disk.
    Exited {
        /// The pod.
        pod_uid: String,
        /// The container.
        container_id: String,
        /// How.
        exit: ContainerExit,
    },
    /// The pod's shim is gone: all its containers are dead.
    ShimLost {
        /// The pod.
        pod_uid: String,
    },
}

/// A command to run in a container.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The pod.
    pub pod_uid: String,
    /// The container.
    pub container_id: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Connect standard input.
    pub stdin: bool,
}

/// The near ends of a running command's streams. Without a tty: pipes. With one: `terminal` carries both ways.
#[derive(Debug)]
pub struct ExecSession {
    /// Write end, when asked for and no tty.
    pub stdin: Option<OwnedFd>,
    /// Read end, no tty.
    pub stdout: Option<OwnedFd>,
    /// Read end, no tty.
    pub stderr: Option<OwnedFd>,
    /// Pty master, with a tty; non-blocking. Reading it gives `EIO` at the end.
    pub terminal: Option<OwnedFd>,
    /// Exit code, once over; an error when the shim died.
    pub exit: tokio::sync::oneshot::Receiver<i32>,
}

/// The near ends of a container's own streams, for attach. Output comes on `stdout` and `stderr`, with a terminal
/// on `stdout` alone; `terminal` is then only for input and for the window size (reading it would steal output
/// from the log). A reader that does not keep up holds the container back.
#[derive(Debug)]
pub struct AttachSession {
    /// Write end, if the container has `stdin` and no tty.
    pub stdin: Option<OwnedFd>,
    /// Copy of output from now on; ends with the container.
    pub stdout: Option<OwnedFd>,
    /// Copy of error output from now on.
    pub stderr: Option<OwnedFd>,
    /// Pty master, with a tty.
    pub terminal: Option<OwnedFd>,
}

/// Use of a cgroup at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// CPU time since the cgroup was made, nanoseconds.
    pub cpu_ns: u64,
    /// Bytes that cannot be reclaimed (usage minus inactive file pages).
    pub memory_working_set_bytes: u64,
    /// All bytes charged.
    pub memory_usage_bytes: u64,
    /// Processes.
    pub pids: u64,
}

/// Why the runtime failed, with what was being done to what.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such pod or container.
    #[error("{0} is not known to the runtime")]
    NotFound(String),
    /// The operation failed; the text says at which step and why.
    #[error("{act}: {reason}")]
    Failed {
        /// What was being done, such as `create container web-0`.
        act: String,
        /// The cause, for people.
        reason: String,
    },
    /// The pod's shim does not answer.
    #[error("the shim of pod {0} is gone")]
    ShimLost(String),
}

/// Starts, stops and watches containers.
#[async_trait]
pub trait ContainerRuntime: Send + Sync {
    /// What is there: re-adopts pods whose shims still live, reports the rest with their last records.
    /// Called once at start, before anything else.
    async fn recover(&self) -> Result<Vec<PodRecord>, RuntimeError>;

    /// Events from now on; may be called once.
    fn events(&self) -> mpsc::Receiver<RuntimeEvent>;

    /// Starts a pod's shim and namespaces. Idempotent.
    async fn start_pod(&self, config: &PodSandboxConfig) -> Result<PodRecord, RuntimeError>;

    /// Kills what is left of a pod and removes every mount, cgroup and file the runtime made for it. Idempotent.
    async fn remove_pod(&self, uid: &str) -> Result<(), RuntimeError>;

    /// Creates and starts a container.
    async fn start_container(
        &self,
        uid: &str,
        config: &ContainerConfig,
    ) -> Result<ContainerRecord, RuntimeError>;

    /// Sends the stop signal, waits up to `grace`, then kills every process of the container.
    /// Answers when it is gone; the exit also arrives as an event.
    async fn stop_container(
        &self,
        uid: &str,
        id: &str,
        grace: Duration,
    ) -> Result<ContainerExit, RuntimeError>;

    /// Removes an ended container's file system, cgroup and record.
    async fn remove_container(&self, uid: &str, id: &str) -> Result<(), RuntimeError>;

    /// Runs a command in a container.
    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError>;

    /// Connects to a container's own streams.
    async fn attach(&self, uid: &str, id: &str) -> Result<AttachSession, RuntimeError>;

    /// Reads a container's cgroup; `id` `None` reads the pod's.
    async fn usage(&self, uid: &str, id: Option<&str>) -> Result<CgroupUsage, RuntimeError>;
}
