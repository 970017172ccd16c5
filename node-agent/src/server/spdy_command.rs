//! Exec and attach over SPDY. Entry points: [`choose`], [`serve`].
//!
//! The client opens one stream per channel, each with a `streamType` header; the command starts when all are
//! there.

use std::time::Duration;

use component_base::clock::SharedClock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::spdy_session::{Session, SpdyStream, StreamWriter};
use super::streaming::{ClientEnds, CommandEnds, Outcome, Output, SizeParser, Wanted, channels};
use super::websocket::LINGER;

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// Versions of the streaming protocol over SPDY, best first. From 3 on there is a size stream, from 4 on
/// outcomes are Statuses.
const VERSIONS: [(&str, u8); 4] =
    [("v4.channel.k8s.io", 4), ("v3.channel.k8s.io", 3), ("v2.channel.k8s.io", 2), ("channel.k8s.io", 1)];

/// The best version the client offers in `X-Stream-Protocol-Version`; a client that offers none speaks the
/// oldest.
pub fn choose(offered: &[String]) -> Option<(&'static str, u8)> {
    if offered.is_empty() {
        return Some(("", 1));
    }
    VERSIONS.into_iter().find(|(name, _)| offered.iter().any(|offer| offer == name))
}

/// Names of all versions, best first.
pub fn versions() -> impl Iterator<Item = &'static str> {
    VERSIONS.into_iter().map(|(name, _)| name)
}

#[derive(Default)]
struct Streams {
    error: Option<SpdyStream>,
    stdin: Option<SpdyStream>,
    stdout: Option<SpdyStream>,
    stderr: Option<SpdyStream>,
    resize: Option<SpdyStream>,
}

impl Streams {
    fn slot(&mut self, kind: Option<&str>) -> Option<&mut Option<SpdyStream>> {
        match kind {
            Some("error") => Some(&mut self.error),
            Some("stdin") => Some(&mut self.stdin),
            Some("stdout") => Some(&mut self.stdout),
            Some("stderr") => Some(&mut self.stderr),
            Some("resize") => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, wanted: Wanted, version: u8) -> bool {
        self.error.is_some()
            && (!wanted.stdin || self.stdin.is_some())
            && (!wanted.stdout || self.stdout.is_some())
            && (!wanted.stderr || self.stderr.is_some())
            && (!wanted.tty || version < 3 || self.resize.is_some())
    }

    async fn collect(&mut self, session: &mut Session, wanted: Wanted, version: u8) -> bool {
        while !self.complete(wanted, version) {
            let Some(stream) = session.accept().await else { return false };
            let kind = stream.headers.get("streamtype").cloned();
            match self.slot(kind.as_deref()) {
                Some(slot) => *slot = Some(stream),
                None => stream.writer.reset().await,
            }
        }
        true
    }
}

/// Runs a command for a client over an upgraded connection. When the client goes, the command's future is
/// dropped and with it its streams.
pub async fn serve<F: Future<Output = Outcome>>(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    version: u8,
    wanted: Wanted,
    clock: &SharedClock,
    command: impl FnOnce(CommandEnds) -> F,
) {
    let mut session = Session::start(io);
    let mut streams = Streams::default();
    let complete = tokio::select! {
        complete = streams.collect(&mut session, wanted, version) => complete,
        () = clock.sleep(OPENING) => false,
    };
    if !complete {
        tracing::debug!("client did not open all streams");
        return;
    }
    let (command_ends, client) = channels();
    let Streams { error, stdin, stdout, stderr, resize } = streams;
    let (stdout, stderr) = (stdout.map(|s| s.writer), stderr.map(|s| s.writer));
    let running = run(command(command_ends), client, stdin, resize, (stdout, stderr));
    let gone = session.gone();
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = gone.cancelled() => return,
    };
    if let Some(error) = error {
        let told = if version >= 4 { outcome.status().to_string() } else { outcome.text() };
        if !told.is_empty() {
            error.writer.write(told.into()).await;
        }
        error.writer.finish().await;
    }
    // The client closes when it has read everything; closing first could cut it short.
    tokio::select! {
        () = gone.cancelled() => {}
        () = clock.sleep(LINGER) => {}
    }
}

async fn run<F: Future<Output = Outcome>>(
    command: F,
    client: ClientEnds,
    input: Option<SpdyStream>,
    sizes: Option<SpdyStream>,
    (stdout, stderr): (Option<StreamWriter>, Option<StreamWriter>),
) -> Outcome {
    let ClientEnds { stdin, resize, mut output } = client;
    let feeding = async move {
        if let Some(mut stream) = input {
            while let Some(bytes) = stream.data.recv().await {
                if stdin.send(bytes).await.is_err() {
                    break;
                }
            }
        }
    };
    let sizing = async move {
        let mut parser = SizeParser::default();
        if let Some(mut stream) = sizes {
            while let Some(bytes) = stream.data.recv().await {
                if let Some(size) = parser.push(&bytes)
                    && resize.send(size).await.is_err()
                {
                    break;
                }
            }
        }
    };
    let writing = async {
        while let Some(piece) = output.recv().await {
            let (stream, bytes) = match piece {
                Output::Stdout(bytes) => (&stdout, bytes),
                Output::Stderr(bytes) => (&stderr, bytes),
            };
            if let Some(stream) = stream {
                stream.write(bytes).await;
            }
        }
        for stream in [&stdout, &stderr].into_iter().flatten() {
            stream.finish().await;
        }
    };
    tokio::select! {
        (outcome, ()) = async { tokio::join!(command, writing) } => outcome,
        never = async { tokio::join!(feeding, sizing); std::future::pending().await } => never,
    }
}
