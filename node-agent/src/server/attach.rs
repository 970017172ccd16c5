//! Joining a client with a container's own streams. Entry point: [`run`].

use std::sync::Arc;

use super::ContainerPlace;
use super::streaming::{CommandEnds, Descriptors, InputEnd, Outcome, Wanted, pump_container};
use crate::container_runtime::ContainerRuntime;

/// Lasts until the container's streams end or the client goes, or has sent all its input to a container whose
/// input outlives it.
pub async fn run(
    runtime: Arc<dyn ContainerRuntime>,
    place: ContainerPlace,
    wanted: Wanted,
    ends: CommandEnds,
) -> Outcome {
    let failed =
        |error: &dyn std::fmt::Display| Outcome::Failed(format!("error attaching to container: {error}"));
    let session = match runtime.attach(&place.uid, &place.container_id).await {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    let input = if place.stdin_once && !place.tty { InputEnd::Container } else { InputEnd::Session };
    let descriptors = Descriptors {
        stdin: session.stdin,
        stdout: session.stdout,
        stderr: session.stderr,
        terminal: session.terminal,
    };
    match pump_container(descriptors, ends, wanted, input).await {
        Ok(()) => Outcome::Success,
        Err(error) => failed(&error),
    }
}
