//! What waits for one watcher: a bounded queue that never makes a writer wait.
//!
//! Entry points: [`Mailbox::push`] (the writer) and [`Mailbox::poll`] (the watcher). A mailbox that
//! overflows forgets what it holds and reports [`StoreError::Compacted`], which reaches the client as
//! 410 Gone; it then lists again, so nothing is missed and nothing is kept for a watcher that sleeps.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::{Event, Revision, StoreError};

/// Events that may wait for one watcher. Bounds the harm of a watcher that stopped reading; a burst
/// of 16,384 changes is more than one group commit and more than any rollout makes at once.
const MAX_EVENTS: usize = 16_384;

/// Bytes that may wait for one watcher, should its objects be large (upstream allows 1.5 MiB each).
const MAX_BYTES: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Overflowed,
    Closed,
    Ended,
}

struct Inner {
    queue: VecDeque<Event>,
    bytes: usize,
    /// Revision of the newest event handed out, or where the watch began.
    seen: Revision,
    /// Revision of the newest event offered.
    offered: Revision,
    state: State,
    waker: Option<Waker>,
}

/// The queue of one watcher.
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
}

/// Bytes an event keeps alive.
pub(super) fn weight(event: &Event) -> usize {
    [&event.entry, &event.previous].into_iter().flatten().map(|entry| entry.bytes.len()).sum()
}

impl Mailbox {
    /// An empty mailbox of a watch that begins after `seen`.
    pub(super) fn new(seen: Revision) -> Self {
        let inner =
            Inner { queue: VecDeque::new(), bytes: 0, seen, offered: seen, state: State::Open, waker: None };
        Self { inner: Mutex::new(inner) }
    }

    /// Adds an event, or marks the watcher as too slow. The waker is returned so that the caller can
    /// wake it once it holds no lock.
    pub(super) fn push(&self, event: &Event) -> Option<Waker> {
        let mut inner = self.inner.lock();
        if inner.state != State::Open {
            return None;
        }
        inner.offered = event.revision;
        inner.bytes += weight(event);
        if inner.queue.len() >= MAX_EVENTS || (inner.bytes > MAX_BYTES && !inner.queue.is_empty()) {
            inner.state = State::Overflowed;
            inner.queue = VecDeque::new();
        } else {
            inner.queue.push_back(event.clone());
        }
        inner.waker.take()
    }

    /// There is a gap before `revision` that this watcher must know of.
    pub(super) fn cut_off(&self, revision: Revision) -> Option<Waker> {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.offered = revision;
            inner.state = State::Overflowed;
            inner.queue = VecDeque::new();
        }
        inner.waker.take()
    }

    /// The store is closing: what waits is still delivered, then the stream ends.
    pub(super) fn close(&self) -> Option<Waker> {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.state = State::Closed;
        }
        inner.waker.take()
    }

    /// The next event, or the one error that ends the stream.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<Event, StoreError>>> {
        let mut inner = self.inner.lock();
        if let Some(event) = inner.queue.pop_front() {
            inner.bytes = inner.bytes.saturating_sub(weight(&event));
            inner.seen = event.revision;
            return Poll::Ready(Some(Ok(event)));
        }
        let error = match inner.state {
            State::Open => {
                inner.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            State::Overflowed => StoreError::Compacted { asked: inner.seen, floor: inner.offered },
            State::Closed => StoreError::Closed,
            State::Ended => return Poll::Ready(None),
        };
        inner.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }
}
