//! The pod around the containers: namespaces the shim itself lives in, host name, sysctls, /dev/shm, and with a
//! shared process namespace the process that is its number 1.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, pivot_root, setgroups, setresgid, setresuid};

use crate::container_runtime::PodSandboxConfig;
use crate::shim::records::PodDir;

/// What `/dev/shm` of a pod may hold, as with other runtimes.
const SHM_OPTIONS: &str = "mode=1777,size=67108864";

/// Nobody: the holder needs no rights at all.
const NOBODY: u32 = 65534;

/// Makes the namespaces and enters them. The shim must be single-threaded.
///
/// # Errors
/// A text for people that names the step.
pub fn enter(config: &PodSandboxConfig, dir: &PodDir) -> Result<(), String> {
    unshare(namespaces(config)).map_err(|error| format!("make namespaces: {error}"))?;
    // Slave: what the host unmounts goes away here too, what we mount stays ours.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| format!("separate mounts from the host: {error}"))?;
    if !config.host_network {
        raise_loopback().map_err(|error| format!("bring up loopback: {error}"))?;
        nix::unistd::sethostname(&config.hostname).map_err(|error| format!("set host name: {error}"))?;
        // Pods may use low ports and ping without capabilities, as with other runtimes.
        for (key, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
        {
            let _older_kernel = set_sysctl(key, value);
        }
    }
    for (key, value) in &config.sysctls {
        set_sysctl(key, value).map_err(|error| format!("set sysctl {key}={value}: {error}"))?;
    }
    if !config.host_ipc {
        let shm = dir.run().join("shm");
        fs::create_dir_all(&shm).map_err(|error| format!("make {}: {error}", shm.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some(SHM_OPTIONS))
            .map_err(|error| format!("mount /dev/shm of the pod: {error}"))?;
    }
    Ok(())
}

fn namespaces(config: &PodSandboxConfig) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !config.host_network {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    }
    if !config.host_ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    flags
}

/// The file behind a sysctl name, in either of the two spellings.
fn sysctl_path(key: &str) -> PathBuf {
    // With a slash somewhere, dots belong to names (net/ipv4/conf/eth0.1/rp_filter).
    let relative = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    Path::new("/proc/sys").join(relative.trim_start_matches('/'))
}

fn set_sysctl(key: &str, value: &str) -> io::Result<()> {
    if key.split(['/', '.']).any(str::is_empty) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    fs::write(sysctl_path(key), value)
}

fn raise_loopback() -> io::Result<()> {
    // SAFETY: integers only; the result is checked before use.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the request is a valid ifreq that outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Starts the process that is number 1 of the pod's shared process namespace. It only reaps. Its root is an empty
/// read-only file system and it has no rights, so that `/proc/1/root` is worth nothing to a container.
///
/// # Errors
/// A text for people.
pub fn start_holder(dir: &PodDir) -> Result<i32, String> {
    let root = dir.run().join("holder");
    fs::create_dir_all(&root).map_err(|error| format!("make {}: {error}", root.display()))?;
    let (ready, signal) = std::io::pipe().map_err(|error| format!("make pipe: {error}"))?;
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;
    // SAFETY: as fork: no new stack, and this process has one thread, so the child may do anything.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => {
            drop(ready);
            hold(&root, signal);
        }
        -1 => Err(format!("make process namespace: {}", io::Error::last_os_error())),
        pid => {
            drop(signal);
            let text = io::read_to_string(ready).map_err(|error| format!("wait for holder: {error}"))?;
            if text == "ready" {
                i32::try_from(pid).map_err(|error| error.to_string())
            } else {
                Err(format!("start holder of the process namespace: {text}"))
            }
        }
    }
}

fn hold(root: &Path, mut signal: std::io::PipeWriter) -> ! {
    use std::io::Write as _;
    // SAFETY: integers only; `PR_SET_NAME` reads a constant C string.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
        libc::setsid();
        // Ignoring the death of children makes the kernel reap them.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    let outcome = overwrite_arguments().and_then(|()| confine(root));
    // Nobody is left to tell when this fails.
    let _unheard = match &outcome {
        Ok(()) => signal.write_all(b"ready"),
        Err(error) => signal.write_all(error.to_string().as_bytes()),
    };
    drop(signal);
    if outcome.is_err() {
        // SAFETY: ends the process at once, without running the parent's exit handlers.
        unsafe { libc::_exit(1) }
    }
    // SAFETY: integers only. Descriptors of the shim are of no use here.
    unsafe { libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32) };
    loop {
        // SAFETY: waits for a signal; all that matter are blocked or fatal.
        unsafe { libc::pause() };
    }
}

fn confine(root: &Path) -> io::Result<()> {
    crate::os::mount::make_private(Path::new("/"))?;
    mount(Some("empty"), root, Some("tmpfs"), MsFlags::empty(), Some("size=4096,mode=555"))?;
    nix::unistd::chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    let read_only = MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    mount(None::<&str>, "/", None::<&str>, read_only, None::<&str>)?;
    nix::unistd::chdir("/")?;
    setgroups(&[])?;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}

/// The holder shows no paths of the host in `/proc/1/cmdline`.
fn overwrite_arguments() -> io::Result<()> {
    let stat =
        fs::read_to_string("/proc/thread-self/stat").or_else(|_| fs::read_to_string("/proc/self/stat"))?;
    let fields: Vec<usize> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let (Some(&start), Some(&end)) = (fields.get(45), fields.get(46)) else {
        return Err(io::Error::other("no argument addresses in /proc/self/stat"));
    };
    if start == 0 || end <= start {
        return Err(io::Error::other("unusable argument addresses in /proc/self/stat"));
    }
    let name = b"pause";
    // SAFETY: the kernel names the area of the argument strings, which is writable and ours for good; Rust has
    // copied what it needs from it at start.
    unsafe {
        let area =
            std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(start), end - start);
        area.fill(0);
        area.iter_mut().zip(name).for_each(|(slot, byte)| *slot = *byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_spellings() {
        let check = |key: &str, expect: &str| assert_eq!(sysctl_path(key), Path::new(expect));
        check("net.ipv4.tcp_syncookies", "/proc/sys/net/ipv4/tcp_syncookies");
        check("net/ipv4/conf/eth0.1/rp_filter", "/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
        assert!(set_sysctl("net..x", "1").is_err());
        assert!(set_sysctl("net/../../x", "1").is_err());
    }

    #[test]
    fn host_namespaces_are_not_made() {
        let mut config =
            PodSandboxConfig { host_network: true, host_ipc: true, ..PodSandboxConfig::default() };
        assert_eq!(namespaces(&config), CloneFlags::CLONE_NEWNS);
        config.host_network = false;
        assert!(namespaces(&config).contains(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS));
    }
}
