//! Lifecycle hooks: what a pod wants done right after a container starts and right before it stops.
//!
//! Entry point: [`run`].

use std::net::IpAddr;
use std::time::Duration;

use component_base::clock::SharedClock;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::container_runtime::{ContainerRuntime, ExecRequest};
use crate::{exec_output, probes};

/// Longest wait for an HTTP hook; upstream's client has no limit, the grace period has.
const HTTP_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs one hook.
///
/// # Errors
/// Why it failed, for people.
pub async fn run(
    handler: &LifecycleHandler,
    runtime: &dyn ContainerRuntime,
    clock: &SharedClock,
    pod_uid: &str,
    container_id: &str,
    container: &Container,
    address: Option<IpAddr>,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let request = ExecRequest {
            pod_uid: pod_uid.to_owned(),
            container_id: container_id.to_owned(),
            command,
            tty: false,
            stdin: false,
        };
        let (code, output) = exec_output::run(runtime, request).await.map_err(|error| error.to_string())?;
        if code == 0 {
            return Ok(());
        }
        return Err(format!("command '{shown}' exited with {code}: {output}"));
    }
    if let Some(action) = &handler.http_get {
        let address = address.ok_or("the pod has no address")?;
        let agent = "kube-lifecycle/1.36";
        let status = probes::get(action, container, address, HTTP_TIMEOUT, clock, agent).await?;
        return if (200..400).contains(&status) { Ok(()) } else { Err(format!("HTTP status {status}")) };
    }
    if let Some(action) = &handler.sleep {
        clock.sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: no known action".to_owned())
}
