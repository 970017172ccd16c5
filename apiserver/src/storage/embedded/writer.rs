//! The one thread that writes: collects what waits, commits it with one fsync, then answers.
//!
//! Entry point: [`Writer::run`]. Nobody is answered, and nothing is visible, before the commit that
//! holds it is durable. Old revisions are swept between commits in slices short enough not to be felt.

use std::sync::Arc;
use std::time::Duration;

use component_base::clock::SharedClock;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::lock::DirectoryLock;
use super::{Limits, disk};
use crate::encryption::Encryption;
use crate::storage::hub::Hub;
use crate::storage::stage::Stage;
use crate::storage::{Author, Committed, Operation, Revision, StoreError};

/// Transactions in one commit: with 64 writers on the measured disk larger groups gained nothing, and a
/// commit of 512 large objects still takes only a few milliseconds.
const MAX_GROUP: usize = 512;

/// Rows swept between two commits: 1,000 took 7 ms at worst on the measured disk.
const SWEEP_ROWS: usize = 500;

/// How often the age of history is looked at while there are writes. A window of days needs no more.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);

/// Events between looks at the size of history: at 1.5 MiB each, an upstream object's limit, they are
/// 6 GB, at the usual few KB they are 20 MB.
const RETENTION_EVENTS: usize = 4_096;

/// What the writer is asked.
pub(super) enum Request {
    /// Commit a transaction.
    Transact(Transaction),
    /// Raise the floor.
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
    /// Write a slice of a prefix's versions again as they are encrypted now.
    Reseal(String, disk::reseal::Place, oneshot::Sender<Result<disk::reseal::Slice, StoreError>>),
    /// Empty the write-ahead log: it holds pages as they were.
    ForgetLog(oneshot::Sender<Result<(), StoreError>>),
    /// Finish.
    Close,
}

/// A transaction that waits.
pub(super) struct Transaction {
    pub(super) operations: Vec<Operation>,
    pub(super) author: Option<Arc<Author>>,
    pub(super) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

type Answer = (oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>);

/// The writer's state.
pub(super) struct Writer {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Connection,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) clock: SharedClock,
    pub(super) limits: Limits,
    /// How far superseded versions have been removed.
    pub(super) swept: Revision,
    /// Sweeping failed, and that was said.
    pub(super) sweep_failed: bool,
    /// When the history was last looked at, and the events since.
    pub(super) looked_at: Duration,
    pub(super) events_since: usize,
    /// The numbers of authors on the disk.
    pub(super) authors: disk::Authors,
    pub(super) encryption: Encryption,
    /// Released last, when the file is closed.
    pub(super) _lock: DirectoryLock,
}

impl Writer {
    /// Serves requests until told to close or until nobody can ask any more.
    pub(super) fn run(mut self) {
        while let Some(request) = self.next() {
            match request {
                Request::Transact(first) => {
                    if self.commit_group(first).is_break() {
                        break;
                    }
                }
                Request::Close => break,
                other => self.serve(other),
            }
            self.sweep_slice();
        }
        self.requests.close();
        self.hub.close();
    }

    /// Answers what is no transaction; a caller that went away does not want the answer.
    fn serve(&mut self, request: Request) {
        match request {
            Request::Compact(floor, answer) => drop(answer.send(self.raise_floor(floor))),
            Request::Reseal(prefix, after, answer) => {
                let slice = disk::reseal::slice(&mut self.connection, &self.encryption, &prefix, after);
                drop(answer.send(slice));
            }
            Request::ForgetLog(answer) => drop(answer.send(disk::reseal::forget_log(&self.connection))),
            Request::Transact(_) | Request::Close => {}
        }
    }

