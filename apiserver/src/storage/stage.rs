//! Transactions that are decided but not yet durable: one group commit in the making.
//!
//! Entry point: [`Stage::transact`]. A transaction whose expectation fails leaves no trace; those
//! after it see the effects of those before it. Nothing is visible to readers until [`Hub::apply`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::hub::Hub;
use super::{Author, Change, Committed, Draft, Entry, Event, Expect, Operation, Revision, StoreError};

/// Operations in one transaction; the embedded engine numbers them in 16 bits.
const MAX_OPERATIONS: usize = 1 << 16;

/// Bytes of keys and objects in one transaction: etcd's `--max-request-bytes`, on which upstream's limit
/// for an object rests.
pub(super) const MAX_BYTES: usize = 1536 * 1024;

/// What etcd, and so upstream's API server, says of a larger one.
pub(super) const TOO_LARGE: &str = "etcdserver: request is too large";

/// A group of transactions on top of what the hub shows.
pub(super) struct Stage<'a> {
    hub: &'a Hub,
    pending: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
    revision: Revision,
    events: Vec<Event>,
    /// Who made each event.
    authors: Vec<Option<Arc<Author>>>,
}

impl<'a> Stage<'a> {
    /// An empty group. Only the hub's one writer may make one.
    pub(super) fn new(hub: &'a Hub) -> Self {
        Self {
            hub,
            pending: BTreeMap::new(),
            revision: hub.revision(),
            events: Vec::new(),
            authors: Vec::new(),
        }
    }

    /// Adds one transaction, or refuses it as a whole.
    pub(super) fn transact(
        &mut self,
        operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError> {
        let operations = operations.into_iter().map(|operation| {
            let current = self.current(&operation.key);
            operation.settled(current)
        });
        let operations = operations.collect::<Result<Vec<_>, _>>()?;
        let found = self.check(&operations)?;
        if operations.iter().all(|operation| matches!(operation.change, Change::Check)) {
            return Ok(Committed { revision: self.revision, entries: found });
        }
        let revision = self.revision + 1;
        let (events_before, mut entries) = (self.events.len(), Vec::with_capacity(operations.len()));
        for (operation, previous) in operations.into_iter().zip(found) {
            entries.push(match operation.change {
                Change::Check | Change::Amend(_) => previous,
                Change::Put(draft) => Some(self.put(operation.key, &draft, previous, revision)),
                Change::Delete => self.delete(previous, revision),
            });
        }
        // Deleting what is not there changes nothing, so it takes no revision.
        if self.events.len() > events_before {
            self.revision = revision;
            self.authors.resize(self.events.len(), author);
        }
        Ok(Committed { revision: self.revision, entries })
    }

    /// What the group did, in order.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Who did each of [`Self::events`].
    pub(super) fn authors(&self) -> &[Option<Arc<Author>>] {
        &self.authors
    }

    /// Ends the group.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// What stands at each operation's key, if all expectations hold.
    fn check(&self, operations: &[Operation]) -> Result<Vec<Option<Arc<Entry>>>, StoreError> {
        if has_repeated_key(operations) || operations.len() > MAX_OPERATIONS {
            return Err(StoreError::Engine {
                act: "transact".to_owned(),
                source: "a transaction names a key twice or has too many operations".into(),
            });
        }
        if operations.iter().map(size).sum::<usize>() > MAX_BYTES {
            return Err(StoreError::TooLarge(TOO_LARGE.to_owned()));
        }
        operations.iter().map(|operation| self.expect(operation)).collect()
    }

    /// What stands at a key after what was staged.
    fn current(&self, key: &str) -> Option<Arc<Entry>> {
        match self.pending.get(key) {
            Some(pending) => pending.clone(),
            None => self.hub.current(key),
        }
    }

    fn expect(&self, operation: &Operation) -> Result<Option<Arc<Entry>>, StoreError> {
        let current = self.current(&operation.key);
        let holds = match operation.expect {
            Expect::Absent => current.is_none(),
            Expect::Present => current.is_some(),
            Expect::Revision(revision) => {
                current.as_ref().is_some_and(|entry| entry.mod_revision == revision)
            }
        };
        if holds { Ok(current) } else { Err(StoreError::Conflict { key: operation.key.clone(), current }) }
    }

    fn put(
        &mut self,
        key: String,
        draft: &Draft,
        previous: Option<Arc<Entry>>,
        revision: Revision,
    ) -> Arc<Entry> {
        let (key, create_revision) = match &previous {
            Some(previous) => (previous.key.clone(), previous.create_revision),
            None => (key.into(), revision),
        };
        let entry = Arc::new(Entry {
            key: Arc::clone(&key),
            bytes: splice(draft, revision),
            create_revision,
            mod_revision: revision,
            index: OnceLock::new(),
        });
        self.pending.insert(key, Some(Arc::clone(&entry)));
        self.events.push(Event { revision, entry: Some(Arc::clone(&entry)), previous });
        entry
    }

    fn delete(&mut self, previous: Option<Arc<Entry>>, revision: Revision) -> Option<Arc<Entry>> {
        let removed = previous?;
        self.pending.insert(Arc::clone(&removed.key), None);
        self.events.push(Event { revision, entry: None, previous: Some(Arc::clone(&removed)) });
        Some(removed)
    }
}

/// Whether a key appears twice.
pub(super) fn has_repeated_key(operations: &[Operation]) -> bool {
    let mut seen = BTreeSet::new();
    operations.len() > 1 && !operations.iter().all(|operation| seen.insert(operation.key.as_str()))
}

/// Bytes an operation brings.
fn size(operation: &Operation) -> usize {
    let value = match &operation.change {
        Change::Put(draft) => draft.head.len() + draft.tail.len(),
        Change::Delete | Change::Amend(_) | Change::Check => 0,
    };
    operation.key.len() + value
}

/// The object's bytes at a revision.
pub(super) fn splice(draft: &Draft, revision: Revision) -> Bytes {
    let revision = revision.to_string();
    let mut bytes = BytesMut::with_capacity(draft.head.len() + revision.len() + draft.tail.len());
    bytes.put_slice(&draft.head);
    bytes.put_slice(revision.as_bytes());
    bytes.put_slice(&draft.tail);
    bytes.freeze()
}
