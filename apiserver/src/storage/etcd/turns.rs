//! Amendments of one key follow each other: each is settled on what the one before it left, and none is sent in vain.
//!
//! Entry point: [`Turns::take`]. A turn ends when etcd has answered, without waiting for the answer to come back through
//! the watch; so it also carries what its holder wrote last. Others that share the etcd take no part in it: whoever
//! finds a key changed by them is told what stands there now, and settles anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::storage::hub::Hub;
use crate::storage::{Change, Committed, Entry, Operation, StoreError};

/// The last known entry of a key, in the hands of whose turn it is.
type Turn = Arc<tokio::sync::Mutex<Option<Arc<Entry>>>>;

/// One turn for each key that is being amended.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Turn>>);

impl Turns {
    /// Waits for the turns of all keys that are amended: in the order of keys, so nobody waits in a circle.
    pub(super) async fn take(&self, operations: &[Operation]) -> Held {
        let amended = operations.iter().filter(|operation| matches!(operation.change, Change::Amend(_)));
        let mut keys: Vec<&str> = amended.map(|operation| operation.key.as_str()).collect();
        keys.sort_unstable();
        // A key that stands there twice is refused later.
        keys.dedup();
        let mut held = Vec::with_capacity(keys.len());
        for key in keys {
            let turn = self.of(key).lock_owned().await;
            held.push((key.to_owned(), turn));
        }
        Held(held)
    }

    fn of(&self, key: &str) -> Turn {
        let mut turns = self.0.lock();
        // Those that nobody holds or waits for.
        turns.retain(|name, turn| name == key || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key.to_owned()).or_default())
    }
}

/// The turns of a transaction, given back when this goes.
pub(super) struct Held(Vec<(String, OwnedMutexGuard<Option<Arc<Entry>>>)>);

impl Held {
    fn of(&mut self, key: &str) -> Option<&mut Option<Arc<Entry>>> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, turn)| &mut **turn)
    }

    /// The operations on the newest that is known here.
    pub(super) fn settle(
        &mut self,
        operations: &[Operation],
        hub: &Hub,
    ) -> Result<Vec<Operation>, StoreError> {
        let settled = operations.iter().map(|operation| {
            let Some(turn) = self.of(&operation.key) else { return Ok(operation.clone()) };
            let heard = hub.current(&operation.key);
            let revision = |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| entry.mod_revision);
            if revision(&heard) > revision(turn) {
                *turn = heard;
            }
            operation.clone().settled(turn.clone())
        });
        settled.collect()
    }

    /// Remembers what came of it; whether it is worth another try on what etcd says stands there.
    pub(super) fn learn(
        &mut self,
        operations: &[Operation],
        outcome: &Result<Committed, StoreError>,
    ) -> bool {
        match outcome {
            Ok(committed) => {
                for (operation, entry) in operations.iter().zip(&committed.entries) {
                    if let Some(turn) = self.of(&operation.key) {
                        turn.clone_from(entry);
                    }
                }
                false
            }
            Err(StoreError::Conflict { key, current }) => match self.of(key) {
                Some(turn) => {
                    turn.clone_from(current);
                    true
                }
                None => false,
            },
            Err(_) => false,
        }
    }
}
