//! Where objects are kept: a revisioned key-value store with watches.
//!
//! One counter, the revision, numbers all transactions of all kinds; an object's
//! `metadata.resourceVersion` is the revision that wrote it. Engines pass one contract suite
//! (`tests/store_contract.rs`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::encryption::{Encryption, SealError, is_sealed};

mod hub;
mod mailbox;
mod past;
mod stage;

pub mod embedded;
pub mod etcd;
pub mod memory;

/// Number of a committed transaction; 0 means "none yet".
pub type Revision = u64;

/// A stored object at one revision. Bytes are encoded once, at commit, and already contain
/// `metadata.resourceVersion`.
#[derive(Debug)]
pub struct Entry {
    /// `/registry/...`
    pub key: Arc<str>,
    /// JSON of the whole object; as stored if no key opens it ([`Entry::is_sealed`]).
    pub bytes: Bytes,
    /// Revision that created the key.
    pub create_revision: Revision,
    /// Revision that wrote these bytes.
    pub mod_revision: Revision,
    /// Labels and fields for selectors, parsed from `bytes` at first use.
    pub index: OnceLock<api::object::Index>,
}

impl Entry {
    /// Whether this is an encrypted object that could not be opened.
    pub fn is_sealed(&self) -> bool {
        is_sealed(&self.bytes)
    }

    /// The entry in clear.
    fn opened(self: Arc<Self>, encryption: &Encryption) -> Result<Arc<Self>, StoreError> {
        if !self.is_sealed() {
            return Ok(self);
        }
        let bytes = encryption.open(&self.key, self.bytes.clone())?;
        let Self { create_revision, mod_revision, .. } = *self;
        let key = Arc::clone(&self.key);
        Ok(Arc::new(Self { key, bytes, create_revision, mod_revision, index: OnceLock::new() }))
    }
}

/// An encoded object that waits for its revision: the engine writes `head`, the revision in decimal, `tail`.
#[derive(Debug, Clone)]
pub struct Draft {
    /// JSON up to and including `"resourceVersion":"`.
    pub head: Bytes,
    /// JSON from the closing quote on.
    pub tail: Bytes,
    /// How long after this write the key is of use; a store that [`Store::expires`] keys removes it then.
    pub lifetime: Option<Duration>,
}

/// What must hold for an operation to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key's `mod_revision` is this.
    Revision(Revision),
}

/// What to do to a key.
#[derive(Debug, Clone)]
pub enum Change {
    /// Write.
    Put(Draft),
    /// Remove.
    Delete,
    /// Write what becomes of what stands there when it is this transaction's turn, whatever others wrote meanwhile.
    Amend(Amendment),
    /// Only check the expectation.
    Check,
}

/// What becomes of an entry; `None` if this cannot be done to it, which is a conflict.
#[derive(Clone)]
pub struct Amendment(Arc<Amend>);

type Amend = dyn Fn(&Entry) -> Option<Draft> + Send + Sync;

impl Amendment {
    /// Calls `change` when it is known what stands at the key, perhaps several times.
    pub fn new(change: impl Fn(&Entry) -> Option<Draft> + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }
}

impl std::fmt::Debug for Amendment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Amendment")
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The key.
    pub key: String,
    /// Its precondition.
    pub expect: Expect,
    /// The change.
    pub change: Change,
}

impl Operation {
    /// The operation where `current` stands at its key: an amendment is the write it comes to there.
    fn settled(self, current: Option<Arc<Entry>>) -> Result<Self, StoreError> {
        let Change::Amend(Amendment(change)) = &self.change else { return Ok(self) };
        let expected = |entry: &&Arc<Entry>| match self.expect {
            Expect::Absent => false,
            Expect::Present => true,
            Expect::Revision(revision) => entry.mod_revision == revision,
        };
        let amended =
            current.as_ref().filter(expected).and_then(|entry| Some((entry.mod_revision, change(entry)?)));
        match amended {
            Some((revision, draft)) => {
                Ok(Self { key: self.key, expect: Expect::Revision(revision), change: Change::Put(draft) })
            }
            None => Err(StoreError::Conflict { key: self.key, current }),
        }
    }
}

/// Something that happened to a key, in revision order.
#[derive(Debug, Clone)]
pub struct Event {
    /// The transaction's revision.
    pub revision: Revision,
    /// The new entry; `None` for a delete.
    pub entry: Option<Arc<Entry>>,
    /// The entry before; `None` for a create.
    pub previous: Option<Arc<Entry>>,
}

/// Who made a change, and how; kept with it for as long as history is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Author {
    /// Name of the authenticated user.
    pub user: String,
    /// The field manager, empty if none is known.
    pub manager: String,
    /// The request's verb.
    pub verb: String,
}

/// What a key was from one revision on.
#[derive(Debug, Clone)]
pub struct Version {
    /// The key.
    pub key: Arc<str>,
    /// The revision that made it so.
    pub revision: Revision,
    /// When, in milliseconds since 1970; `None` if the engine was not told.
    pub time: Option<i64>,
    /// By whom; `None` for the server's own upkeep.
    pub author: Option<Arc<Author>>,
    /// The entry; `None` for a removal.
    pub entry: Option<Arc<Entry>>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// In key order.
    pub entries: Vec<Arc<Entry>>,
    /// The revision this page shows.
    pub revision: Revision,
    /// How many more keys match after this page; 0 when complete.
    pub remaining: u64,
}

