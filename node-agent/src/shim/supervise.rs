//! The shim's loop: one `poll` over signals, connections, output and reports, and what each of them sets off.
//!
//! Entry point: [`run`]. Nothing here waits for anything but that `poll`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use component_base::clock::{RealClock, SharedClock};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::connections::{ConnectionId, Connections};
use super::containers::{Container, code_and_signal};
use super::create::{self, Pod};
use super::protocol::{Reply, Request};
use super::records::{self, PodDir, ShimIdentity};
use super::report::Heard;
use super::{exec, sandbox, stdio};
use crate::container_runtime::{ContainerConfig, PodRecord, PodSandboxConfig};
use crate::os::cgroup::Cgroups;
use crate::os::process;

/// What the shim writes on standard output when it is ready; anything else is the reason why not.
pub const READY: &str = "ready";

/// A command that runs in a container.
struct Running {
    /// While it is being started.
    begun: Option<(exec::Begun, Heard)>,
    pid: Option<i32>,
}

/// The pod as creation sees it; a macro because the borrow must leave the other fields free.
macro_rules! pod_of {
    ($shim:expr) => {
        Pod { dir: &$shim.dir, config: &$shim.config, cgroups: &$shim.cgroups, holder: $shim.holder }
    };
}

struct Shim {
    dir: PodDir,
    config: PodSandboxConfig,
    cgroups: Cgroups,
    clock: SharedClock,
    identity: ShimIdentity,
    signals: SignalFd,
    listener: UnixListener,
    connections: Connections,
    containers: BTreeMap<String, Container>,
    /// By the connection that asked.
    commands: BTreeMap<ConnectionId, Running>,
    /// Ends of processes that nobody has claimed yet: a program can end before its start is reported.
    unclaimed: BTreeMap<i32, WaitStatus>,
    holder: Option<i32>,
    buffer: Vec<u8>,
    ending: bool,
}

/// What `poll` found ready.
enum Ready {
    Signals,
    Listener,
    Connection(ConnectionId),
    Output(String),
    Starting(String),
    Command(ConnectionId),
}

/// Runs a pod's shim to its end. Answers the exit status.
pub fn run(run: &Path) -> i32 {
    match Shim::prepare(run) {
        Ok(mut shim) => {
            // The agent may have died meanwhile; the next one finds us by the socket.
            let _unheard = say(READY);
            let _open = detach_output();
            shim.supervise()
        }
        Err(text) => {
            let _unheard = say(&text);
            1
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The agent reads standard output until it is closed.
fn detach_output() -> io::Result<()> {
    let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
    // SAFETY: standard output is open for the life of the process; it is only replaced here.
    let raw = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), 1) };
    if raw < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn become_shim() -> Result<SignalFd, String> {
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        blocked.add(signal);
    }
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)
        .map_err(|error| format!("block signals: {error}"))?;
    // A leader already when started from a shell; then there is nothing to leave.
    let _leader = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        return Err(format!("become reaper: {}", io::Error::last_os_error()));
    }
    // SAFETY: integers only; nothing above standard error is ours yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("watch signals: {error}"))
}

impl Shim {
    fn prepare(run: &Path) -> Result<Self, String> {
        let signals = become_shim()?;
        let dir = PodDir::from_run(run).ok_or_else(|| format!("{}: not a run directory", run.display()))?;
        let pid = i32::try_from(std::process::id()).map_err(|error| error.to_string())?;
        let start_time = process::start_time(pid).map_err(|error| format!("read own start time: {error}"))?;
        let identity = ShimIdentity { pid, start_time };
        records::write_json(&dir.pod(), &identity).map_err(|error| error.to_string())?;
        let config: PodSandboxConfig =
            records::read_json(&dir.config()).map_err(|error| error.to_string())?;
        let cgroups = Cgroups::detect().map_err(|error| format!("find cgroups: {error}"))?;
        sandbox::enter(&config, &dir)?;
        let shared = config.share_process_namespace && !config.host_pid;
        let holder = if shared { Some(sandbox::start_holder(&dir)?) } else { None };
        nix::unistd::chdir("/").map_err(|error| format!("leave directory: {error}"))?;
        let listener = listen(&dir).map_err(|error| format!("listen: {error}"))?;
        Ok(Self {
            dir,
            config,
            cgroups,
            clock: RealClock::shared(),
            identity,
            signals,
            listener,
            connections: Connections::default(),
            containers: BTreeMap::new(),
            commands: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            holder,
            buffer: vec![0; stdio::CHUNK],
            ending: false,
        })
    }

