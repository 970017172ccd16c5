//! The reference engine: everything in memory, nothing survives the process.
//!
//! Entry point: [`Memory::open`]. It keeps every revision until told to compact, so it is for tests and
//! as the model the other engines are compared with, not for a cluster that lives long.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::hub::{Hub, RingLimits, Subscription};
use super::stage::Stage;
use super::{Committed, Entry, EventStream, Operation, Page, Revision, Store, StoreError};

/// The engine.
pub struct Memory {
    hub: Arc<Hub>,
    /// Held from the first check of a transaction until it is visible.
    writer: Mutex<Writer>,
}

#[derive(PartialEq, Eq)]
enum Writer {
    Open,
    Closed,
}

impl Memory {
    /// An empty store.
    pub fn open() -> Arc<Self> {
        let limits = RingLimits { events: usize::MAX, bytes: usize::MAX };
        let hub = Hub::new(BTreeMap::new(), 0, 0, limits);
        Arc::new(Self { hub, writer: Mutex::new(Writer::Open) })
    }
}

/// Memory reaches back to the floor, so an older revision is a compacted one.
fn compacted(asked: Option<Revision>, hub: &Hub) -> StoreError {
    StoreError::Compacted { asked: asked.unwrap_or_default(), floor: hub.floor() }
}

#[async_trait]
impl Store for Memory {
    fn revision(&self) -> Revision {
        self.hub.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        self.hub.get(key, at)?.ok_or_else(|| compacted(at, &self.hub))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.hub.list(prefix, after, limit, at)?.ok_or_else(|| compacted(at, &self.hub))
    }

    async fn transact(&self, operations: Vec<Operation>) -> Result<Committed, StoreError> {
        let writer = self.writer.lock();
        if *writer == Writer::Closed {
            return Err(StoreError::Closed);
        }
        let mut stage = Stage::new(&self.hub);
        let committed = stage.transact(operations)?;
        self.hub.apply(stage.into_events());
        Ok(committed)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError> {
        let Subscription { recent, live, .. } = self.hub.subscribe(prefix, after)?;
        let recent = recent.ok_or_else(|| compacted(Some(after), &self.hub))?;
        Ok(stream::iter(recent.into_iter().map(Ok)).chain(live).boxed())
    }

    async fn compact(&self, floor: Revision) -> Result<(), StoreError> {
        self.hub.raise_floor(floor);
        Ok(())
    }

    async fn close(&self) {
        *self.writer.lock() = Writer::Closed;
        self.hub.close();
    }
}
