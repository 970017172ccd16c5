//! Runs a command in a container and collects what it says. Entry point: [`run`].

use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::container_runtime::{ContainerRuntime, ExecRequest, RuntimeError};

/// Longest output kept, as upstream limits probes.
const LONGEST_OUTPUT: u64 = 10 * 1_024;

/// Exit code and output (standard output first), cut at 10 KiB each.
///
/// # Errors
/// When the command could not be started.
pub async fn run(
    runtime: &dyn ContainerRuntime,
    request: ExecRequest,
) -> Result<(i32, String), RuntimeError> {
    let session = runtime.exec(request).await?;
    let (out, err) = tokio::join!(read(session.stdout), read(session.stderr));
    let code = session.exit.await.map_err(|_| RuntimeError::Failed {
        act: "exec".to_owned(),
        reason: "the command's end was not reported".to_owned(),
    })?;
    Ok((code, out + &err))
}

async fn read(fd: Option<OwnedFd>) -> String {
    let Some(mut pipe) = fd.and_then(|fd| pipe::Receiver::from_owned_fd(fd).ok()) else {
        return String::new();
    };
    let mut kept = Vec::new();
    // Output that cannot be read is as good as none: the exit code decides.
    let _unreadable = (&mut pipe).take(LONGEST_OUTPUT).read_to_end(&mut kept).await.is_err();
    // A command that says more must not block on a full pipe.
    let _unreadable = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.is_err();
    String::from_utf8_lossy(&kept).into_owned()
}
