//! Runs a command in a running container: our own way in, because libcontainer's leaves out the system call filter.
//!
//! Two forks: the first child enters cgroup and namespaces, the second, which is in the container's process
//! namespace and a child of the shim, takes on user and rights and becomes the command.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chdir, fchown, setgroups, setresgid, setresuid};

use super::report::{Report, tell};
use super::spec;
use super::users::User;
use super::workload::Workload;

/// Everything the command needs of its container.
pub struct Target {
    /// The container's first process.
    pub init: OwnedFd,
    /// Its cgroup's `cgroup.procs` files.
    pub entrances: Vec<OwnedFd>,
    /// Whom it runs as.
    pub user: User,
    /// Working directory.
    pub cwd: String,
    /// Capabilities without `CAP_`.
    pub capabilities: Vec<String>,
    /// Set-user-id programs give nothing.
    pub no_new_privileges: bool,
    /// System call filter, empty for none.
    pub filter: Vec<libc::sock_filter>,
    /// Score of the OOM killer.
    pub oom_score_adj: i32,
    /// Allocate a terminal.
    pub tty: bool,
    /// The command.
    pub workload: Workload,
}

/// A command on its way, with the near ends of its streams.
pub struct Begun {
    /// Tells pid, terminal and failure, and ends when the command runs.
    pub report: UnixStream,
    /// Write end, if asked for and no terminal.
    pub stdin: Option<OwnedFd>,
    /// Read end, without a terminal.
    pub stdout: Option<OwnedFd>,
    /// Read end, without a terminal.
    pub stderr: Option<OwnedFd>,
}

/// Begins a command. The shim must be single-threaded.
///
/// # Errors
/// As `pipe(2)` and `fork(2)`.
pub fn begin(target: &Target, stdin: bool) -> io::Result<Begun> {
    let (report, far_report) = UnixStream::pair()?;
    let null: OwnedFd = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into();
    let mut begun = Begun { report, stdin: None, stdout: None, stderr: None };
    let mut far: Vec<OwnedFd> = Vec::new();
    if !target.tty {
        if stdin {
            let (reader, writer) = io::pipe()?;
            far.push(reader.into());
            begun.stdin = Some(writer.into());
        } else {
            far.push(null);
        }
        for slot in [&mut begun.stdout, &mut begun.stderr] {
            let (reader, writer) = io::pipe()?;
            far.push(writer.into());
            *slot = Some(reader.into());
        }
        for pipe in far.iter().skip(usize::from(!stdin)) {
            fchown(pipe, Some(Uid::from_raw(target.user.uid)), Some(Gid::from_raw(target.user.gid)))?;
        }
    }
    // SAFETY: one thread, so the child may do anything; it never returns from `enter`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => enter(target, &far, &far_report),
        _ => Ok(begun),
    }
}

fn enter(target: &Target, far: &[OwnedFd], report: &UnixStream) -> ! {
    let outcome = enter_and_fork(target, far, report);
    if let Err(text) = &outcome {
        tell(report, &Report::Failed(text.clone()), &[]);
    }
    // SAFETY: ends a forked child without running the shim's exit handlers.
    unsafe { libc::_exit(i32::from(outcome.is_err())) }
}

fn enter_and_fork(target: &Target, far: &[OwnedFd], report: &UnixStream) -> Result<(), String> {
    super::default_signals();
    // SAFETY: integers only. Undumpable: programs of the container must not look into us on our way in.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    for entrance in &target.entrances {
        let mut file = File::from(entrance.try_clone().map_err(|error| format!("enter cgroup: {error}"))?);
        file.write_all(b"0").map_err(|error| format!("enter cgroup: {error}"))?;
    }
    // Refused without SYS_RESOURCE when lower than ours: then ours stays, as for the container itself.
    let _kept = fs::write("/proc/self/oom_score_adj", target.oom_score_adj.to_string());
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET;
    nix::sched::setns(target.init.as_fd(), flags).map_err(|error| format!("enter container: {error}"))?;
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: as fork, in a process with one thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(format!("fork into container: {}", io::Error::last_os_error())),
        0 => {
            let text = become_command(target, far, report).unwrap_or_else(|text| text);
            tell(report, &Report::Failed(text), &[]);
            // SAFETY: ends a forked child without running the shim's exit handlers.
            unsafe { libc::_exit(127) }
        }
        pid => {
            tell(report, &Report::Pid(i32::try_from(pid).map_err(|error| error.to_string())?), &[]);
            Ok(())
        }
    }
}

