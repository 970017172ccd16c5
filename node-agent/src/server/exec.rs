//! Running a command in a container for a client. Entry point: [`run`].

use std::sync::Arc;

use super::streaming::{CommandEnds, Descriptors, Outcome, Wanted, pump_command};
use crate::container_runtime::{ContainerRuntime, ExecRequest};

/// Runs it and tells how it ended.
pub async fn run(
    runtime: Arc<dyn ContainerRuntime>,
    request: ExecRequest,
    wanted: Wanted,
    ends: CommandEnds,
) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| {
        Outcome::Failed(format!("error executing command in container: {error}"))
    };
    let session = match runtime.exec(request).await {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    let descriptors = Descriptors {
        stdin: session.stdin,
        stdout: session.stdout,
        stderr: session.stderr,
        terminal: session.terminal,
    };
    match pump_command(descriptors, ends, wanted, session.exit).await {
        Ok(Ok(0)) => Outcome::Success,
        Ok(Ok(code)) => Outcome::ExitCode(code),
        Ok(Err(_)) => failed(&"the container's shim is gone"),
        Err(error) => failed(&error),
    }
}
