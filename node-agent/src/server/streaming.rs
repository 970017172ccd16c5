//! What exec and attach have in common, whichever protocol carries them. Entry points: [`channels`] joins a
//! command with a client; [`pump`] joins it with file descriptors.
//!
//! The command's side sees channels of bytes. A protocol fills `stdin` and `resize`, drains `output`, and
//! when the command's future completes tells the [`Outcome`] last.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use bytes::Bytes;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chunks on their way.
const QUEUE: usize = 32;
/// Largest chunk read at once.
const CHUNK_BYTES: usize = 32 << 10;

/// Which streams the client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// It sends input.
    pub stdin: bool,
    /// It takes output.
    pub stdout: bool,
    /// It takes error output; never with a terminal, which has only one output.
    pub stderr: bool,
    /// It has a terminal.
    pub tty: bool,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From standard output or the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
}

/// The client's terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The command's side.
#[derive(Debug)]
pub struct CommandEnds {
    /// Input; its end is the end of input.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Terminal sizes.
    pub resize: mpsc::Receiver<TerminalSize>,
    /// Output.
    pub output: mpsc::Sender<Output>,
}

/// The client's side.
#[derive(Debug)]
pub struct ClientEnds {
    /// Input; dropping it ends input.
    pub stdin: mpsc::Sender<Bytes>,
    /// Terminal sizes.
    pub resize: mpsc::Sender<TerminalSize>,
    /// Output; its end means that the command writes no more.
    pub output: mpsc::Receiver<Output>,
}

/// Joins a command with a client.
pub fn channels() -> (CommandEnds, ClientEnds) {
    let (stdin_in, stdin) = mpsc::channel(QUEUE);
    let (resize_in, resize) = mpsc::channel(QUEUE);
    let (output, output_out) = mpsc::channel(QUEUE);
    let client = ClientEnds { stdin: stdin_in, resize: resize_in, output: output_out };
    (CommandEnds { stdin, resize, output }, client)
}

/// How a command ended, for the error channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0, or nothing to tell.
    Success,
    /// Another exit code.
    ExitCode(i32),
    /// It could not be run.
    Failed(String),
}

impl Outcome {
    /// As a `Status` (version 4 of the protocol and later).
    pub fn status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(message) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {message}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": message}]},
                "code": 500,
            }),
        }
    }

    /// As text (earlier versions); nothing on success.
    pub fn text(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::ExitCode(code) => format!("command terminated with non-zero exit code: exit status {code}"),
            Self::Failed(message) => message.clone(),
        }
    }
}

/// Terminal sizes written one after the other as JSON, in pieces of any size.
#[derive(Debug, Default)]
pub struct SizeParser(Vec<u8>);

impl SizeParser {
    /// Limit for a size that never ends.
    const PENDING_BYTES_MAX: usize = 4 << 10;

    /// Adds a piece; answers the last complete size in it, if any.
    pub fn push(&mut self, bytes: &[u8]) -> Option<TerminalSize> {
        self.0.extend_from_slice(bytes);
        let mut sizes = serde_json::Deserializer::from_slice(&self.0).into_iter::<TerminalSize>();
        let (mut last, mut used, mut broken) = (None, 0, false);
        while let Some(size) = sizes.next() {
            match size {
                Ok(size) => {
                    last = Some(size);
                    used = sizes.byte_offset();
                }
                Err(error) => {
                    broken = !error.is_eof();
                    break;
                }
            }
        }
        if broken || self.0.len() > Self::PENDING_BYTES_MAX {
            self.0.clear();
        } else {
            self.0.drain(..used);
        }
        last
    }
}

/// A pipe or terminal, readable and writable without blocking.
#[derive(Debug)]
pub struct Descriptor(AsyncFd<OwnedFd>);

