//! Events do not stay: each goes an hour after it was last said, or they would fill the disk.
//!
//! Entry point: [`run`]. Sleeps until the next one is due; [`due`] is pure.

use std::sync::Arc;
use std::time::Duration;

use api::object::meta_str;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::call::{Server, parse, store_status};
use crate::storage::{Change, Expect, Operation, StoreError};

/// Upstream's `--event-ttl`.
const LIFETIME: SignedDuration = SignedDuration::from_secs(3600);
/// The shortest sleep: due events are removed together, not one by one.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Removals in one transaction; etcd takes 128 operations.
const BATCH: usize = 100;

/// Removes events that are due, for ever.
pub(crate) async fn run(server: Arc<Server>) {
    loop {
        let next = match sweep(&server).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "old events could not be removed");
                AT_LEAST
            }
        };
        server.clock.sleep(next.max(AT_LEAST)).await;
    }
}

/// Removes what is due; answers how long until more is.
async fn sweep(server: &Server) -> Result<Duration, api::Status> {
    let prefix = api::names::storage_prefix("", "events", None);
    let page = server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let now = server.clock.now();
    let mut next = now + LIFETIME;
    let mut gone = Vec::new();
    for entry in &page.entries {
        let end = due(&parse(&entry.bytes)?).unwrap_or(now + LIFETIME);
        if end <= now {
            let expect = Expect::Revision(entry.mod_revision);
            gone.push(Operation { key: entry.key.to_string(), expect, change: Change::Delete });
        } else {
            next = next.min(end);
        }
    }
    for batch in gone.chunks(BATCH) {
        match server.store.transact(batch.to_vec()).await {
            // One of them was said again meanwhile; the rest goes with the next sweep.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(store_status(error)),
        }
    }
    Ok(Duration::try_from(next.duration_since(now)).unwrap_or(AT_LEAST))
}

/// When a stored event (core form) may go: an hour after the newest time in it.
fn due(event: &Value) -> Option<Timestamp> {
    let times = [
        meta_str(event, "creationTimestamp"),
        event["lastTimestamp"].as_str().unwrap_or_default(),
        event["eventTime"].as_str().unwrap_or_default(),
        event["series"]["lastObservedTime"].as_str().unwrap_or_default(),
    ];
    let newest = times.iter().filter_map(|text| text.parse::<Timestamp>().ok()).max()?;
    newest.checked_add(LIFETIME).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_time_counts() {
        let event = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "lastTimestamp": "2026-01-01T02:00:00Z", "eventTime": null,
            "series": {"lastObservedTime": "2026-01-01T01:00:00.000000Z"},
        });
        assert_eq!(due(&event), "2026-01-01T03:00:00Z".parse().ok());
        assert_eq!(due(&json!({})), None);
    }
}
