//! `gantry exec`: a command in a container, with a terminal if asked.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, anyhow};
use futures::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, AttachedProcess, TerminalSize};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::connection::Connection;
use super::pods::{choose_container, pod_of};
use super::{Failure, Outcome};

/// Flags of `exec`.
#[derive(clap::Args)]
pub struct Arguments {
    /// POD, or TYPE/NAME of something that owns pods.
    words: Vec<String>,
    /// The container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal.
    #[arg(short = 't', long)]
    tty: bool,
    /// Say nothing of our own.
    #[arg(short, long)]
    quiet: bool,
    /// The command, after `--`.
    #[arg(last = true)]
    command: Vec<String>,
}

/// The user's terminal in raw mode; dropped, it is as before.
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// Enters raw mode.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd()).context("cannot read the terminal's mode")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).context("cannot set the terminal's mode")?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0) {
            eprintln!("cannot restore the terminal ({error}); `reset` does");
        }
    }
}

/// Runs a command and ends with its exit code.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.command.is_empty() {
        return Err(match arguments.words.as_slice() {
            [] | [_] => Failure::new("you must specify at least one command for the container"),
            _ => Failure::new(
                "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'kubectl exec -h' for help and examples",
            ),
        });
    }
    let [target] = arguments.words.as_slice() else {
        return Err(Failure::new("pod, type/name or --filename must be specified"));
    };
    let namespace = connection.default_namespace();
    let pod = pod_of(connection, target).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if ["Succeeded", "Failed"].contains(&phase) {
        return Err(Failure::new(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = choose_container(&pod, arguments.container.as_deref(), !arguments.quiet)?;
    let tty = is_terminal(arguments.tty);
    let parameters = parameters(container, arguments.stdin, tty);
    let pods: Api<Pod> = Api::namespaced(connection.client(), &namespace);
    let process = pods.exec(api::object::name(&pod), arguments.command, &parameters).await?;
    let _raw = if tty { Some(RawTerminal::enter()?) } else { None };
    copy(process, tty).await
}

/// Whether a terminal is wanted and there; says so when it is not.
pub fn is_terminal(wanted: bool) -> bool {
    let tty = wanted && std::io::stdin().is_terminal();
    if wanted && !tty {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    tty
}

/// The streams of a command; a terminal has no standard error of its own.
pub fn parameters(container: String, stdin: bool, tty: bool) -> AttachParams {
    AttachParams {
        container: Some(container),
        stdin,
        stdout: true,
        stderr: !tty,
        tty,
        ..AttachParams::default()
    }
}

/// Moves bytes both ways until the command ends.
pub async fn copy(mut process: AttachedProcess, tty: bool) -> Outcome {
    let status = process.take_status().context("no status stream")?;
    if let Some(mut input) = process.stdin() {
        // Ends with the process: a read of a terminal cannot be cancelled, so nobody waits for it.
        tokio::spawn(async move { tokio::io::copy(&mut tokio::io::stdin(), &mut input).await });
    }
    let resizes = tty.then(|| process.terminal_size()).flatten();
    let resizing = async {
        if let Some(mut sizes) = resizes {
            let mut changed = signal(SignalKind::window_change())?;
            loop {
                if let Some(size) = terminal_size()
                    && sizes.send(size).await.is_err()
                {
                    break;
                }
                changed.recv().await;
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let (mut stdout, mut stderr) = (process.stdout(), process.stderr());
    let output = async {
        if let Some(stream) = &mut stdout {
            tokio::io::copy(stream, &mut tokio::io::stdout()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let errors = async {
        if let Some(stream) = &mut stderr {
            tokio::io::copy(stream, &mut tokio::io::stderr()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let all = async {
        let (status, output, errors) = tokio::join!(status, output, errors);
        output.and(errors).context("cannot copy the command's output")?;
        Ok::<_, anyhow::Error>(status)
    };
    let status = tokio::select! {
        ended = all => ended?,
        broken = resizing => return Err(Failure::Other(anyhow!("cannot follow the terminal's size: {broken:?}"))),
    };
    outcome(status)
}

/// What the status of a command that ended means.
pub fn outcome(status: Option<Status>) -> Outcome {
    let Some(status) = status else { return Err(Failure::Other(anyhow!("the connection broke off"))) };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|cause| cause.message.as_ref()?.parse().ok()) {
        Some(code) => Err(Failure::ExitCode(code)),
        None => Err(Failure::Other(anyhow!(status.message.unwrap_or_default()))),
    }
}

fn terminal_size() -> Option<TerminalSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which is valid for the call.
    let outcome = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (outcome == 0).then_some(TerminalSize { width: size.ws_col, height: size.ws_row })
}
