//! etcd's leases, with which keys go by themselves, whether or not an API server runs then.
//!
//! Entry point: [`Leases::lease`]. A lease for each key would cost etcd more than the keys, so keys that are
//! written within a while share one and go together, a little late: upstream's rules.

use std::collections::BTreeMap;
use std::time::Duration;

use component_base::clock::SharedClock;
use etcd_client::Error;
use tokio::sync::Mutex;

use super::connection::Connection;

/// Keys that share a lease at most (upstream's `--lease-max-object-count`), as all go in one transaction.
const MAX_KEYS: usize = 1_000;
/// How much later than due a key may go: this part of its lifetime …
const LATE_PART: u32 = 20;
/// … but no more than this (upstream's `--lease-reuse-duration-seconds`).
const LATE_AT_MOST: Duration = Duration::from_secs(60);

/// A lease that more keys may be put with.
struct Lease {
    id: i64,
    /// Until when, on the monotonic clock, the rest of it is long enough.
    until: Duration,
    keys: usize,
}

/// The leases in use, by the lifetime they are for.
pub(super) struct Leases {
    clock: SharedClock,
    current: Mutex<BTreeMap<Duration, Lease>>,
}

/// How much later than due a key of this lifetime may go.
fn lateness(lifetime: Duration) -> Duration {
    (lifetime / LATE_PART).min(LATE_AT_MOST)
}

impl Leases {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, current: Mutex::default() }
    }

    /// A lease that lasts at least as long as a key is to live from now on.
    pub(super) async fn lease(&self, connection: &Connection, lifetime: Duration) -> Result<i64, Error> {
        let mut current = self.current.lock().await;
        let now = self.clock.monotonic();
        if let Some(lease) = current.get_mut(&lifetime)
            && now <= lease.until
            && lease.keys < MAX_KEYS
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let whole = lifetime + lateness(lifetime);
        let id = connection.grant(whole.as_millis().div_ceil(1_000).try_into().unwrap_or(i64::MAX)).await?;
        current.insert(lifetime, Lease { id, until: now + lateness(lifetime), keys: 1 });
        Ok(id)
    }

    /// Uses a lease no more.
    pub(super) async fn forget(&self, id: i64) {
        self.current.lock().await.retain(|_, lease| lease.id != id);
    }
}
