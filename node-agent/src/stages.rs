//! The steps that bring a pod up and take it down, each undone by [`tear_down`]. They act; what to do when is
//! decided by `pod_actions`.
//!
//! Order of set-up, each with its reason: volumes (their mounts must exist before the shim copies the mount
//! table), sandbox (makes the network namespace), network (gives the address), files (`/etc/hosts` names the
//! address). [`tear_down`] goes the other way and works from the disk alone.

pub mod container_config;
pub mod pod_files;
pub mod tokens;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::plan::EventType;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::container_runtime::{ContainerExit, ContainerRecord, PodSandboxConfig, RuntimeError};
use crate::network::host_ports::{HostPort, Protocol};
use crate::node::Node;
use crate::pod_events::record;
use crate::resources;
use crate::volumes::{self, Contents};

/// Least time between the stop signal and KILL, whatever preStop has used up (upstream's minimum).
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// An image of the node's store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// What `imageID` shows.
    pub id: String,
    /// Directories of the unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub command: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `USER`.
    pub user: String,
    /// `STOPSIGNAL`, a name or number.
    pub stop_signal: Option<String>,
}

/// Why an image cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not a reference at all.
    #[error("couldn't parse image name \"{0}\": invalid reference format")]
    InvalidName(String),
    /// It is not here and cannot be fetched.
    #[error("{0}")]
    Unavailable(String),
}

/// Where images come from.
#[async_trait]
pub trait ImageService: Send + Sync {
    /// The image if it is on the node.
    ///
    /// # Errors
    /// When the reference is not one, or the store cannot be read.
    async fn get(&self, reference: &str) -> Result<Option<Image>, ImageError>;

    /// Fetches it from where the reference says.
    ///
    /// # Errors
    /// When that fails.
    async fn pull(&self, reference: &str) -> Result<Image, ImageError>;
}

/// Why set-up failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUpError {
    /// Reason of the event: `FailedMount` or `FailedCreatePodSandBox`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Why a container did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// Waiting reason, such as `CreateContainerConfigError`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The runtime tried: the attempt counts.
    pub attempted: bool,
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Directory of a pod's logs, named as upstream names it.
pub fn log_directory(logs: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    logs.join(format!("{namespace}_{name}_{uid}"))
}

/// The same for a pod object.
pub fn logs_of(node: &Node, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    log_directory(&node.logs, namespace.unwrap_or_default(), name.unwrap_or_default(), uid(pod))
}

/// One more than the highest attempt with a log, 0 without logs: counts restarts over lost records.
pub fn next_attempt(node: &Node, pod: &Pod, container: &str) -> u32 {
    let entries = std::fs::read_dir(logs_of(node, pod).join(container)).into_iter().flatten().flatten();
    let number = |name: &str| name.split('.').next().and_then(|number| number.parse::<u32>().ok());
    entries.filter_map(|entry| number(&entry.file_name().to_string_lossy())).max().map_or(0, |last| last + 1)
}

/// Everything volumes and environments of the pod are made from.
///
/// # Errors
/// When a token cannot be had.
pub async fn contents(node: &Node, pod: &Pod, addresses: &[IpAddr]) -> Result<Contents, SetUpError> {
    let mut lookups = node.sources.lookups(pod).await;
    lookups.facts = node.pod_facts(addresses);
    let tokens = node.tokens.of_pod(node, pod).await.map_err(|reason| SetUpError {
        reason: "FailedMount",
        message: format!("MountVolume.SetUp failed for a service account token: {reason}"),
    })?;
    Ok(Contents { lookups, tokens })
}

/// What set-up made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's addresses, primary one first.
    pub addresses: Vec<IpAddr>,
    /// Names its network namespace.
    pub netns: PathBuf,
}

