//! A stream that gives up on a peer that reads nothing: otherwise a stalled watcher would hold its
//! connection, and what is buffered for it, for ever. A peer that still sends when we have said our last
//! word gets to read it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use component_base::clock::SharedClock;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long what a peer still sends is taken and forgotten: a socket closed with unread bytes resets the
/// connection, and the peer loses the answer that said why (Go's `rstAvoidanceDelay`).
const LINGER: Duration = Duration::from_millis(500);

/// A TCP stream whose writes fail once they made no progress for `stall`.
pub(super) struct Patient {
    stream: TcpStream,
    clock: SharedClock,
    stall: Duration,
    stalled: Option<BoxFuture<'static, ()>>,
    /// Set once our side is closed.
    lingering: Option<BoxFuture<'static, ()>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, clock: SharedClock, stall: Duration) -> Self {
        Self { stream, clock, stall, stalled: None, lingering: None }
    }

    /// Starts or checks the timer of a write that made no progress.
    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let timer = self.stalled.get_or_insert_with(|| self.clock.sleep(self.stall));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing"))
    }

    /// Reads and forgets until the peer closes, too.
    fn forget(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        loop {
            if self.lingering.as_mut().is_none_or(|timer| timer.as_mut().poll(context).is_ready()) {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
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
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.lingering = Some(self.clock.sleep(LINGER));
        }
        self.forget(context).map(Ok)
    }
}