    /// The next request; sweeps while there is none, then waits without using the processor.
    fn next(&mut self) -> Option<Request> {
        while self.swept < self.hub.floor() {
            match self.requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    if !self.sweep_slice() {
                        break;
                    }
                }
            }
        }
        self.requests.blocking_recv()
    }

    /// Commits one transaction and whatever else waits behind it.
    fn commit_group(&mut self, first: Transaction) -> std::ops::ControlFlow<()> {
        let hub = Arc::clone(&self.hub);
        let mut stage = Stage::new(&hub);
        let mut answers: Vec<Answer> = Vec::new();
        let mut add = |answers: &mut Vec<Answer>, Transaction { operations, author, answer }| {
            answers.push((answer, stage.transact(operations, author)));
        };
        add(&mut answers, first);
        let mut after = None;
        while answers.len() < MAX_GROUP {
            match self.requests.try_recv() {
                Ok(Request::Transact(next)) => add(&mut answers, next),
                Ok(other) => {
                    after = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.settle(stage, answers);
        match after {
            Some(Request::Close) => std::ops::ControlFlow::Break(()),
            Some(other) => {
                self.serve(other);
                std::ops::ControlFlow::Continue(())
            }
            None => std::ops::ControlFlow::Continue(()),
        }
    }

    /// Makes the group durable, then visible, then answers.
    fn settle(&mut self, stage: Stage<'_>, answers: Vec<Answer>) {
        if let Err(error) = self.write(&stage) {
            for (answer, _) in answers {
                let _unheard = answer.send(Err(again(&error)));
            }
            return;
        }
        let events = stage.into_events();
        self.events_since += events.len();
        self.hub.apply(events);
        for (answer, outcome) in answers {
            // Whoever stopped waiting finds the outcome in the store.
            let _unheard = answer.send(outcome);
        }
        self.retain();
    }

    fn write(&mut self, stage: &Stage<'_>) -> Result<(), StoreError> {
        if stage.events().is_empty() {
            return Ok(());
        }
        let act = "write to the store";
        let transaction = self.connection.transaction().map_err(disk::failed(act))?;
        let time = self.clock.now().as_millisecond();
        let values = disk::sealed(stage.events(), &self.encryption)?;
        let authors = (stage.authors(), &mut self.authors);
        let written = disk::write(&transaction, (stage.events(), &values), authors, time)
            .and_then(|()| transaction.commit())
            .map_err(disk::failed(act));
        if written.is_err() {
            // Authors that were new in it have no number after all.
            self.authors = disk::Authors::load(&self.connection).unwrap_or_default();
        }
        written
    }

    fn raise_floor(&mut self, floor: Revision) -> Result<(), StoreError> {
        let floor = floor.min(self.hub.revision());
        if floor > self.hub.floor() {
            // On the disk first: a floor that readers know must hold after a restart too.
            disk::set_mark(&self.connection, disk::FLOOR, floor)
                .map_err(disk::failed("compact the store"))?;
            self.hub.raise_floor(floor);
        }
        Ok(())
    }

    /// Removes some of what compaction left behind; whether there was progress.
    fn sweep_slice(&mut self) -> bool {
        let floor = self.hub.floor();
        if self.swept >= floor {
            return false;
        }
        match disk::sweep::sweep(&mut self.connection, self.swept, floor, SWEEP_ROWS) {
            Ok(reached) => {
                (self.swept, self.sweep_failed) = (reached, false);
                true
            }
            Err(error) => {
                // Nothing is lost: the next write tries again. A disk that stays full is said once.
                if !self.sweep_failed {
                    tracing::warn!(%error, "could not compact the store");
                }
                self.sweep_failed = true;
                false
            }
        }
    }

    /// Raises the floor when history is older or larger than it may be.
    fn retain(&mut self) {
        let now = self.clock.monotonic();
        if self.events_since < RETENTION_EVENTS && now - self.looked_at < RETENTION_INTERVAL {
            return;
        }
        (self.looked_at, self.events_since) = (now, 0);
        let raised = self.due_floor().and_then(|floor| self.raise_floor(floor));
        if let Err(error) = raised {
            tracing::warn!(%error, "could not look after the store's history");
        }
    }

    fn due_floor(&self) -> Result<Revision, StoreError> {
        let (floor, newest) = (self.hub.floor(), self.hub.revision());
        let oldest_time = self.clock.now().as_millisecond() - self.limits.history.as_millis() as i64;
        let by_age = disk::past::revision_before(&self.connection, floor, newest, oldest_time)?;
        let pages =
            disk::pragma(&self.connection, "page_count")? - disk::pragma(&self.connection, "freelist_count")?;
        let used = (pages * disk::pragma(&self.connection, "page_size")?).cast_unsigned();
        // What is current cannot be compacted away; twice its size covers the pages' slack.
        let over = self.swept >= floor && used > self.limits.history_bytes + 2 * self.hub.current_bytes();
        let by_size = if over { floor + (newest - floor).div_ceil(4) } else { floor };
        Ok(by_age.max(by_size))
    }
}

/// The same failure for another caller of the group.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::Damaged(text) => StoreError::Damaged(text.clone()),
        other => {
            StoreError::Engine { act: "write to the store".to_owned(), source: other.to_string().into() }
        }
    }
}
