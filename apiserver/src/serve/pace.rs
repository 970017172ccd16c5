//! How long a connection may do nothing: a peer that sends half a header, or asks nothing, holds its
//! connection no longer than upstream's server lets it.
//!
//! Entry points: [`Pace`], told what happens on a connection, and [`Pace::overdue`], which completes when
//! too little does. A connection that answers a request, a watch included, is never overdue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use component_base::clock::SharedClock;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::refusal;
use crate::Timeouts;

/// What one connection is doing.
pub(super) struct Pace {
    clock: SharedClock,
    timeouts: Timeouts,
    state: Mutex<State>,
    /// Who waits for the connection to be overdue; streams end in tasks of their own.
    waker: AtomicWaker,
}

struct State {
    /// Requests whose answers are not finished.
    requests: usize,
    /// A header has begun; or it is the connection's first, which is as urgent.
    in_header: bool,
    /// When this began, on the monotonic clock.
    since: Duration,
}

impl Pace {
    /// A connection that has just shaken hands. Of HTTP/1.1 a request is awaited at once.
    pub(super) fn new(clock: SharedClock, timeouts: Timeouts, in_header: bool) -> Arc<Self> {
        let since = clock.monotonic();
        let state = Mutex::new(State { requests: 0, in_header, since });
        Arc::new(Self { clock, timeouts, state, waker: AtomicWaker::new() })
    }

    /// Bytes arrived: between requests they begin a header.
    fn received(&self) {
        let mut state = self.state.lock();
        if state.requests == 0 && !state.in_header {
            state.in_header = true;
            state.since = self.clock.monotonic();
        }
    }

    /// Whether a header is awaited or has begun.
    pub(super) fn in_header(&self) -> bool {
        self.state.lock().in_header
    }

    /// A request is understood; it lasts until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        let mut state = self.state.lock();
        state.requests += 1;
        state.in_header = false;
        Busy(Arc::clone(self))
    }

    /// When the connection will be overdue; `None` while it answers.
    fn due(&self) -> Option<Duration> {
        let state = self.state.lock();
        let limit = if state.in_header { self.timeouts.read_header } else { self.timeouts.idle };
        (state.requests == 0).then(|| state.since.saturating_add(limit))
    }

    /// Completes once the connection is overdue. Must be polled with the connection, which is what changes
    /// the state.
    pub(super) fn overdue(self: &Arc<Self>) -> Overdue {
        Overdue { pace: Arc::clone(self), timer: None }
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Pace>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.since = self.0.clock.monotonic();
            drop(state);
            self.0.waker.wake();
        }
    }
}

/// See [`Pace::overdue`].
pub(super) struct Overdue {
    pace: Arc<Pace>,
    /// The time it is set to, and the timer. One that is early is set anew; most requests touch none.
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl Future for Overdue {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.pace.waker.register(context.waker());
        loop {
            let Some(due) = self.pace.due() else { return Poll::Pending };
            let left = due.saturating_sub(self.pace.clock.monotonic());
            if left.is_zero() {
                return Poll::Ready(());
            }
            let late = self.timer.as_ref().is_none_or(|(at, _)| *at > due);
            if late {
                self.timer = Some((due, self.pace.clock.sleep(left)));
            }
            if let Some((_, timer)) = &mut self.timer {
                ready!(timer.as_mut().poll(context));
                self.timer = None;
            }
        }
    }
}

/// A stream of HTTP/1.1 that tells the pace what arrives, and puts words to refusals.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: &Arc<Pace>) -> Self {
        Self { stream, pace: Arc::clone(pace) }
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Sends words instead of so many bytes. They are few and the last: TLS takes them at once.
    fn refuse(
        &mut self,
        context: &mut Context<'_>,
        words: &[u8],
        instead_of: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_write(context, words))?;
        Poll::Ready(Ok(instead_of))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pace.received();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match refusal::in_words(bytes).filter(|_| self.pace.in_header()) {
            Some(words) => self.refuse(context, words.as_bytes(), bytes.len()),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers {
            [only] => self.poll_write(context, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, buffers),
        }
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

/// The body of an answer; the request lasts as long as it.
pub(super) struct Answer {
    body: Body,
    _busy: Busy,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use component_base::clock::FakeClock;
    use futures::FutureExt as _;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        read_header: Duration::from_secs(30),
        idle: Duration::from_secs(90),
        request: Duration::ZERO,
        stall: Duration::ZERO,
    };

    #[test]
    fn what_is_waited_for_decides_how_long() {
        let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let pace = Pace::new(shared, TIMEOUTS, true);
        let mut overdue = pace.overdue();
        let mut after = |seconds, pace: &Arc<Pace>, expect: bool| {
            clock.advance(Duration::from_secs(seconds));
            assert_eq!((&mut overdue).now_or_never().is_some(), expect, "due {:?}", pace.due());
        };
        after(29, &pace, false);
        let busy = pace.request();
        after(1000, &pace, false);
        drop(busy);
        after(89, &pace, false);
        pace.received();
        after(1, &pace, false);
        pace.received();
        after(28, &pace, false);
        // What dribbles in does not begin the header anew.
        after(1, &pace, true);
    }
}