/// Returns only if the command could not be started, with the reason either way.
fn become_command(target: &Target, far: &[OwnedFd], report: &UnixStream) -> Result<String, String> {
    let step = |what: &'static str| move |error: nix::errno::Errno| format!("{what}: {}", error.desc());
    nix::unistd::setsid().map_err(step("start session"))?;
    if target.tty {
        let (master, slave) =
            terminal(&target.user).map_err(|error| format!("allocate terminal: {error}"))?;
        tell(report, &Report::Terminal, &[master.as_raw_fd()]);
        let slave = slave.as_raw_fd();
        connect([slave, slave, slave])?;
        // SAFETY: integers only; standard input is the terminal just connected.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } != 0 {
            return Err(format!("take terminal: {}", io::Error::last_os_error()));
        }
    } else if let [stdin, stdout, stderr] = far {
        connect([stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()])?;
    }
    let before = chdir(target.cwd.as_str());
    let groups: Vec<Gid> = target.user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups).map_err(step("set groups"))?;
    if !target.no_new_privileges {
        load_filter(&target.filter)?;
    }
    drop_rights(target)?;
    if before.is_err() {
        // A directory that only its owner may enter.
        chdir(target.cwd.as_str()).map_err(step("enter working directory"))?;
    }
    // SAFETY: integers only. Nothing of the shim may leak into the command.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if target.no_new_privileges {
        load_filter(&target.filter)?;
    }
    Ok(target.workload.exec())
}

fn connect(fds: [RawFd; 3]) -> Result<(), String> {
    for (to, from) in (0..).zip(fds) {
        // SAFETY: integers only; the standard descriptors are ours to replace.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(format!("connect streams: {}", io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn terminal(user: &User) -> io::Result<(OwnedFd, OwnedFd)> {
    // The container's own devpts, so that its programs find the terminal by name.
    let master = open(
        "/dev/pts/ptmx",
        OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )?;
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one integer.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: integers only; the result is checked before use.
    let raw = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made for us.
    let slave = unsafe { OwnedFd::from_raw_fd(raw) };
    // Only the owner: the group stays that of the file system (tty).
    fchown(&slave, Some(Uid::from_raw(user.uid)), None)?;
    Ok((master, slave))
}

fn drop_rights(target: &Target) -> Result<(), String> {
    let kept: u64 =
        target.capabilities.iter().filter_map(|name| spec::number(name)).map(|bit| 1 << bit).sum();
    for bit in 0..64_u64 {
        if kept & (1 << bit) == 0 {
            // Numbers the kernel does not know are refused; that is how the end shows.
            // SAFETY: integers only.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, bit) };
        }
    }
    let (uid, gid) = (Uid::from_raw(target.user.uid), Gid::from_raw(target.user.gid));
    setresgid(gid, gid, gid).map_err(|error| format!("set group: {}", error.desc()))?;
    setresuid(uid, uid, uid).map_err(|error| format!("set user: {}", error.desc()))?;
    // Other users lost their capabilities with the line above; they get none back when the command starts.
    set_capabilities(if uid.is_root() { kept } else { 0 })?;
    if target.no_new_privileges {
        // SAFETY: integers only.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(format!("forbid new privileges: {}", io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn set_capabilities(kept: u64) -> Result<(), String> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Set {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let half = |shift: u32| u32::try_from(kept >> shift & u64::from(u32::MAX)).unwrap_or(0);
    let set = |bits| Set { effective: bits, permitted: bits, inheritable: 0 };
    let header = Header { version: 0x2008_0522, pid: 0 };
    let sets = [set(half(0)), set(half(32))];
    // SAFETY: version 3 takes exactly this header and two sets; both outlive the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } != 0 {
        return Err(format!("set capabilities: {}", io::Error::last_os_error()));
    }
    Ok(())
}

fn load_filter(filter: &[libc::sock_filter]) -> Result<(), String> {
    if filter.is_empty() {
        return Ok(());
    }
    let length = u16::try_from(filter.len()).map_err(|_| "system call filter is too long".to_owned())?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call and the kernel only reads it.
    if unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } != 0
    {
        return Err(format!("load system call filter: {}", io::Error::last_os_error()));
    }
    Ok(())
}
