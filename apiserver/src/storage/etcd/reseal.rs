//! Writing values again as they are encrypted now. etcd numbers such a write like any other, so watchers see the
//! object change in nothing but its `resourceVersion`; upstream's storage migration does the same.
//!
//! Entry point: [`rewrite`]. What somebody else writes meanwhile is sealed by that write, so it is left alone. The
//! past stays as it is until etcd compacts it.

use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp};

use super::connection::{Connection, Range, failed};
use super::value::{Root, end_of};
use crate::storage::{Resealed, StoreError};

/// Keys read at a time.
const KEYS: i64 = 256;

/// Looks at all keys with a prefix.
pub(super) async fn rewrite(
    connection: &Connection,
    root: &Root,
    prefix: &str,
    all: &mut Resealed,
) -> Result<(), StoreError> {
    let (mut start, end) = (prefix.as_bytes().to_vec(), end_of(prefix));
    loop {
        let range = connection.range(start, end.clone(), KEYS, 0).await;
        let Range { found, count } = range.map_err(failed("read what is to be encrypted"))?;
        for value in &found {
            one(connection, root, value, all).await?;
        }
        match found.last() {
            Some(last) if count > found.len() as u64 => start = [last.key(), &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

async fn one(
    connection: &Connection,
    root: &Root,
    found: &KeyValue,
    all: &mut Resealed,
) -> Result<(), StoreError> {
    let Some(key) = root.key(found.key()) else { return Ok(()) };
    let value = match root.encryption.reseal(key, found.value()) {
        Ok(Some(value)) => value,
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::debug!(%error, "stays as it is");
            all.unreadable += 1;
            return Ok(());
        }
    };
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, found.mod_revision());
    // What has a lease keeps it.
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(found.lease())));
    let written = connection.transact(Txn::new().when([unchanged]).and_then([put])).await;
    if written.map_err(failed("encrypt what etcd holds"))?.succeeded() {
        all.rewritten += 1;
    }
    Ok(())
}
