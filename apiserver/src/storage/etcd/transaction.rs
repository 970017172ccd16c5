//! Our transactions as etcd's.
//!
//! Entry points: [`Plan::new`] and [`Plan::outcome`]. Expectations become compares; if one fails etcd
//! reads all the keys in the same step, so that the conflict reported is the one that was met. An entry
//! that the hub still has at the expected revision is not sent back by etcd: a key and its
//! mod_revision name one value for ever.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, DeleteOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::authors;
use super::value::{Root, number, revision};
use crate::storage::hub::Hub;
use crate::storage::stage::{has_repeated_key, splice};
use crate::storage::{Author, Change, Committed, Entry, Expect, Operation, StoreError};

/// A transaction about to be sent.
pub(super) struct Plan {
    operations: Vec<Operation>,
    /// For each operation what stands at its key, as far as it is known here.
    known: Vec<Option<Arc<Entry>>>,
    /// For each operation the value it puts.
    values: Vec<Option<Vec<u8>>>,
}

/// What an operation does when all expectations hold, and whether etcd is to send back what stood there.
fn action(
    operation: &Operation,
    value: Option<&Vec<u8>>,
    send_back: bool,
    lease: Option<i64>,
) -> Option<TxnOp> {
    let key = operation.key.as_str();
    match &operation.change {
        Change::Put(draft) => {
            let options = PutOptions::new().with_lease(draft.lifetime.and(lease).unwrap_or_default());
            let options = if send_back { options.with_prev_key() } else { options };
            Some(TxnOp::put(key, value?.clone(), Some(options)))
        }
        Change::Delete => Some(TxnOp::delete(key, send_back.then(|| DeleteOptions::new().with_prev_key()))),
        Change::Amend(_) | Change::Check => send_back.then(|| TxnOp::get(key, None)),
    }
}

fn compare(operation: &Operation) -> Compare {
    let key = operation.key.as_str();
    match operation.expect {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::Present => Compare::create_revision(key, CompareOp::Greater, 0),
        // To etcd 0 means "absent", which is not what is expected here; nothing is below it.
        Expect::Revision(0) => Compare::mod_revision(key, CompareOp::Less, 0),
        Expect::Revision(revision) => Compare::mod_revision(key, CompareOp::Equal, number(revision)),
    }
}

fn holds(expect: Expect, current: Option<&KeyValue>) -> bool {
    match expect {
        Expect::Absent => current.is_none(),
        Expect::Present => current.is_some(),
        Expect::Revision(expected) => current.is_some_and(|found| revision(found.mod_revision()) == expected),
    }
}

impl Plan {
    /// Checks what can be checked without etcd, of operations that are settled.
    pub(super) fn new(operations: Vec<Operation>, root: &Root, hub: &Hub) -> Result<Self, StoreError> {
        let refuse =
            |source: String| Err(StoreError::Engine { act: "transact".to_owned(), source: source.into() });
        if has_repeated_key(&operations) {
            return refuse("a transaction names a key twice".to_owned());
        }
        if let Some(stranger) = operations.iter().find(|operation| !operation.key.starts_with(&root.start)) {
            return refuse(format!("key {} does not begin with {}", stranger.key, root.start));
        }
        let known = operations.iter().map(|operation| match operation.expect {
            Expect::Absent | Expect::Present => None,
            Expect::Revision(expected) => {
                hub.current(&operation.key).filter(|entry| entry.mod_revision == expected)
            }
        });
        let known = known.collect();
        let value = |operation: &Operation| match &operation.change {
            Change::Put(draft) => root.encode(&operation.key, draft).map(Some),
            Change::Delete | Change::Amend(_) | Change::Check => Ok(None),
        };
        let values = operations.iter().map(value).collect::<Result<_, StoreError>>()?;
        Ok(Self { operations, known, values })
    }

