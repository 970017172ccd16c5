//! Work inside another network namespace. Entry point: [`inside`].
//!
//! The namespace of a thread is the namespace of every socket it opens, for the socket's whole life. So a
//! throw-away thread enters, opens what is needed and ends; no runtime worker ever changes its namespace.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use super::NetworkError;

/// Opens the file that names a namespace.
pub fn open(path: &Path) -> Result<File, NetworkError> {
    File::open(path).map_err(|source| NetworkError::State {
        act: "open the network namespace",
        path: path.to_owned(),
        source,
    })
}

/// Runs `work` on a thread of its own inside the namespace; sockets it returns stay there. The thread can
/// register sockets with the calling runtime.
pub async fn inside<T: Send + 'static>(
    namespace: File,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NetworkError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let failed =
        |reason: String| NetworkError::Kernel { act: "enter the network namespace".to_owned(), reason };
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            let _entered = runtime.enter();
            let result = setns(&namespace, CloneFlags::CLONE_NEWNET).map(|()| work());
            // The caller may have given up; then the result goes with it.
            drop(sender.send(result));
        })
        .map_err(|error| failed(error.to_string()))?;
    match receiver.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(errno)) => Err(failed(errno.to_string())),
        Err(_) => Err(failed("the thread ended early".to_owned())),
    }
}
