//! One container from request to record: starting, running, stopping, ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::wait::WaitStatus;

use super::connections::ConnectionId;
use super::create::{self, Launched, Pod, set_nonblocking};
use super::protocol::Inbox;
use super::records;
use super::report::Heard;
use super::spec::{self, Privileges};
use super::stdio::{LogFile, Stream};
use super::users::User;
use super::{exec, workload::Workload};
use crate::container_runtime::{ContainerConfig, ContainerExit, ContainerRecord};
use crate::os::process;
use crate::seccomp;

/// A container that is being started.
pub struct Starting {
    /// Who asked.
    pub connection: ConnectionId,
    /// Ends when the program runs or all failed.
    pub report: std::os::unix::net::UnixStream,
    /// What was told so far.
    pub heard: Heard,
    /// The helper process.
    pub helper: i32,
    console: Option<UnixListener>,
}

/// A container of the pod.
pub struct Container {
    /// What the agent is told.
    pub record: ContainerRecord,
    /// Its output.
    pub streams: Vec<Stream>,
    /// Where it goes.
    pub log: LogFile,
    /// While it is being started.
    pub starting: Option<Starting>,
    /// When everything is killed, once asked to stop.
    pub deadline: Option<Duration>,
    /// Who waits for the end.
    pub waiters: Vec<ConnectionId>,
    user: User,
    pidfd: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Container {
    /// Prepares everything and starts the helper; the rest happens when its report ends.
    ///
    /// # Errors
    /// A text for people; what was made so far has been removed again.
    pub fn start(
        pod: &Pod<'_>,
        config: ContainerConfig,
        volumes: Vec<OwnedFd>,
        connection: ConnectionId,
        now: Timestamp,
    ) -> Result<Self, String> {
        let id = config.id.clone();
        let launched = Self::open(pod, &config, now)
            .map_err(|error| error.to_string())
            .and_then(|opened| create::launch(pod, &config, volumes).map(|launched| (opened, launched)));
        match launched {
            Ok(((log, record), launched)) => Ok(Self::of(record, log, launched, connection)),
            Err(text) => {
                // The first error is the one that explains; leftovers go with the pod at the latest.
                let _left = create::discard(pod, &id);
                Err(text)
            }
        }
    }

    fn open(
        pod: &Pod<'_>,
        config: &ContainerConfig,
        now: Timestamp,
    ) -> io::Result<(LogFile, ContainerRecord)> {
        create::discard(pod, &config.id)?;
        std::fs::create_dir_all(pod.dir.container(&config.id))?;
        let record =
            ContainerRecord { config: config.clone(), pid: 0, created_at: now, started_at: None, exit: None };
        records::write_json(&pod.dir.record(&config.id), &record)?;
        let log = LogFile::open(&config.log_path, config.log_max_bytes, config.log_max_files)?;
        Ok((log, record))
    }

    fn of(record: ContainerRecord, log: LogFile, launched: Launched, connection: ConnectionId) -> Self {
        let Launched { stdout, stderr, stdin, console, report, helper, user } = launched;
        let streams = [("stdout", stdout), ("stderr", stderr)]
            .into_iter()
            .filter_map(|(name, source)| Some(Stream::new(name, source?)))
            .collect();
        let starting = Starting { connection, report, heard: Heard::default(), helper, console };
        Self {
            record,
            streams,
            log,
            starting: Some(starting),
            deadline: None,
            waiters: Vec::new(),
            user,
            pidfd: None,
            stdin,
            terminal: None,
        }
    }

    /// The report has ended well: the program runs, or ran and is not yet reaped.
    ///
    /// # Errors
    /// A text for people when the terminal or the record is missing.
    pub fn started(&mut self, pod: &Pod<'_>, starting: Starting, now: Timestamp) -> Result<(), String> {
        self.record.pid = starting.heard.pid.unwrap_or(0);
        self.record.started_at = Some(now);
        self.pidfd = process::pidfd_open(self.record.pid).ok();
        if let Some(console) = &starting.console {
            let master = receive_terminal(console).map_err(|error| format!("receive terminal: {error}"))?;
            let source = master.try_clone().map_err(|error| format!("duplicate terminal: {error}"))?;
            self.streams.push(Stream::new("stdout", source));
            self.terminal = Some(master);
        }
        self.save(pod).map_err(|error| error.to_string())
    }

    /// The first process has ended: records it. Everything it left behind is killed.
    pub fn ended(&mut self, pod: &Pod<'_>, status: WaitStatus, buffer: &mut [u8], now: Timestamp) {
        let cgroup = pod.cgroup(&self.record.config.id);
        pod.cgroups.signal_all(&cgroup);
        for stream in &mut self.streams {
            stream.finish(&mut self.log, buffer, now);
        }
        let (code, signal) = code_and_signal(status);
        let oom_killed = pod.cgroups.oom_kills(&cgroup) > 0;
        self.record.exit = Some(ContainerExit { code, signal, oom_killed, finished_at: now });
        self.deadline = None;
        self.pidfd = None;
        self.stdin = None;
        self.terminal = None;
        if let Err(error) = self.save(pod) {
            // Standard error is a file in the run directory; the agent hears of the exit all the same.
            eprintln!("{error}");
        }
    }

    fn save(&self, pod: &Pod<'_>) -> io::Result<()> {
        records::write_json(&pod.dir.record(&self.record.config.id), &self.record)
    }

    /// Whether the program runs.
    pub fn running(&self) -> bool {
        self.record.started_at.is_some() && self.record.exit.is_none()
    }

    /// Asks the program to stop; everything is killed at `deadline` unless an earlier one is set.
    pub fn stop(&mut self, deadline: Duration) {
        let first = self.deadline.is_none();
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
        if first && let Some(pidfd) = &self.pidfd {
            let signal = match self.record.config.stop_signal {
                0 => libc::SIGTERM,
                signal => signal,
            };
            // Already ended: the exit is about to be reaped.
            let _ended = process::pidfd_signal(pidfd.as_fd(), signal);
        }
    }

    /// Begins a command in the container.
    ///
    /// # Errors
    /// A text for people.
    pub fn exec(
        &self,
        pod: &Pod<'_>,
        command: &[String],
        tty: bool,
        stdin: bool,
    ) -> Result<exec::Begun, String> {
        let config = &self.record.config;
        let init = self.pidfd.as_ref().filter(|_| self.running());
        let init = init.ok_or_else(|| format!("container {} is not running", config.id))?;
        let privileges = Privileges::ours();
        let capabilities = spec::capabilities(config, &privileges);
        let filtered = config.seccomp_default && !config.privileged;
        let target = exec::Target {
            init: init.try_clone().map_err(|error| error.to_string())?,
            entrances: pod.cgroups.entrances(&pod.cgroup(&config.id)).map_err(|error| error.to_string())?,
            user: self.user.clone(),
            cwd: if config.cwd.is_empty() { "/".to_owned() } else { config.cwd.clone() },
            filter: if filtered { seccomp::program(&capabilities) } else { Vec::new() },
            capabilities,
            no_new_privileges: config.no_new_privileges,
            oom_score_adj: privileges.oom_score(config.oom_score_adj),
            tty,
            workload: Workload::new(command, &spec::environment(config, &self.user, tty))?,
        };
        exec::begin(&target, stdin).map_err(|error| error.to_string())
    }

    /// Near ends for an attached client: input, output, error output, terminal.
    ///
    /// # Errors
    /// As `pipe(2)`; a text when the container has ended.
    pub fn attach(&mut self) -> io::Result<[Option<OwnedFd>; 4]> {
        if self.record.exit.is_some() {
            return Err(io::Error::other(format!("container {} is not running", self.record.config.id)));
        }
        let mut near = [const { None }; 4];
        near[0] = if self.record.config.stdin_once {
            // The client's end is the only one: closing it ends the container's input.
            self.stdin.take()
        } else {
            self.stdin.as_ref().map(OwnedFd::try_clone).transpose()?
        };
        near[3] = self.terminal.as_ref().map(OwnedFd::try_clone).transpose()?;
        for stream in &mut self.streams {
            let (reader, writer) = io::pipe()?;
            set_nonblocking(writer.as_fd())?;
            stream.attach(writer.into());
            near[if stream.name() == "stdout" { 1 } else { 2 }] = Some(reader.into());
        }
        Ok(near)
    }
}

fn receive_terminal(console: &UnixListener) -> io::Result<OwnedFd> {
    let (socket, _) = console.accept()?;
    let mut inbox = Inbox::default();
    inbox.receive(socket.as_fd())?;
    let master = inbox.take_fd().ok_or_else(|| io::Error::other("no descriptor came along"))?;
    set_nonblocking(master.as_fd())?;
    Ok(master)
}

/// Exit code (128 + signal when killed) and signal (0 when not).
pub fn code_and_signal(status: WaitStatus) -> (i32, i32) {
    match status {
        WaitStatus::Exited(_, code) => (code, 0),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, signal as i32),
        _ => (255, 0),
    }
}
