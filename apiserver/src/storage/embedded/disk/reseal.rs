//! Writing rows again as they are encrypted now: in place, so no revision is made and nobody is woken.
//!
//! Entry points: [`slice`] and [`forget_log`]. Pages are overwritten while this goes on, lest SQLite leave what was
//! there in its free space; the log is emptied at the end for the same reason.

use super::*;
use crate::storage::Resealed;

/// Rows looked at between two commits.
const ROWS: usize = 200;

/// Where a slice begins: after this row.
pub(in super::super) type Place = i64;

/// What a slice did.
pub(in super::super) struct Slice {
    pub(in super::super) found: Resealed,
    /// Where to go on, if that was not the end.
    pub(in super::super) next: Option<Place>,
}

/// Looks at the next rows of keys with a prefix.
pub(in super::super) fn slice(
    connection: &mut Connection,
    encryption: &Encryption,
    prefix: &str,
    after: Place,
) -> Result<Slice, StoreError> {
    let act = "encrypt what is stored";
    connection.execute_batch("PRAGMA secure_delete = ON;").map_err(failed(act))?;
    let done = rewrite(connection, encryption, prefix, after);
    connection.execute_batch("PRAGMA secure_delete = OFF;").map_err(failed(act))?;
    done
}

fn rewrite(
    connection: &mut Connection,
    encryption: &Encryption,
    prefix: &str,
    after: Place,
) -> Result<Slice, StoreError> {
    let act = "encrypt what is stored";
    let transaction = connection.transaction().map_err(failed(act))?;
    let ids: Vec<i64> = transaction
        .prepare_cached("SELECT id FROM keys WHERE key >= ?1 AND key < ?2 AND id > ?3 ORDER BY id LIMIT ?4")
        .and_then(|mut statement| {
            let rows =
                statement.query_map(params![prefix, end_of(prefix), after, ROWS as i64], |row| row.get(0))?;
            rows.collect()
        })
        .map_err(failed(act))?;
    let mut found = Resealed::default();
    for id in &ids {
        let Some(stored) = row_by_number(&transaction, *id)? else { continue };
        let Some(entry) = &stored.entry else { continue };
        match encryption.reseal(&stored.key, &entry.bytes) {
            Ok(None) => {}
            Ok(Some(value)) => {
                let created = entry.create_revision.cast_signed();
                let sum = checksum(*id, created, stored.time, stored.author, &stored.key, Some(&value));
                transaction
                    .prepare_cached("UPDATE revisions SET value = ?2, checksum = ?3 WHERE id = ?1")
                    .and_then(|mut statement| statement.execute(params![id, value, sum]))
                    .map_err(failed(act))?;
                found.rewritten += 1;
            }
            Err(error) => {
                tracing::debug!(%error, "stays as it is");
                found.unreadable += 1;
            }
        }
    }
    transaction.commit().map_err(failed(act))?;
    let next = ids.last().copied().filter(|_| ids.len() == ROWS);
    Ok(Slice { found, next })
}

/// Folds the write-ahead log into the file and empties it.
pub(in super::super) fn forget_log(connection: &Connection) -> Result<(), StoreError> {
    // Its answer is a row; a reader in the way makes it incomplete, and the next checkpoint completes it.
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed("empty the store's log"))
}
