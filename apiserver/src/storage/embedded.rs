//! The default engine: one SQLite file, one writer with group commit, reads from memory.
//!
//! Entry point: [`Embedded::open`]. Current entries and recent events are in memory ([`super::hub`]), so
//! only reads of the past and watches older than the ring touch the disk. What was answered survives
//! `kill -9` and loss of power; `sqlite3 store.db` can look at it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::hub::{Hub, RingLimits};
use super::past::{self, Past};
use super::{
    Author, Change, Committed, Entry, Event, EventStream, Operation, Page, Resealed, Revision, Store,
    StoreError, Version,
};
use crate::encryption::Encryption;

mod disk;
mod lock;
mod wal;
mod writer;

pub mod snapshot;

use lock::DirectoryLock;
use writer::{Request, Transaction, Writer};

/// Requests that may wait for the writer before callers do: two groups, so one fills while one commits.
const QUEUE: usize = 1_024;

/// How much the engine keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long superseded revisions stay readable.
    pub history: Duration,
    /// Bytes of file beyond what current objects need, after which older history goes sooner.
    pub history_bytes: u64,
    /// Recent events in memory.
    pub ring_events: usize,
    /// Bytes that recent events keep in memory.
    pub ring_bytes: usize,
    /// Size the file may have, in pages of 4 KiB; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl Default for Limits {
    /// A week, so that Monday can look at last Monday; 1 GiB, which a small machine's disk can spare;
    /// 8,192 events and 16 MiB, enough for every watcher of a healthy cluster and small beside the 60 MB
    /// an idle node may use.
    fn default() -> Self {
        Self {
            history: Duration::from_hours(7 * 24),
            history_bytes: 1 << 30,
            ring_events: 8_192,
            ring_bytes: 16 << 20,
            max_pages: None,
        }
    }
}

/// The engine.
pub struct Embedded {
    hub: Arc<Hub>,
    requests: mpsc::Sender<Request>,
    /// For history; gone once the store is closed.
    reader: Arc<Mutex<Option<Connection>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    encryption: Encryption,
}

impl Embedded {
    /// Opens the store in `directory`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when another process has it (the text names its pid) or the file cannot be
    /// opened, [`StoreError::Version`] when another version wrote it, [`StoreError::Damaged`] when a
    /// current value is not what was written, or what was acknowledged is not there any more.
    pub fn open(directory: &Path, clock: SharedClock) -> Result<Arc<Self>, StoreError> {
        Self::open_with(directory, clock, Limits::default())
    }

    /// Opens the store with limits of its own.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(directory: &Path, clock: SharedClock, limits: Limits) -> Result<Arc<Self>, StoreError> {
        Self::open_sealed(directory, clock, limits, Encryption::default())
    }

    /// Opens a store whose values are encrypted. Those that no key opens are refused when they are asked for.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_sealed(
        directory: &Path,
        clock: SharedClock,
        limits: Limits,
        encryption: Encryption,
    ) -> Result<Arc<Self>, StoreError> {
        let engine = |source: std::io::Error| StoreError::Engine {
            act: format!("open the store in {}", directory.display()),
            source: source.into(),
        };
        std::fs::create_dir_all(directory).map_err(engine)?;
        let lock = DirectoryLock::take(directory)?;
        let path = directory.join("store.db");
        let place = |error| located(error, &path);
        wal::check(&directory.join("store.db-wal"))?;
        let connection = disk::open_writer(&path).map_err(place)?;
        if let Some(pages) = limits.max_pages {
            connection
                .pragma_update(None, "max_page_count", pages)
                .map_err(disk::failed("limit the store's size"))?;
        }
        let mut loaded = disk::load(&connection).map_err(place)?;
        for entry in loaded.current.values_mut() {
            // One that no key opens stays as it is: it is refused when it is asked for.
            if let Ok(opened) = Arc::clone(entry).opened(&encryption) {
                *entry = opened;
            }
        }
        let authors = disk::Authors::load(&connection)?;
        let reader = disk::open_reader(&path)?;
        let ring = RingLimits { events: limits.ring_events, bytes: limits.ring_bytes };
        let hub = Hub::new(loaded.current, loaded.revision, loaded.floor, ring);
        let (requests, receiver) = mpsc::channel(QUEUE);
        let writer = Writer {
            hub: Arc::clone(&hub),
            connection,
            requests: receiver,
            looked_at: clock.monotonic(),
            clock,
            limits,
            swept: loaded.swept,
            sweep_failed: false,
            events_since: 0,
            authors,
            encryption: encryption.clone(),
            _lock: lock,
        };
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(|| writer.run()).map_err(engine)?;
        let (reader, thread) = (Arc::new(Mutex::new(Some(reader))), Mutex::new(Some(thread)));
        Ok(Arc::new(Self { hub, requests, reader, thread, encryption }))
    }

    /// Reads history off the async threads, in one snapshot in which `at` is readable.
    async fn history<T: Send + 'static>(
        &self,
        at: Revision,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Arc::clone(&self.reader);
        let task = tokio::task::spawn_blocking(move || match &*reader.lock() {
            Some(connection) => disk::snapshot(connection, at, read),
            None => Err(StoreError::Closed),
        });
        task.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_closed| StoreError::Closed)?;
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Adds where the file is damaged, if SQLite can tell.
fn located(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Damaged(text) => match disk::places(path) {
            places if places.is_empty() => StoreError::Damaged(format!("{}: {text}", path.display())),
            places => StoreError::Damaged(format!("{}: {text}; damaged: {places}", path.display())),
        },
        other => other,
    }
}

