//! Exec, attach and byte tunnels over WebSocket. Entry points: [`choose`], [`serve`], [`tunnel`].
//!
//! A message's first byte is the channel: 0 input, 1 output, 2 error output, 3 outcome, 4 terminal size, and
//! from version 5 on 255 closes the channel its second byte names (KEP-4006). In the base64 forms
//! messages are text: the channel as a digit, then base64.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use component_base::clock::SharedClock;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::streaming::{ClientEnds, CommandEnds, Outcome, Output, SizeParser, Wanted, channels};

/// How long a client may take to close after it was told the end.
pub const LINGER: Duration = Duration::from_secs(10);
/// Bytes between a tunnel and its user.
const TUNNEL_BYTES: usize = 64 << 10;
const CHUNK_BYTES: usize = 32 << 10;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Port-forward's sub-protocol that carries SPDY in binary messages (KEP-4006).
pub const SPDY_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// A dialect of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// `Sec-WebSocket-Protocol`; empty when the client named none.
    pub name: &'static str,
    /// 1 tells outcomes as text, 4 as a Status, 5 can also close input.
    pub version: u8,
    /// Text messages.
    pub base64: bool,
}

const fn dialect(name: &'static str, version: u8, base64: bool) -> Dialect {
    Dialect { name, version, base64 }
}

/// All dialects.
const DIALECTS: [Dialect; 6] = [
    dialect("v5.channel.k8s.io", 5, false),
    dialect("v4.channel.k8s.io", 4, false),
    dialect("v4.base64.channel.k8s.io", 4, true),
    dialect("channel.k8s.io", 1, false),
    dialect("base64.channel.k8s.io", 1, true),
    dialect("", 1, false),
];

/// The first of the client's dialects that is known; a client that names none gets the plainest.
pub fn choose(offered: &[String]) -> Option<Dialect> {
    if offered.is_empty() {
        return Some(dialect("", 1, false));
    }
    offered.iter().find_map(|name| DIALECTS.into_iter().find(|known| known.name == name))
}

impl Dialect {
    /// A message for one channel.
    pub fn message(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{channel}{}", STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel and content of a message; `None` for one that has neither.
    pub fn parse(self, message: Message) -> Option<(u8, Bytes)> {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        if data.is_empty() {
            return None;
        }
        let head = data.split_to(1)[0];
        if !self.base64 {
            return Some((head, data));
        }
        let content = STANDARD.decode(&data).ok()?;
        Some((head.checked_sub(b'0')?, content.into()))
    }
}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
type Source<S> = SplitStream<WebSocketStream<S>>;

/// Runs a command for a client over an upgraded connection. When the client goes, the command's future is
/// dropped and with it its streams.
pub async fn serve<S, F>(
    io: S,
    dialect: Dialect,
    wanted: Wanted,
    clock: &SharedClock,
    command: impl FnOnce(CommandEnds) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Outcome>,
{
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    let (command_ends, client) = channels();
    let ClientEnds { stdin, resize, mut output } = client;
    let stdin = wanted.stdin.then_some(stdin);
    let running = command(command_ends);
    // Clients learn by an empty message that the connection is up.
    let first = if wanted.stdout { STDOUT } else { OUTCOME };
    if sink.send(dialect.message(first, &[])).await.is_err() {
        return;
    }
    let writing = async {
        while let Some(piece) = output.recv().await {
            let (channel, bytes) = match &piece {
                Output::Stdout(bytes) => (STDOUT, bytes),
                Output::Stderr(bytes) => (STDERR, bytes),
            };
            if sink.send(dialect.message(channel, bytes)).await.is_err() {
                return;
            }
        }
    };
    let reading = read(&mut source, dialect, stdin, resize);
    let outcome = tokio::select! {
        (outcome, ()) = async { tokio::join!(running, writing) } => outcome,
        () = reading => return,
    };
    finish(sink, source, dialect, &outcome, clock).await;
}

/// Passes input on until the client is gone.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    source: &mut Source<S>,
    dialect: Dialect,
    mut stdin: Option<tokio::sync::mpsc::Sender<Bytes>>,
    resize: tokio::sync::mpsc::Sender<super::streaming::TerminalSize>,
) {
    let mut sizes = SizeParser::default();
    while let Some(Ok(message)) = source.next().await {
        match dialect.parse(message) {
            Some((STDIN, bytes)) => {
                if let Some(to) = &stdin
                    && !bytes.is_empty()
                    && to.send(bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Some((RESIZE, bytes)) => {
                // A command that has ended has no use for it.
                if let Some(size) = sizes.push(&bytes)
                    && resize.send(size).await.is_err()
                {
                    tracing::trace!("terminal size after the end");
                }
            }
            Some((CLOSE, bytes)) if dialect.version >= 5 && bytes.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}

async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: Sink<S>,
    mut source: Source<S>,
    dialect: Dialect,
    outcome: &Outcome,
    clock: &SharedClock,
) {
    let told = if dialect.version >= 4 { outcome.status().to_string() } else { outcome.text() };
    let goodbye = async {
        if !told.is_empty() {
            sink.send(dialect.message(OUTCOME, told.as_bytes())).await?;
        }
        close(&mut sink).await?;
        while let Some(Ok(_)) = source.next().await {}
        Ok::<(), tokio_tungstenite::tungstenite::Error>(())
    };
    tokio::select! {
        outcome = goodbye => if let Err(error) = outcome {
            tracing::debug!(%error, "client left before the end");
        },
        () = clock.sleep(LINGER) => {}
    }
}

async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut Sink<S>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(frame))).await
}

/// Carries bytes in binary messages; ends when either side does. `user` gets the other end of the pipe.
pub async fn tunnel<S, F>(io: S, user: impl FnOnce(tokio::io::DuplexStream) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    let (near, far) = tokio::io::duplex(TUNNEL_BYTES);
    let (mut from_user, mut to_user) = tokio::io::split(near);
    let incoming = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(bytes) = message
                && to_user.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
        // The user sees the end and ends too.
        drop(to_user.shutdown().await);
        std::future::pending::<()>().await;
    };
    let outgoing = async {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(length) = from_user.read(&mut buffer).await {
            let message = Message::Binary(Bytes::copy_from_slice(&buffer[..length]));
            if length == 0 || sink.send(message).await.is_err() {
                break;
            }
        }
        // The client may be gone.
        drop(close(&mut sink).await);
    };
    let using = user(far);
    tokio::select! {
        () = incoming => {}
        ((), ()) = async { tokio::join!(using, outgoing) } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects() {
        let offer = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            choose(&names).map(|dialect| dialect.name)
        };
        assert_eq!(offer(&["v5.channel.k8s.io"]), Some("v5.channel.k8s.io"));
        assert_eq!(offer(&["v9", "v4.channel.k8s.io", "channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(offer(&["v9"]), None);
        assert_eq!(offer(&[]), Some(""));
    }

    #[test]
    fn messages() {
        let binary = dialect("v4.channel.k8s.io", 4, false);
        let base64 = dialect("base64.channel.k8s.io", 1, true);
        for dialect in [binary, base64] {
            let parsed = dialect.parse(dialect.message(STDERR, b"a\0\xff"));
            assert_eq!(parsed, Some((STDERR, Bytes::from_static(b"a\0\xff"))));
            assert_eq!(dialect.parse(Message::Binary(Bytes::new())), None);
        }
        assert_eq!(base64.parse(Message::text("0???")), None);
        assert_eq!(base64.message(STDOUT, b"hi"), Message::text("1aGk="));
    }
}
