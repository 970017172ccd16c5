//! The reference engine: everything in memory, nothing survives the process.
//!
//! Entry point: [`Memory::open`]. It keeps every revision until told to compact, so it is for tests and
//! as the model the other engines are compared with, not for a cluster that lives long.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use component_base::clock::{RealClock, SharedClock};
use parking_lot::Mutex;

use super::hub::{Hub, RingLimits};
use super::past::{self, Past};
use super::stage::Stage;
use super::{
    Author, Committed, Entry, Event, EventStream, Operation, Page, Revision, Store, StoreError, Version,
};

/// The engine.
pub struct Memory {
    hub: Arc<Hub>,
    clock: SharedClock,
    /// Held from the first check of a transaction until it is visible.
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Writer {
    closed: bool,
    /// When each kept revision was committed, and by whom.
    notes: BTreeMap<Revision, (i64, Option<Arc<Author>>)>,
}

impl Memory {
    /// An empty store.
    pub fn open() -> Arc<Self> {
        Self::open_with(RealClock::shared())
    }

    /// An empty store with a clock of its own.
    pub fn open_with(clock: SharedClock) -> Arc<Self> {
        let limits = RingLimits { events: usize::MAX, bytes: usize::MAX };
        let hub = Hub::new(BTreeMap::new(), 0, 0, limits);
        Arc::new(Self { hub, clock, writer: Mutex::default() })
    }

    fn version(&self, event: Event) -> Option<Version> {
        let key = event.entry.as_ref().or(event.previous.as_ref()).map(|entry| Arc::clone(&entry.key))?;
        Some(self.noted(key, event.revision, event.entry))
    }

    fn noted(&self, key: Arc<str>, revision: Revision, entry: Option<Arc<Entry>>) -> Version {
        let note = self.writer.lock().notes.get(&revision).cloned();
        let (time, author) = note.map_or((None, None), |(time, author)| (Some(time), author));
        Version { key, revision, time, author, entry }
    }
}

/// Memory reaches back to the floor, so an older revision is a compacted one.
impl Past for Hub {
    async fn entry(&self, _key: &str, at: Revision) -> Result<Option<Arc<Entry>>, StoreError> {
        Err(StoreError::Compacted { asked: at, floor: self.floor() })
    }

    async fn page(&self, _: &str, _: Option<&str>, _: usize, at: Revision) -> Result<Page, StoreError> {
        Err(StoreError::Compacted { asked: at, floor: self.floor() })
    }

    async fn events(&self, _: &str, after: Revision, _: Revision) -> Result<Vec<Event>, StoreError> {
        Err(StoreError::Compacted { asked: after, floor: self.floor() })
    }
}

#[async_trait]
impl Store for Memory {
    fn revision(&self) -> Revision {
        self.hub.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        past::get(&self.hub, &*self.hub, key, at).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        past::list(&self.hub, &*self.hub, (prefix, after), limit, at).await
    }

    async fn transact_as(
        &self,
        operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError> {
        let mut writer = self.writer.lock();
        if writer.closed {
            return Err(StoreError::Closed);
        }
        let mut stage = Stage::new(&self.hub);
        let committed = stage.transact(operations, author.clone())?;
        if !stage.events().is_empty() {
            writer.notes.insert(committed.revision, (self.clock.now().as_millisecond(), author));
        }
        self.hub.apply(stage.into_events());
        Ok(committed)
    }

    async fn versions(&self, key: &str, limit: usize) -> Result<Vec<Version>, StoreError> {
        let (stood, events) = self.hub.told_of(key);
        let first = stood.map(|entry| self.noted(Arc::clone(&entry.key), entry.mod_revision, Some(entry)));
        let mut all: Vec<Version> = first.into_iter().collect();
        all.extend(events.into_iter().filter_map(|event| self.version(event)));
        Ok(all.split_off(all.len().saturating_sub(limit)))
    }

    async fn removals(
        &self,
        prefix: &str,
        after: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let found = self.hub.removed(prefix, since).into_iter().filter_map(|event| self.version(event));
        // A later removal of the same key takes the place of an earlier one.
        let last: BTreeMap<Arc<str>, Version> =
            found.map(|version| (Arc::clone(&version.key), version)).collect();
        let wanted = last.into_values().filter(|version| after.is_none_or(|after| &*version.key > after));
        Ok(wanted.take(limit).collect())
    }

    async fn revision_at(&self, time: i64) -> Result<Revision, StoreError> {
        let writer = self.writer.lock();
        let floor = self.hub.floor();
        let found = writer.notes.iter().rev().find(|(_, (written, _))| *written <= time);
        let found = found.map(|(revision, _)| *revision).filter(|revision| *revision >= floor);
        found.ok_or_else(|| past::too_early(floor))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError> {
        past::watch(&self.hub, &*self.hub, prefix, after).await
    }

    async fn compact(&self, floor: Revision) -> Result<(), StoreError> {
        self.hub.raise_floor(floor);
        Ok(())
    }

    async fn close(&self) {
        self.writer.lock().closed = true;
        self.hub.close();
    }
}