impl Past for Embedded {
    fn seals(&self) -> Encryption {
        self.encryption.clone()
    }

    async fn entry(&self, key: &str, at: Revision) -> Result<Option<Arc<Entry>>, StoreError> {
        let key = key.to_owned();
        self.history(at, move |disk| disk::past::entry_at(disk, &key, at)).await
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Revision,
    ) -> Result<Page, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.history(at, move |disk| disk::past::page_at(disk, &prefix, after.as_deref(), limit, at)).await
    }

    async fn events(&self, prefix: &str, after: Revision, upto: Revision) -> Result<Vec<Event>, StoreError> {
        let prefix = prefix.to_owned();
        self.history(after, move |disk| disk::past::events_between(disk, &prefix, after, upto)).await
    }
}

#[async_trait]
impl Store for Embedded {
    fn revision(&self) -> Revision {
        self.hub.revision()
    }

    fn encryption(&self) -> Encryption {
        self.encryption.clone()
    }

    async fn reseal(&self) -> Result<Resealed, StoreError> {
        let mut all = Resealed::default();
        for prefix in self.encryption.prefixes() {
            let mut after = disk::reseal::Place::default();
            loop {
                let slice = self.ask(|answer| Request::Reseal(prefix.clone(), after, answer)).await?;
                all.rewritten += slice.found.rewritten;
                all.unreadable += slice.found.unreadable;
                match slice.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
        if all.rewritten > 0 {
            self.ask(Request::ForgetLog).await?;
        }
        Ok(all)
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        past::get(&self.hub, self, key, at).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        past::list(&self.hub, self, (prefix, after), limit, at).await
    }

    async fn transact_as(
        &self,
        operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError> {
        for operation in &operations {
            if let Change::Put(_) | Change::Amend(_) = operation.change {
                self.encryption.writable(&operation.key)?;
            }
        }
        self.ask(|answer| Request::Transact(Transaction { operations, author, answer })).await
    }

    async fn versions(&self, key: &str, limit: usize) -> Result<Vec<Version>, StoreError> {
        let key = key.to_owned();
        let versions =
            self.history(Revision::MAX, move |disk| disk::past::versions(disk, &key, limit)).await?;
        past::opened_versions(versions, &self.encryption)
    }

    async fn removals(
        &self,
        prefix: &str,
        after: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let read =
            move |disk: &Connection| disk::past::removals(disk, (&prefix, after.as_deref()), since, limit);
        past::opened_versions(self.history(Revision::MAX, read).await?, &self.encryption)
    }

    async fn revision_at(&self, time: i64) -> Result<Revision, StoreError> {
        self.history(Revision::MAX, move |disk| disk::past::revision_at(disk, time)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError> {
        past::watch(&self.hub, self, prefix, after).await
    }

    async fn compact(&self, floor: Revision) -> Result<(), StoreError> {
        self.ask(|answer| Request::Compact(floor, answer)).await
    }

    async fn close(&self) {
        // The last connection to close folds the log into the file, and only a writer can do that.
        self.reader.lock().take();
        // A writer that has ended already needs no telling.
        let _ended = self.requests.send(Request::Close).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A writer that panicked has nothing left to flush.
            let _panicked = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
