//! Forgetting what compaction has made unreadable, in slices short enough not to be felt.

use super::*;

/// Removes versions superseded at or before `upto`, going on after revision `swept`, looking at
/// about `rows` rows; returns how far it got.
pub(in super::super) fn sweep(
    connection: &mut Connection,
    swept: Revision,
    upto: Revision,
    rows: usize,
) -> Result<Revision, StoreError> {
    let act = "compact the store";
    let transaction = connection.transaction().map_err(failed(act))?;
    let step = || -> rusqlite::Result<Revision> {
        let mut due: Vec<(i64, String, bool)> = transaction
            .prepare_cached(
                "SELECT id, key, value IS NULL FROM revisions WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
            )?
            .query_map(params![id_ceiling(swept), id_ceiling(upto), rows as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        let reached = match due.last() {
            // The last revision may be cut off in its middle; it is looked at again, which does no harm.
            Some(last) if due.len() == rows && revision_of(last.0) > swept + 1 => revision_of(last.0) - 1,
            // A revision of more operations than a slice has rows is taken as a whole.
            Some(last) if due.len() == rows => {
                let revision = revision_of(last.0);
                due = whole_revision(&transaction, revision)?;
                revision
            }
            _ => upto,
        };
        let mut gone = 0_u64;
        for (id, key, removal) in due {
            let before = if removal { id + 1 } else { id };
            transaction
                .prepare_cached(
                    "DELETE FROM revisions WHERE id IN (SELECT id FROM keys WHERE key = ?1 AND id < ?2)",
                )?
                .execute(params![key, before])?;
            let mut forget =
                transaction.prepare_cached("DELETE FROM keys WHERE key = ?1 AND id < ?2 RETURNING live")?;
            for mark in forget.query_map(params![key, before], |row| row.get::<_, i64>(0))? {
                gone = gone.wrapping_add(mark?.cast_unsigned());
            }
        }
        add_to_sum(&transaction, gone.wrapping_neg())?;
        set_mark(&transaction, SWEPT, reached)?;
        Ok(reached)
    };
    let reached = step().map_err(failed(act))?;
    transaction.commit().map_err(failed(act))?;
    Ok(reached)
}

fn whole_revision(connection: &Connection, revision: Revision) -> rusqlite::Result<Vec<(i64, String, bool)>> {
    connection
        .prepare_cached(
            "SELECT id, key, value IS NULL FROM revisions WHERE id >= ?1 AND id <= ?2 ORDER BY id",
        )?
        .query_map(params![id_floor(revision), id_ceiling(revision)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect()
}
