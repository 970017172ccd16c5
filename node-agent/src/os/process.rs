//! Processes by pidfd, so that a reused pid is never signalled.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A handle on a process that stays valid after its pid is reused.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(fd)
}

/// Sends a signal to exactly that process.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed (null siginfo).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills a process if it still is the one that started at `start_time`, and waits up to `limit` for its end.
pub fn kill_same(pid: i32, expected_start: u64, limit: Duration) {
    let Ok(pidfd) = pidfd_open(pid) else { return };
    if start_time(pid).ok() != Some(expected_start) {
        return;
    }
    if pidfd_signal(pidfd.as_fd(), libc::SIGKILL).is_ok() {
        wait_ended(pidfd.as_fd(), limit);
    }
}

/// Waits until the process has ended; `false` when `limit` passed first.
pub fn wait_ended(pidfd: BorrowedFd<'_>, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, timeout), Ok(count) if count > 0)
}

/// When a process started, in clock ticks since boot: with the pid it names a process for good.
///
/// # Errors
/// When the process is gone or `/proc` cannot be read.
pub fn start_time(pid: i32) -> io::Result<u64> {
    parse_start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::other("unexpected form of /proc/<pid>/stat"))
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The command name may itself hold spaces and parentheses: count fields after the last one.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Turns a system call's answer into a descriptor.
pub(crate) fn owned(fd: i64) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        Ok(raw) if raw >= 0 => {
            // SAFETY: the kernel has just made this descriptor for us and nobody else holds it.
            Ok(unsafe { OwnedFd::from_raw_fd(raw) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_odd_names() {
        let fields = (3..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_start_time(&format!("12 (a b) c) {fields}")), Some(22));
        assert_eq!(parse_start_time("nonsense"), None);
    }

    #[test]
    fn own_process_has_a_start_time_and_a_pidfd() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(pid).unwrap() > 0);
        assert!(!wait_ended(pidfd_open(pid).unwrap().as_fd(), Duration::ZERO));
    }
}