/// Volumes, sandbox, network, files. Idempotent.
///
/// # Errors
/// The step that failed; what was made stays for the next try or for [`tear_down`].
pub async fn set_up(node: &Node, pod: &Pod) -> Result<Sandbox, SetUpError> {
    let contents = contents(node, pod, &[]).await?;
    set_up_volumes(node, pod, contents).await?;
    let sandbox = |message: String| SetUpError {
        reason: "FailedCreatePodSandBox",
        message: format!("Failed to create pod sandbox: {message}"),
    };
    let config = sandbox_config(node, pod);
    let made = node.runtime.start_pod(&config).await.map_err(|error| sandbox(error.to_string()))?;
    let addresses = if config.host_network {
        node.config.node_ips.clone()
    } else {
        let attached = node.network.attach(uid(pod), &made.netns).await;
        attached.map_err(|error| sandbox(error.to_string()))?
    };
    let ports = host_ports(pod);
    if !ports.is_empty() && !config.host_network {
        let published = node.network.publish(uid(pod), &ports).await;
        published.map_err(|error| sandbox(error.to_string()))?;
    }
    pod_files::write(node, pod, &addresses).map_err(|error| sandbox(error.to_string()))?;
    Ok(Sandbox { addresses, netns: made.netns })
}

/// Volume work is file work: off the async threads.
async fn set_up_volumes(node: &Node, pod: &Pod, contents: Contents) -> Result<(), SetUpError> {
    let failed = |message: String| SetUpError { reason: "FailedMount", message };
    let (owned, locations) = (pod.clone(), node.locations.clone());
    tokio::task::spawn_blocking(move || volumes::set_up(&owned, &locations, &contents))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

/// Brings configMap, secret, downwardAPI and token volumes up to date.
///
/// # Errors
/// When one of them cannot be made; the old content stays.
pub async fn refresh_volumes(node: &Node, pod: &Pod, addresses: &[IpAddr]) -> Result<(), SetUpError> {
    let contents = contents(node, pod, addresses).await?;
    let failed = |message: String| SetUpError { reason: "FailedMount", message };
    let (owned, locations) = (pod.clone(), node.locations.clone());
    tokio::task::spawn_blocking(move || volumes::refresh(&owned, &locations, &contents))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                host_ip: port
                    .host_ip
                    .as_deref()
                    .and_then(|ip| ip.parse().ok())
                    .filter(|ip: &std::net::Ipv4Addr| !ip.is_unspecified()),
                protocol: Protocol::parse(port.protocol.as_deref())?,
                host_port: port.host_port.and_then(|number| u16::try_from(number).ok()).filter(|n| *n > 0)?,
                container_port: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}

/// The sandbox a pod needs.
pub fn sandbox_config(node: &Node, pod: &Pod) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let qos = resources::qos_class(&spec);
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    PodSandboxConfig {
        uid: uid(pod).to_owned(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        hostname: pod_files::hostname(pod, &node.config.node_name),
        host_network: spec.host_network.unwrap_or(false),
        host_pid: spec.host_pid.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
        sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        cgroup: resources::pod_cgroup(&node.config.cgroup_root, qos, uid(pod)),
        resources: resources::pod_resources(&spec, qos),
    }
}

/// Finds or fetches the image of a container, with upstream's events.
async fn image(node: &Node, pod: &Pod, container: &Container) -> Result<Image, StartError> {
    let reference = container.image.as_deref().unwrap_or_default();
    let say = |kind, reason, message: String| record(node, pod, Some(&container.name), kind, reason, message);
    let error = |reason, message: String| StartError { reason, message, attempted: false };
    let found = match node.images.get(reference).await {
        Ok(found) => found,
        Err(failure @ ImageError::InvalidName(_)) => {
            let message = format!("Failed to apply default image tag \"{reference}\": {failure}");
            say(EventType::Warning, "InspectFailed", message.clone());
            return Err(error("InvalidImageName", message));
        }
        Err(failure) => return Err(error("ImageInspectError", failure.to_string())),
    };
    if let Some(image) = found {
        let message = format!(
            "Container image \"{reference}\" already present on machine and can be accessed by the pod"
        );
        say(EventType::Normal, "Pulled", message);
        return Ok(image);
    }
    if container.image_pull_policy.as_deref() == Some("Never") {
        let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
        say(EventType::Warning, "ErrImageNeverPull", message.clone());
        return Err(error("ErrImageNeverPull", message));
    }
    say(EventType::Normal, "Pulling", format!("Pulling image \"{reference}\""));
    match node.images.pull(reference).await {
        Ok(image) => {
            say(EventType::Normal, "Pulled", format!("Successfully pulled image \"{reference}\""));
            Ok(image)
        }
        Err(failure) => {
            say(EventType::Warning, "Failed", format!("Failed to pull image \"{reference}\": {failure}"));
            Err(error("ErrImagePull", failure.to_string()))
        }
    }
}

/// What identifies one start.
#[derive(Debug, Clone)]
pub struct Start {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's definition.
    pub container: Container,
    /// Number of the attempt.
    pub attempt: u32,
    /// Crash back-off that led to it.
    pub back_off: Duration,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
}

/// Image, configuration, create, start.
///
/// # Errors
/// The step that failed, as the waiting reason users see.
pub async fn start_container(node: &Node, start: &Start) -> Result<ContainerRecord, StartError> {
    let (pod, name) = (&*start.pod, start.container.name.as_str());
    let result = try_start(node, start).await;
    match &result {
        Ok(_) => {
            record(node, pod, Some(name), EventType::Normal, "Created", "Container created".to_owned());
            record(node, pod, Some(name), EventType::Normal, "Started", "Container started".to_owned());
        }
        Err(error) => {
            let text = if error.reason == "ErrImagePull" { error.reason } else { error.message.as_str() };
            record(node, pod, Some(name), EventType::Warning, "Failed", format!("Error: {text}"));
        }
    }
    result
}

async fn try_start(node: &Node, start: &Start) -> Result<ContainerRecord, StartError> {
    let pod = &*start.pod;
    let config_error =
        |message: String| StartError { reason: "CreateContainerConfigError", message, attempted: false };
    let image = image(node, pod, &start.container).await?;
    let contents =
        contents(node, pod, &start.addresses).await.map_err(|error| config_error(error.message))?;
    let config =
        container_config::container_config(node, start, &image, &contents.lookups).map_err(config_error)?;
    container_config::prepare_files(&config)
        .map_err(|error| config_error(format!("prepare files of the container: {error}")))?;
    let run_error = |error: RuntimeError| StartError {
        reason: "RunContainerError",
        message: error.to_string(),
        attempted: true,
    };
    node.runtime.start_container(uid(pod), &config).await.map_err(run_error)
}

/// preStop, then the stop signal, then KILL when the grace is over.
///
/// # Errors
/// When the runtime cannot stop it.
pub async fn stop_container(
    node: &Node,
    pod: &Pod,
    container: &Container,
    id: &str,
    grace: Duration,
    address: Option<IpAddr>,
) -> Result<ContainerExit, RuntimeError> {
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let began = node.clock.monotonic();
    if let Some(hook) = hook.filter(|_| !grace.is_zero()) {
        let run = crate::hooks::run(hook, &*node.runtime, &node.clock, uid(pod), id, container, address);
        let result = tokio::select! {
            result = run => result,
            () = node.clock.sleep(grace) => Err("PreStop hook not completed in grace period".to_owned()),
        };
        if let Err(reason) = result {
            tracing::debug!(pod = uid(pod), container = container.name, reason, "preStop hook failed");
            let text = "PreStopHook failed".to_owned();
            record(node, pod, Some(&container.name), EventType::Warning, "FailedPreStopHook", text);
        }
    }
    let left = grace.saturating_sub(node.clock.monotonic().saturating_sub(began));
    node.runtime.stop_container(uid(pod), id, left.max(LEAST_GRACE)).await
}

/// Sandbox, network, volumes: everything but the logs. Idempotent.
///
/// # Errors
/// The first step that failed, for people.
pub async fn tear_down(node: &Node, uid: &str) -> Result<(), String> {
    node.runtime.remove_pod(uid).await.map_err(|error| error.to_string())?;
    node.network.detach(uid).await.map_err(|error| error.to_string())?;
    node.tokens.forget(uid);
    let (owned, locations) = (uid.to_owned(), node.locations.clone());
    tokio::task::spawn_blocking(move || volumes::tear_down(&owned, &locations))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}