impl Descriptor {
    /// Takes over a file descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: the descriptor is owned by the AsyncFd and so stays the same open file while registered.
        let descriptor = unsafe { AsyncFd::register(fd) }?;
        Ok(Self(descriptor))
    }

    /// What is there at once; `None` if nothing is but may come, empty at the end.
    fn read_now(&self) -> io::Result<Option<Bytes>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match nix::unistd::read(self.0.get_ref(), &mut chunk) {
                Ok(length) => {
                    chunk.truncate(length);
                    return Ok(Some(chunk.into()));
                }
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => {}
                // A terminal whose other side is closed.
                Err(nix::errno::Errno::EIO) => return Ok(Some(Bytes::new())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there may be something to read, or `ended`.
    async fn wait_readable(&self, ended: Option<&CancellationToken>) {
        let ready = async {
            if let Ok(mut ready) = self.0.readable().await {
                // The read before found nothing, so readiness is stale unless something came since; asking
                // the kernel again costs one call.
                ready.clear_ready();
            }
        };
        match ended {
            Some(ended) => tokio::select! {
                () = ready => {}
                () = ended.cancelled() => {}
            },
            None => ready.await,
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(Ok(length)) => bytes = bytes.get(length..).unwrap_or_default(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    fn resize(&self, size: TerminalSize) {
        let size = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize, which lives until the call returns.
        let outcome = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        if outcome != 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "terminal not resized");
        }
    }
}

/// The near ends of a command's streams.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Takes input.
    pub stdin: Option<OwnedFd>,
    /// Gives output.
    pub stdout: Option<OwnedFd>,
    /// Gives error output.
    pub stderr: Option<OwnedFd>,
    /// Takes input and sizes; gives output unless `stdout` does.
    pub terminal: Option<OwnedFd>,
}

/// Carries bytes both ways until `exit` completes and all that the command wrote has been sent. The main
/// process is gone then and its output is in the pipes, so an empty pipe ends it: a background process may
/// hold the pipe open for ever. A terminal hangs up by itself.
pub async fn pump_command<T>(
    descriptors: Descriptors,
    ends: CommandEnds,
    wanted: Wanted,
    exit: impl Future<Output = T>,
) -> io::Result<T> {
    let (open, input) = Open::new(descriptors)?;
    let ended = CancellationToken::new();
    let outputs = open.outputs(ends.output, wanted, &ended, None);
    let inputs = async { tokio::join!(open.feed(input, ends.stdin), open.sizes(ends.resize)) };
    let finished = async {
        let (mut outputs, mut exit) = (std::pin::pin!(outputs), std::pin::pin!(exit));
        let mut drained = false;
        let value = loop {
            tokio::select! {
                value = &mut exit => break value,
                () = &mut outputs, if !drained => drained = true,
            }
        };
        ended.cancel();
        if !drained {
            outputs.await;
        }
        value
    };
    let (mut finished, mut inputs) = (std::pin::pin!(finished), std::pin::pin!(inputs));
    tokio::select! {
        value = &mut finished => Ok(value),
        _ = &mut inputs => Ok(finished.await),
    }
}

/// What ends when a client of a container has sent all its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEnd {
    /// The container's own input; the client still sees what the container makes of it.
    Container,
    /// Only the client's session: another client may send more.
    Session,
}

/// Carries bytes both ways until the container's outputs end, or its input if it has no output here, or the
/// client's input if that ends the session.
pub async fn pump_container(
    descriptors: Descriptors,
    ends: CommandEnds,
    wanted: Wanted,
    end: InputEnd,
) -> io::Result<()> {
    let (open, input) = Open::new(descriptors)?;
    let takes_input = wanted.stdin && (input.is_some() || open.terminal.is_some());
    let has_output = open.stdout.is_some() || open.stderr.is_some() || open.terminal.is_some();
    let ended = CancellationToken::new();
    let outputs = open.outputs(ends.output, wanted, &ended, Some(&ended));
    let feed = async {
        open.feed(input, ends.stdin).await;
        if takes_input && end == InputEnd::Session {
            ended.cancel();
        }
    };
    let inputs = async { tokio::join!(feed, open.sizes(ends.resize)) };
    let (mut outputs, mut inputs) = (std::pin::pin!(outputs), std::pin::pin!(inputs));
    tokio::select! {
        () = &mut outputs, if has_output => {}
        _ = &mut inputs => if has_output {
            outputs.await;
        }
    }
    Ok(())
}