    /// Whether etcd is to send back what stands at an operation's key.
    fn sends_back(&self, number: usize) -> bool {
        self.operations[number].expect != Expect::Absent && self.known[number].is_none()
    }

    /// The longest lifetime of what is written, if anything has one.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let lifetime = |operation: &Operation| match &operation.change {
            Change::Put(draft) => draft.lifetime,
            Change::Delete | Change::Amend(_) | Change::Check => None,
        };
        self.operations.iter().filter_map(lifetime).max()
    }

    /// The request, with a note of when and by whom if it changes anything; what has a lifetime is put
    /// with the lease.
    pub(super) fn request(&self, root: &Root, time: i64, author: Option<&Author>, lease: Option<i64>) -> Txn {
        let compares: Vec<Compare> = self.operations.iter().map(compare).collect();
        let numbered = self.operations.iter().enumerate();
        let mut actions: Vec<TxnOp> = numbered
            .filter_map(|(number, operation)| {
                action(operation, self.values[number].as_ref(), self.sends_back(number), lease)
            })
            .collect();
        let changes = |operation: &Operation| match operation.change {
            Change::Put(_) => true,
            Change::Delete => operation.expect != Expect::Absent,
            Change::Amend(_) | Change::Check => false,
        };
        if self.operations.iter().any(changes) {
            // Last, so that the answers to the others keep their places.
            actions.push(authors::note(root, time, author));
        }
        let reads: Vec<TxnOp> =
            self.operations.iter().map(|operation| TxnOp::get(operation.key.as_str(), None)).collect();
        Txn::new().when(compares).and_then(actions).or_else(reads)
    }

    /// The answer in our terms.
    pub(super) fn outcome(self, answer: &TxnResponse, root: &Root) -> Result<Committed, StoreError> {
        let at = answer.header().map(|header| revision(header.revision())).unwrap_or_default();
        let mut responses = answer.op_responses().into_iter();
        if !answer.succeeded() {
            return Err(self.conflict(responses, root));
        }
        let mut entries = Vec::with_capacity(self.operations.len());
        for (number, operation) in self.operations.iter().enumerate() {
            let sends_back = self.sends_back(number);
            let acts = sends_back || !matches!(operation.change, Change::Check);
            let response = if acts { responses.next() } else { None };
            let stood = match self.known[number].clone() {
                Some(known) => Some(known),
                None if sends_back => sent_back(response.as_ref()).and_then(|found| root.entry(&found)),
                None => None,
            };
            entries.push(match &operation.change {
                Change::Check | Change::Amend(_) | Change::Delete => stood,
                Change::Put(draft) => Some(Arc::new(Entry {
                    key: operation.key.as_str().into(),
                    bytes: splice(draft, at),
                    create_revision: stood.map_or(at, |entry| entry.create_revision),
                    mod_revision: at,
                    index: OnceLock::new(),
                })),
            });
        }
        Ok(Committed { revision: at, entries })
    }

    /// The first expectation that did not hold.
    fn conflict(self, responses: impl Iterator<Item = TxnOpResponse>, root: &Root) -> StoreError {
        for (operation, response) in self.operations.into_iter().zip(responses) {
            let found = sent_back(Some(&response));
            if !holds(operation.expect, found.as_ref()) {
                let current = found.and_then(|found| root.entry(&found));
                return StoreError::Conflict { key: operation.key, current };
            }
        }
        StoreError::Engine {
            act: "transact".to_owned(),
            source: "etcd refused a transaction whose expectations hold".into(),
        }
    }
}

/// The key and value in a response.
fn sent_back(response: Option<&TxnOpResponse>) -> Option<KeyValue> {
    match response? {
        TxnOpResponse::Put(put) => put.prev_key().cloned(),
        TxnOpResponse::Get(get) => get.kvs().first().cloned(),
        TxnOpResponse::Delete(delete) => delete.prev_kvs().first().cloned(),
        TxnOpResponse::Txn(_) => None,
    }
}
