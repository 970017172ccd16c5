//! A stream that gives up on a peer that reads nothing: otherwise a stalled watcher would hold its
//! connection, and what is buffered for it, for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use component_base::clock::SharedClock;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Long enough for a person who paused `kubectl logs -f`, short enough to be no leak.
const STALL_LIMIT: Duration = Duration::from_secs(600);

/// A TCP stream whose writes fail once they made no progress for [`STALL_LIMIT`].
pub(super) struct Patient {
    stream: TcpStream,
    clock: SharedClock,
    stalled: Option<BoxFuture<'static, ()>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, clock: SharedClock) -> Self {
        Self { stream, clock, stalled: None }
    }

    /// Starts or checks the timer of a write that made no progress.
    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let timer = self.stalled.get_or_insert_with(|| self.clock.sleep(STALL_LIMIT));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing"))
    }

    fn watched<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() {
            return self.check(context).map(Err);
        }
        self.stalled = None;
        poll
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.watched(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