/// A transaction's outcome.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The revision of the transaction.
    pub revision: Revision,
    /// For each operation in order: the written entry for a put, the removed entry for a delete,
    /// the checked entry (if any) for a check.
    pub entries: Vec<Option<Arc<Entry>>>,
}

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation did not hold; `current` is what stands there.
    #[error("{key}: expectation failed")]
    Conflict {
        /// The key whose expectation failed.
        key: String,
        /// What is there now.
        current: Option<Arc<Entry>>,
    },
    /// The revision asked for is older than `floor`, the oldest one kept.
    #[error("revision {asked} is compacted, the oldest kept is {floor}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest readable revision.
        floor: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {asked} is in the future, the newest is {current}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// No space left; nothing was written.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The file is damaged; says where and what to do.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Written by another, incompatible version.
    #[error("{0}")]
    Version(String),
    /// Anything else the engine reports.
    #[error("{act}: {source}")]
    Engine {
        /// What was being done to what.
        act: String,
        /// The engine's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is elsewhere and does not answer. A write it did not answer may have happened.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// More than the store takes at once; nothing was written.
    #[error("{0}")]
    TooLarge(String),
    /// An object cannot be encrypted or decrypted; the text names the key and its file.
    #[error("{0}")]
    Sealed(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        Self::Sealed(error.to_string())
    }
}

/// What [`Store::reseal`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Versions that were written again.
    pub rewritten: u64,
    /// Versions that no key opens; they stay as they are.
    pub unreadable: u64,
}

/// Events in revision order; ends with an error when the watcher fell behind.
pub type EventStream = futures::stream::BoxStream<'static, Result<Event, StoreError>>;

/// A revisioned store.
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest committed revision.
    fn revision(&self) -> Revision;

    /// Makes sure that a revision that a client names is one that reads may be asked for; whoever else
    /// shares the store may have told of it before it came here.
    ///
    /// # Errors
    /// [`StoreError::Future`] when there is no such revision yet.
    async fn know(&self, asked: Revision) -> Result<(), StoreError> {
        let current = self.revision();
        if asked > current { Err(StoreError::Future { asked, current }) } else { Ok(()) }
    }

    /// Whether keys go by themselves when the lifetime of their last [`Draft`] is over.
    fn expires(&self) -> bool {
        false
    }

    /// What encrypts and decrypts stored objects.
    fn encryption(&self) -> Encryption {
        Encryption::default()
    }

    /// Writes again everything that [`Encryption`] would store otherwise now. The objects do not change.
    async fn reseal(&self) -> Result<Resealed, StoreError> {
        Ok(Resealed::default())
    }

    /// The entry of a key, now or as of a revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError>;

    /// Entries whose key starts with `prefix`, in key order, after `after` (exclusive), at most
    /// `limit` (0 = all), now or as of a revision.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError>;

    /// Applies all operations at one revision, or none; a key may appear once. A transaction that only
    /// checks takes no revision. Answers after the write is durable and
    /// visible to `get`, `list` and watchers.
    async fn transact(&self, operations: Vec<Operation>) -> Result<Committed, StoreError> {
        self.transact_as(operations, None).await
    }

    /// [`Store::transact`] that remembers who made the change.
    async fn transact_as(
        &self,
        operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError>;

    /// The newest `limit` readable versions of a key, oldest first; the first one may be from before the
    /// oldest readable revision, at which it stood.
    async fn versions(&self, key: &str, limit: usize) -> Result<Vec<Version>, StoreError>;

    /// The removals, in key order, of keys that start with `prefix`, come after `after`, were removed after
    /// revision `since` and do not exist now; at most `limit`. Of a key removed several times the last.
    async fn removals(
        &self,
        prefix: &str,
        after: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError>;

    /// The newest readable revision that was committed at or before a time in milliseconds since 1970.
    ///
    /// A time before all that is kept is [`StoreError::Compacted`].
    async fn revision_at(&self, time: i64) -> Result<Revision, StoreError>;

    /// Events with a revision greater than `after` for keys that start with `prefix`.
    ///
    /// Events are queued in the same step that raises [`Store::revision`]: whoever reads the revision
    /// and then finds the stream pending has been given everything up to that revision (bookmarks).
    /// A watcher that falls too far behind gets [`StoreError::Compacted`] and then the end.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError>;

    /// Forgets revisions older than `floor` that no current object needs; reads and watches of older
    /// revisions get [`StoreError::Compacted`] from then on. A floor beyond the newest revision means
    /// the newest, one below the present floor changes nothing.
    async fn compact(&self, floor: Revision) -> Result<(), StoreError>;

    /// Completes what was accepted, makes it durable, ends all watches with [`StoreError::Closed`] and
    /// releases the files. Transactions after it get [`StoreError::Closed`].
    async fn close(&self);
}