    fn supervise(&mut self) -> i32 {
        while !self.ending {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    eprintln!("poll: {error}");
                    return 1;
                }
            };
            for event in ready {
                self.handle(event);
            }
            self.kill_overdue();
        }
        0
    }

    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut fds: Vec<(PollFd<'_>, Ready)> = Vec::new();
        let mut watch = |fd, flags, ready| fds.push((PollFd::new(fd, flags), ready));
        watch(self.signals.as_fd(), PollFlags::POLLIN, Ready::Signals);
        watch(self.listener.as_fd(), PollFlags::POLLIN, Ready::Listener);
        for (id, fd, sending) in self.connections.iter() {
            let out = if sending { PollFlags::POLLOUT } else { PollFlags::empty() };
            watch(fd, PollFlags::POLLIN | out, Ready::Connection(id));
        }
        for (id, container) in &self.containers {
            for stream in &container.streams {
                if let Some(source) = stream.readable() {
                    watch(source, PollFlags::POLLIN, Ready::Output(id.clone()));
                }
                for sink in stream.blocked() {
                    watch(sink, PollFlags::POLLOUT, Ready::Output(id.clone()));
                }
            }
            if let Some(starting) = &container.starting {
                watch(starting.report.as_fd(), PollFlags::POLLIN, Ready::Starting(id.clone()));
            }
        }
        for (id, command) in &self.commands {
            if let Some((begun, _)) = &command.begun {
                watch(begun.report.as_fd(), PollFlags::POLLIN, Ready::Command(*id));
            }
        }
        let (mut polled, ready): (Vec<PollFd<'_>>, Vec<Ready>) = fds.into_iter().unzip();
        match poll(&mut polled, self.timeout()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let hit = |fd: &PollFd<'_>| fd.revents().is_none_or(|events| !events.is_empty());
        Ok(polled.iter().zip(ready).filter(|(fd, _)| hit(fd)).map(|(_, ready)| ready).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let Some(next) = self.containers.values().filter_map(|container| container.deadline).min() else {
            return PollTimeout::NONE;
        };
        // A millisecond more, so that the deadline has passed when we look.
        let left = next.saturating_sub(self.clock.monotonic()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn handle(&mut self, event: Ready) {
        match event {
            Ready::Signals => self.reap(),
            Ready::Listener => self.accept(),
            Ready::Connection(id) => {
                self.connections.flush(id);
                while let Some((request, fds)) = self.connections.receive(id) {
                    self.answer(id, request, fds);
                }
            }
            Ready::Output(id) => {
                let now = self.clock.now();
                if let Some(container) = self.containers.get_mut(&id) {
                    for stream in &mut container.streams {
                        stream.flush_sinks();
                        if stream.readable().is_some() {
                            stream.pump(&mut container.log, &mut self.buffer, now);
                        }
                    }
                }
            }
            Ready::Starting(id) => self.continue_start(&id),
            Ready::Command(id) => self.continue_command(id),
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                self.connections.add(socket);
            }
        }
    }

    fn answer(&mut self, connection: ConnectionId, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Subscribe => {
                self.connections.subscribe(connection);
                let reply = Reply::Pod(Box::new(self.pod_record()));
                self.connections.reply(connection, &reply, Vec::new());
            }
            Request::Start(config) => self.start(connection, *config, fds),
            Request::Stop { id, grace_ms } => self.stop(connection, &id, grace_ms),
            Request::Remove { id } => self.remove(connection, &id),
            Request::Exec { id, command, tty, stdin } => self.exec(connection, &id, &command, tty, stdin),
            Request::Attach { id } => self.attach(connection, &id),
            Request::Shutdown => self.shut_down(),
        }
    }

    fn pod_record(&self) -> PodRecord {
        PodRecord {
            config: self.config.clone(),
            shim_pid: self.identity.pid,
            netns: format!("/proc/{}/ns/net", self.identity.pid).into(),
            containers: self.containers.iter().map(|(id, c)| (id.clone(), c.record.clone())).collect(),
        }
    }

    fn start(&mut self, connection: ConnectionId, config: ContainerConfig, fds: Vec<OwnedFd>) {
        let id = config.id.clone();
        if self.containers.contains_key(&id) {
            self.fail(connection, format!("container {id} exists already"));
            return;
        }
        if !valid_id(&id) {
            self.fail(connection, format!("{id:?} is not usable as a container id"));
            return;
        }
        let now = self.clock.now();
        match Container::start(&pod_of!(self), config, fds, connection, now) {
            Ok(container) => {
                self.containers.insert(id, container);
            }
            Err(text) => self.fail(connection, text),
        }
    }

    fn continue_start(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(mut starting) = container.starting.take() else { return };
        if !starting.heard.listen(&starting.report) {
            container.starting = Some(starting);
            return;
        }
        let connection = starting.connection;
        let now = self.clock.now();
        let outcome = match starting.heard.failure() {
            Some(text) => Err(text),
            None => container.started(&pod_of!(self), starting, now),
        };
        match outcome {
            Ok(()) => {
                let record = container.record.clone();
                let pid = record.pid;
                self.connections.reply(connection, &Reply::Started(Box::new(record)), Vec::new());
                if let Some(status) = self.unclaimed.remove(&pid) {
                    self.container_ended(id, status);
                }
            }
            Err(text) => {
                self.abandon(id);
                self.fail(connection, text);
            }
        }
        self.forget_unclaimed();
    }

    /// Removes a container that did not come to be.
    fn abandon(&mut self, id: &str) {
        let cgroup = pod_of!(self).cgroup(id);
        // What is left of it are our children; they must be gone before the cgroup can be.
        if let Err(error) = self.cgroups.kill(&cgroup) {
            eprintln!("{error}");
        }
        self.reap();
        self.containers.remove(id);
        if let Err(error) = create::discard(&pod_of!(self), id) {
            eprintln!("{error}");
        }
    }

    fn stop(&mut self, connection: ConnectionId, id: &str, grace_ms: u64) {
        let Some(container) = self.containers.get_mut(id) else {
            self.not_found(connection, id);
            return;
        };
        if let Some(exit) = container.record.exit.clone() {
            self.connections.reply(connection, &Reply::Stopped(exit), Vec::new());
            return;
        }
        container.stop(self.clock.monotonic() + Duration::from_millis(grace_ms));
        container.waiters.push(connection);
    }

    fn kill_overdue(&mut self) {
        let now = self.clock.monotonic();
        let overdue: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in overdue {
            self.cgroups.signal_all(&create::container_cgroup(&self.config, &id));
            if let Some(container) = self.containers.get_mut(&id) {
                // Once more in a second: a process may have been born between listing and killing.
                container.deadline = Some(now + Duration::from_secs(1));
            }
        }
    }

    fn remove(&mut self, connection: ConnectionId, id: &str) {
        let Some(container) = self.containers.get(id) else {
            self.not_found(connection, id);
            return;
        };
        if container.record.exit.is_none() {
            self.fail(connection, format!("container {id} is running"));
            return;
        }
        let cgroup = create::container_cgroup(&self.config, id);
        let outcome = self.cgroups.kill(&cgroup).and_then(|()| {
            self.reap();
            create::discard(&pod_of!(self), id)
        });
        match outcome {
            Ok(()) => {
                self.containers.remove(id);
                self.connections.reply(connection, &Reply::Done, Vec::new());
            }
            Err(error) => self.fail(connection, error.to_string()),
        }
    }

    fn exec(&mut self, connection: ConnectionId, id: &str, command: &[String], tty: bool, stdin: bool) {
        let Some(container) = self.containers.get(id) else {
            self.not_found(connection, id);
            return;
        };
        match container.exec(&pod_of!(self), command, tty, stdin) {
            Ok(begun) => {
                let running = Running { begun: Some((begun, Heard::default())), pid: None };
                self.commands.insert(connection, running);
            }
            Err(text) => self.fail(connection, text),
        }
    }

    fn continue_command(&mut self, connection: ConnectionId) {
        let Some(command) = self.commands.get_mut(&connection) else { return };
        let Some((begun, mut heard)) = command.begun.take() else { return };
        if !heard.listen(&begun.report) {
            command.begun = Some((begun, heard));
            return;
        }
        if let Some(text) = heard.failure() {
            self.commands.remove(&connection);
            self.fail(connection, text);
        } else {
            command.pid = heard.pid;
            let near = [begun.stdin, begun.stdout, begun.stderr, heard.terminal];
            self.connections.reply(connection, &streams_reply(&near), near.into_iter().flatten().collect());
            if let Some(status) = heard.pid.and_then(|pid| self.unclaimed.remove(&pid)) {
                self.command_ended(connection, status);
            }
        }
        self.forget_unclaimed();
    }

    fn attach(&mut self, connection: ConnectionId, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            self.not_found(connection, id);
            return;
        };
        match container.attach() {
            Ok(near) => {
                self.connections.reply(
                    connection,
                    &streams_reply(&near),
                    near.into_iter().flatten().collect(),
                );
            }
            Err(error) => self.fail(connection, error.to_string()),
        }
    }

    fn shut_down(&mut self) {
        for container in self.containers.values() {
            if let Some(starting) = &container.starting
                && let Ok(pidfd) = process::pidfd_open(starting.helper)
            {
                let _ended = process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        self.cgroups.signal_all(&self.config.cgroup);
        self.ending = true;
    }

    /// Collects every child that has ended.
    fn reap(&mut self) {
        // Read before reaping: a signal that comes after is then a new one.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _))) => {
                    self.ended(pid.as_raw(), status);
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        if self.holder == Some(pid) {
            // The kernel has killed everything in the shared process namespace along with it.
            self.holder = None;
            return;
        }
        let container = self.containers.iter().find(|(_, c)| c.record.pid == pid && c.running());
        if let Some(id) = container.map(|(id, _)| id.clone()) {
            self.container_ended(&id, status);
            return;
        }
        let command = self.commands.iter().find(|(_, command)| command.pid == Some(pid)).map(|(id, _)| *id);
        if let Some(connection) = command {
            self.command_ended(connection, status);
            return;
        }
        self.unclaimed.insert(pid, status);
        self.forget_unclaimed();
    }

    fn container_ended(&mut self, id: &str, status: WaitStatus) {
        let now = self.clock.now();
        let Some(container) = self.containers.get_mut(id) else { return };
        container.ended(&pod_of!(self), status, &mut self.buffer, now);
        let Some(exit) = container.record.exit.clone() else { return };
        for waiter in std::mem::take(&mut container.waiters) {
            self.connections.reply(waiter, &Reply::Stopped(exit.clone()), Vec::new());
        }
        self.connections.announce(&Reply::Exited { container_id: id.to_owned(), exit });
    }

    fn command_ended(&mut self, connection: ConnectionId, status: WaitStatus) {
        self.commands.remove(&connection);
        let (code, _) = code_and_signal(status);
        self.connections.reply_last(connection, &Reply::ExecExited { code });
    }

    /// Orphans that were re-parented to us, and helpers, are nobody's: keep them only while a start is open.
    fn forget_unclaimed(&mut self) {
        let open = self.containers.values().any(|container| container.starting.is_some())
            || self.commands.values().any(|command| command.begun.is_some());
        if !open {
            self.unclaimed.clear();
        }
    }

    fn fail(&mut self, connection: ConnectionId, reason: String) {
        self.connections.reply(connection, &Reply::Error { not_found: false, reason }, Vec::new());
    }

    fn not_found(&mut self, connection: ConnectionId, id: &str) {
        let reply = Reply::Error { not_found: true, reason: format!("container {id}") };
        self.connections.reply(connection, &reply, Vec::new());
    }
}

fn listen(dir: &PodDir) -> io::Result<UnixListener> {
    let handle = File::open(dir.run())?;
    let listener = UnixListener::bind(records::short_path(&handle, "s"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn streams_reply(near: &[Option<OwnedFd>; 4]) -> Reply {
    let [stdin, stdout, stderr, terminal] = near.each_ref().map(Option::is_some);
    Reply::Streams { stdin, stdout, stderr, terminal }
}

/// Ids become names of directories and cgroups.
fn valid_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(good) && !id.starts_with('.')
}
