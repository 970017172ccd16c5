//! Waiting for another process through a pidfd: no polling, and a reused pid cannot be mistaken for it.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Another process.
pub struct Process(OwnedFd);

impl Process {
    /// The process of this pid; `None` when there is none.
    pub fn find(pid: i32) -> Option<Self> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let raw = i32::try_from(raw).ok().filter(|raw| *raw >= 0)?;
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Some(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Waits for its end; `false` when it still runs after `limit`.
    ///
    /// # Errors
    /// When the kernel cannot wait.
    pub fn ends_within(&self, limit: Duration) -> Result<bool> {
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut waiting, PollTimeout::try_from(limit)?)? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_is_seen() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let process = Process::find(i32::try_from(child.id()).expect("a pid")).expect("it runs");
        assert!(!process.ends_within(Duration::from_millis(1)).expect("polled"));
        drop(child.stdin.take());
        assert!(process.ends_within(Duration::from_secs(10)).expect("polled"));
        child.wait().expect("reaped");
    }
}
