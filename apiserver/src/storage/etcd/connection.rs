//! One etcd server: what is asked of it, and what its errors mean.
//!
//! Entry points: [`Connection::open`] and [`failed`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, KeyValue, KvClient, LeaseClient, ResponseHeader, Txn,
    TxnResponse, WatchClient, WatchOptions, WatchStream,
};

use super::value::{Root, end_of, number, revision};
use crate::storage::stage::TOO_LARGE;
use crate::storage::{Entry, Revision, StoreError};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin; etcd itself gives a request up after seven seconds.
const ANSWER: Duration = Duration::from_secs(10);
/// A connection is asked for a sign of life this often (etcd refuses more than one in five seconds) …
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// … and given up after this long without one.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(5);
/// Keys per request when everything is read: 1.5 MB each at most, 2 kB as a rule.
const LOAD_KEYS: i64 = 256;

/// gRPC's numbers for what is told apart here.
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAVAILABLE: i32 = 14;
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;

/// Clients of one server; cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    kv: KvClient,
    watch: WatchClient,
    lease: LeaseClient,
}

/// Keys of a range at one revision.
pub(super) struct Range {
    pub(super) found: Vec<KeyValue>,
    /// How many keys the range has in all.
    pub(super) count: u64,
}

/// Who answers, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cluster: u64,
    pub(super) revision: Revision,
}

/// Tells what an error of etcd means for the store.
pub(super) fn failed(act: &str) -> impl FnOnce(Error) -> StoreError + use<> {
    let act = act.to_owned();
    move |error| {
        let Error::GRpcStatus(status) = &error else {
            return StoreError::Unavailable(format!("{act}: {error}"));
        };
        let message = status.message();
        if message.contains("database space exceeded") {
            return StoreError::Full(format!(
                "{act}: etcd's quota is used up; compact and defragment it, then disarm its alarm"
            ));
        }
        // The second is what gRPC says before etcd can.
        if ["request is too large", "larger than max"].iter().any(|text| message.contains(text)) {
            return StoreError::TooLarge(TOO_LARGE.to_owned());
        }
        if message.contains("too many operations") {
            return StoreError::TooLarge(format!("{message}; etcd's --max-txn-ops sets the limit"));
        }
        match i32::from(status.code()) {
            CANCELLED | UNKNOWN | DEADLINE_EXCEEDED | RESOURCE_EXHAUSTED | UNAVAILABLE => {
                StoreError::Unavailable(format!("{act}: {}", explained(message, &error)))
            }
            _ => StoreError::Engine { act, source: error.into() },
        }
    }
}

/// An error's message and what stands behind it, innermost last; each layer repeats the one below.
fn explained(message: &str, error: &Error) -> String {
    let mut text = message.to_owned();
    let Error::GRpcStatus(status) = error else { return text };
    let mut next = std::error::Error::source(status);
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

/// Whether etcd says that a revision is compacted.
pub(super) fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("has been compacted"))
}

/// Whether etcd says that it has no such lease.
pub(super) fn is_lease_gone(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("requested lease not found"))
}

fn position(header: Option<&ResponseHeader>) -> Result<Position, Error> {
    let header = header.ok_or_else(|| Error::Internal("etcd answered without a header".to_owned()))?;
    Ok(Position { cluster: header.cluster_id(), revision: revision(header.revision()) })
}

impl Connection {
    /// Clients of the server at a URL. Nothing is sent yet.
    pub(super) async fn open(endpoint: &str) -> Result<Self, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(ANSWER)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_ANSWER)
            .with_keep_alive_while_idle(true)
            // A server that lost the others ends its watches, so that another server is tried.
            .with_require_leader(true);
        let client = Client::connect([endpoint], Some(options)).await?;
        // A transaction of large objects is one message, and so are its events.
        Ok(Self {
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            lease: client.lease_client(),
        })
    }

    /// Where the cluster stands, agreed upon by a majority of its servers.
    pub(super) async fn position(&self) -> Result<Position, Error> {
        let options = GetOptions::new().with_keys_only();
        position(self.kv.clone().get("/", Some(options)).await?.header())
    }

    /// Whether a revision can be read; 0 is the state before the first.
    pub(super) async fn is_readable(&self, at: Revision) -> Result<bool, Error> {
        let options = GetOptions::new().with_keys_only().with_revision(number(at.max(1)));
        match self.kv.clone().get("/", Some(options)).await {
            Ok(_) => Ok(true),
            Err(error) if is_compacted(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The oldest readable revision, 0 when nothing was ever compacted.
    pub(super) async fn floor(&self) -> Result<Revision, Error> {
        if self.is_readable(1).await? {
            return Ok(0);
        }
        // Only a watch that comes too late is told the number.
        let options = WatchOptions::new().with_start_revision(1);
        let mut stream = self.watch.clone().watch("/", Some(options)).await?;
        while let Some(message) = stream.message().await? {
            if message.canceled() {
                return Ok(revision(message.compact_revision()));
            }
        }
        Err(Error::WatchError("etcd ended a watch without a word".to_owned()))
    }

    /// Keys from `start` to before `end`, at a revision or (0) now.
    pub(super) async fn range(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: i64,
        at: Revision,
    ) -> Result<Range, Error> {
        let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(number(at));
        let mut answer = self.kv.clone().get(start, Some(options)).await?;
        let count = answer.count().try_into().unwrap_or_default();
        Ok(Range { found: answer.take_kvs(), count })
    }

    /// One key at a revision.
    pub(super) async fn key(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, Error> {
        let options = GetOptions::new().with_revision(number(at));
        Ok(self.kv.clone().get(key, Some(options)).await?.take_kvs().pop())
    }

    /// All entries at a revision.
    pub(super) async fn load(
        &self,
        root: &Root,
        at: Revision,
    ) -> Result<BTreeMap<Arc<str>, Arc<Entry>>, Error> {
        let (mut start, end) = (root.start.as_bytes().to_vec(), end_of(&root.start));
        let mut entries = BTreeMap::new();
        loop {
            let Range { found, count } = self.range(start, end.clone(), LOAD_KEYS, at).await?;
            for entry in found.iter().filter_map(|found| root.entry(found)) {
                entries.insert(Arc::clone(&entry.key), entry);
            }
            match found.last() {
                Some(last) if count > found.len() as u64 => start = [last.key(), &[0]].concat(),
                _ => return Ok(entries),
            }
        }
    }

    /// Runs a transaction.
    pub(super) async fn transact(&self, transaction: Txn) -> Result<TxnResponse, Error> {
        self.kv.clone().txn(transaction).await
    }

    /// Events of all keys after a revision, whole revisions at a time.
    pub(super) async fn watch(&self, after: Revision, previous: bool) -> Result<WatchStream, Error> {
        let options = WatchOptions::new().with_all_keys().with_start_revision(number(after + 1));
        let options = if previous { options.with_prev_key() } else { options };
        self.watch.clone().watch([0], Some(options)).await
    }

    /// A lease of so many seconds; keys that are put with it go when it ends.
    pub(super) async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        Ok(self.lease.clone().grant(seconds, None).await?.id())
    }

    /// Forgets revisions older than `floor`; that another server did so already is fine.
    pub(super) async fn compact(&self, floor: Revision) -> Result<(), Error> {
        match self.kv.clone().compact(number(floor), None).await {
            Err(error) if !is_compacted(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
