//! Streams over one SPDY connection, the server's side. Entry point: [`Session::start`].
//!
//! Two tasks: one reads frames and hands them to their streams, one writes; both end with the session. A
//! stream nobody reads holds up the others of its connection, as it does in Kubernetes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::spdy::{Decoder, Encoder, Frame, Headers, SpdyError};

/// Pieces of data waiting for the reader of one stream.
const STREAM_QUEUE: usize = 64;
/// Frames waiting for the connection.
const FRAME_QUEUE: usize = 64;
/// New streams waiting to be looked at.
const ACCEPT_QUEUE: usize = 32;
/// Streams a client may have open at once.
const STREAMS_MAX: usize = 10_000;
/// RST_STREAM's "cancel".
const CANCEL: u32 = 5;
/// RST_STREAM's "refused stream".
const REFUSED: u32 = 3;

/// A connection and its streams.
pub struct Session {
    incoming: mpsc::Receiver<SpdyStream>,
    gone: CancellationToken,
    _tasks: JoinSet<()>,
}

/// A stream the client opened; it has been accepted.
#[derive(Debug)]
pub struct SpdyStream {
    /// Its number.
    pub id: u32,
    /// What the client wrote about it.
    pub headers: Headers,
    /// What it sends; ends when it is finished, reset, or gone.
    pub data: mpsc::Receiver<Bytes>,
    /// The way back.
    pub writer: StreamWriter,
    /// Completes when the client wants neither direction any more, or is gone.
    pub reset: oneshot::Receiver<()>,
}

/// Writes to a stream.
#[derive(Debug, Clone)]
pub struct StreamWriter {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

impl StreamWriter {
    /// Sends data; `false` once the connection is gone.
    pub async fn write(&self, bytes: Bytes) -> bool {
        self.frames.send(Frame::Data { id: self.id, fin: false, bytes }).await.is_ok()
    }

    /// Ends this direction.
    pub async fn finish(&self) {
        let last = Frame::Data { id: self.id, fin: true, bytes: Bytes::new() };
        // A connection that is gone needs no end.
        drop(self.frames.send(last).await);
    }

    /// Ends both directions at once.
    pub async fn reset(&self) {
        drop(self.frames.send(Frame::Reset { id: self.id, status: CANCEL }).await);
    }
}

impl Session {
    /// Takes over a connection on which the upgrade has been answered.
    pub fn start(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (read, write) = tokio::io::split(io);
        let (frames, frames_out) = mpsc::channel(FRAME_QUEUE);
        let (accept, incoming) = mpsc::channel(ACCEPT_QUEUE);
        let gone = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let reader = Reader { streams: BTreeMap::new(), last: 0, frames, accept };
        let ended = gone.clone().drop_guard();
        tasks.spawn(async move {
            let _ended = ended;
            if let Err(error) = reader.run(BufReader::new(read)).await {
                tracing::debug!(%error, "SPDY connection ended");
            }
        });
        tasks.spawn(async move {
            if let Err(error) = write_frames(write, frames_out).await {
                tracing::debug!(%error, "SPDY connection broke");
            }
        });
        Self { incoming, gone, _tasks: tasks }
    }

    /// The next stream the client opens; `None` once the connection is gone.
    pub async fn accept(&mut self) -> Option<SpdyStream> {
        self.incoming.recv().await
    }

    /// Completes when the client has closed the connection.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

/// An open stream, seen from the connection.
struct Entry {
    /// `None` once the client has finished.
    data: Option<mpsc::Sender<Bytes>>,
    /// Closed once the server has done with the stream.
    reset: oneshot::Sender<()>,
}

struct Reader {
    streams: BTreeMap<u32, Entry>,
    last: u32,
    frames: mpsc::Sender<Frame>,
    accept: mpsc::Sender<SpdyStream>,
}

impl Reader {
    async fn run(mut self, mut from: impl AsyncRead + Unpin) -> Result<(), SpdyError> {
        let mut decoder = Decoder::default();
        while let Some(frame) = decoder.read(&mut from).await? {
            match frame {
                Frame::SynStream { id, fin, headers } => self.open(id, fin, headers).await,
                Frame::Data { id, fin, bytes } => self.data(id, fin, bytes).await,
                Frame::Reset { id, .. } => {
                    if let Some(entry) = self.streams.remove(&id) {
                        // A stream that is done with needs no reset.
                        let _done = entry.reset.send(()).is_err();
                    }
                }
                // Odd numbers are the client's own pings.
                Frame::Ping(id) if id % 2 == 1 => drop(self.frames.send(Frame::Ping(id)).await),
                Frame::GoAway { .. } | Frame::Ping(_) | Frame::SynReply { .. } | Frame::Ignored => {}
            }
        }
        Ok(())
    }

    async fn data(&mut self, id: u32, fin: bool, bytes: Bytes) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if let Some(to) = &entry.data
            && !bytes.is_empty()
        {
            // A stream that nobody reads any more: its data goes nowhere.
            drop(to.send(bytes).await);
        }
        if fin {
            entry.data = None;
        }
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) {
        self.streams.retain(|_, entry| !entry.reset.is_closed());
        if id.is_multiple_of(2) || id <= self.last || self.streams.len() >= STREAMS_MAX {
            drop(self.frames.send(Frame::Reset { id, status: REFUSED }).await);
            return;
        }
        self.last = id;
        let (sender, data) = mpsc::channel(STREAM_QUEUE);
        let (on_reset, reset) = oneshot::channel();
        self.streams.insert(id, Entry { data: (!fin).then_some(sender), reset: on_reset });
        drop(self.frames.send(Frame::SynReply { id }).await);
        let writer = StreamWriter { id, frames: self.frames.clone() };
        drop(self.accept.send(SpdyStream { id, headers, data, writer, reset }).await);
    }
}

/// Writes what is queued together, so that many small frames take few system calls.
async fn write_frames(
    mut to: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
) -> Result<(), SpdyError> {
    let mut encoder = Encoder::default();
    let mut batch = Vec::with_capacity(FRAME_QUEUE);
    let mut bytes = Vec::new();
    while frames.recv_many(&mut batch, FRAME_QUEUE).await > 0 {
        bytes.clear();
        for frame in batch.drain(..) {
            encoder.encode(&frame, &mut bytes)?;
        }
        to.write_all(&bytes).await.map_err(SpdyError::Connection)?;
        to.flush().await.map_err(SpdyError::Connection)?;
    }
    Ok(())
}
