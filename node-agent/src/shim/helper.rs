//! The short-lived process that calls libcontainer, which must not run in a process with threads and would leave
//! traces in a long-lived one. Entry point: [`main`]; it is exec'ed by the shim with the report socket as
//! descriptor 3 and the container's standard streams as 0 to 2.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use oci_spec::runtime::Spec;

use super::report::{GENERIC, Report, tell};
use super::workload::Workload;

/// The report socket.
pub const REPORT_FD: i32 = 3;

/// Creates and starts the container whose bundle is in `directory`. Answers the exit status.
pub fn main(directory: &Path, id: &str) -> i32 {
    // SAFETY: the shim passes the report socket under this number and nothing else in this process owns it.
    let report = Arc::new(UnixStream::from(unsafe { OwnedFd::from_raw_fd(REPORT_FD) }));
    let outcome = prepare(&report).and_then(|()| create(directory, id, &report));
    match outcome {
        Ok(()) => 0,
        Err(text) => {
            tell(&report, &Report::Failed(text), &[]);
            1
        }
    }
}

fn prepare(report: &Arc<UnixStream>) -> Result<(), String> {
    // The container's program must not inherit the socket: its end of file says that the program started.
    // SAFETY: integers only, on a descriptor we own.
    if unsafe { libc::fcntl(report.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(format!("mark report socket: {}", io::Error::last_os_error()));
    }
    super::default_signals();
    let report = Arc::clone(report);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .with_writer(move || Notes(Arc::clone(&report)))
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

fn create(directory: &Path, id: &str, report: &Arc<UnixStream>) -> Result<(), String> {
    let generic = |error: &dyn std::error::Error| format!("{GENERIC}{error}");
    let console = Some(directory.join("tty")).filter(|path| path.exists());
    let mut container = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(directory.join("state"))
        .map_err(|error| generic(&error))?
        .with_executor(Start(Arc::clone(report)))
        .with_console_socket(console)
        .as_init(directory)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()
        .map_err(|error| generic(&error))?;
    let pid = container.pid().ok_or_else(|| format!("{GENERIC}no pid"))?.as_raw();
    tell(report, &Report::Pid(pid), &[]);
    container.start().map_err(|error| generic(&error))
}

/// Turns the library's error events into notes.
struct Notes(Arc<UnixStream>);

impl io::Write for Notes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).trim().chars().take(1000).collect();
        tell(&self.0, &Report::Note(text), &[]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces the library's last step, which demands more of image and environment than other runtimes do.
#[derive(Clone)]
struct Start(Arc<UnixStream>);

impl Start {
    fn workload(spec: &Spec) -> Result<Workload, String> {
        let process = spec.process().as_ref().ok_or_else(|| "no process".to_owned())?;
        let args = process.args().as_deref().unwrap_or_default();
        Workload::new(args, process.env().as_deref().unwrap_or_default())
    }

    fn failed(&self, text: &str) {
        tell(&self.0, &Report::Failed(text.to_owned()), &[]);
    }
}

impl Executor for Start {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let reason = Self::workload(spec).map_or_else(|reason| reason, |workload| workload.exec());
        self.failed(&reason);
        Err(ExecutorError::Other(reason))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        Self::workload(spec).and_then(|workload| workload.locate()).map(drop).map_err(|reason| {
            self.failed(&reason);
            ExecutorValidationError::ArgValidationError(reason)
        })
    }
}