/// A command's outputs, opened.
struct Open {
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
    terminal: Option<Descriptor>,
}

impl Open {
    /// With the input apart, which is closed at the end of input for the command to see.
    fn new(descriptors: Descriptors) -> io::Result<(Self, Option<Descriptor>)> {
        let open = |fd: Option<OwnedFd>| fd.map(Descriptor::new).transpose();
        let outputs = Self {
            stdout: open(descriptors.stdout)?,
            stderr: open(descriptors.stderr)?,
            terminal: open(descriptors.terminal)?,
        };
        Ok((outputs, open(descriptors.stdin)?))
    }

    async fn feed(&self, own: Option<Descriptor>, mut stdin: mpsc::Receiver<Bytes>) {
        let target = own.as_ref().or(self.terminal.as_ref());
        while let Some(bytes) = stdin.recv().await {
            // A command that closed its input does not mind what comes after.
            if let Some(target) = target
                && target.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
    }

    async fn sizes(&self, mut resize: mpsc::Receiver<TerminalSize>) {
        while let Some(size) = resize.recv().await {
            if let Some(terminal) = &self.terminal {
                terminal.resize(size);
            }
        }
    }

    /// Until `ended` and all that is there by then is read; a terminal has an end of its own.
    async fn outputs(
        &self,
        output: mpsc::Sender<Output>,
        wanted: Wanted,
        ended: &CancellationToken,
        terminal_ended: Option<&CancellationToken>,
    ) {
        let stdout = async {
            match (&self.stdout, &self.terminal) {
                (Some(pipe), _) => drain(pipe, wanted.stdout, Output::Stdout, &output, Some(ended)).await,
                (None, Some(terminal)) => {
                    drain(terminal, wanted.stdout, Output::Stdout, &output, terminal_ended).await;
                }
                (None, None) => {}
            }
        };
        let stderr = async {
            if let Some(pipe) = &self.stderr {
                drain(pipe, wanted.stderr, Output::Stderr, &output, Some(ended)).await;
            }
        };
        tokio::join!(stdout, stderr);
    }
}

/// Reads to the end; what nobody wants is read too, or the command would wait for ever.
async fn drain(
    from: &Descriptor,
    wanted: bool,
    kind: fn(Bytes) -> Output,
    output: &mpsc::Sender<Output>,
    ended: Option<&CancellationToken>,
) {
    loop {
        // Asked before reading: what was written before the end is seen by this read or one after it.
        let last = ended.is_some_and(CancellationToken::is_cancelled);
        match from.read_now() {
            Ok(Some(bytes)) if bytes.is_empty() => return,
            Ok(Some(bytes)) => {
                if wanted && output.send(kind(bytes)).await.is_err() {
                    return;
                }
            }
            Ok(None) if last => return,
            Ok(None) => from.wait_readable(ended).await,
            Err(error) => {
                tracing::debug!(%error, "a command's output broke");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_pieces() {
        let size = |width, height| Some(TerminalSize { width, height });
        let mut parser = SizeParser::default();
        assert_eq!(parser.push(b"{\"Width\":80,\"Height\":24}\n"), size(80, 24));
        assert_eq!(parser.push(b"{\"Width\":100,"), None);
        assert_eq!(parser.push(b"\"Height\":50}{\"Width\":1"), size(100, 50));
        assert_eq!(parser.push(b"20,\"Height\":60}"), size(120, 60));
        assert_eq!(parser.push(b"nonsense"), None);
        assert_eq!(parser.push(b"{\"Width\":80,\"Height\":24}"), size(80, 24));
    }

    #[test]
    fn statuses() {
        let exit = Outcome::ExitCode(3).status();
        assert_eq!(exit["reason"], "NonZeroExitCode");
        assert_eq!(exit["details"]["causes"][0]["message"], "3");
        assert_eq!(Outcome::Success.status()["status"], "Success");
        assert_eq!(Outcome::Success.text(), "");
    }
}
