//! EventRateLimit: at most so many events a second, of the server, a namespace, a user, or a source and its object.
//!
//! Entry points: [`Limits::new`] and [`validate`]. Each limit has a bucket per key, which fills with time.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{Reason, Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::Attributes;

/// Buckets of a limit that says nothing of their number (upstream's `defaultCacheSize`).
const USUAL_BUCKETS: usize = 4096;

/// What events are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLimitType {
    /// All together.
    Server,
    /// Their namespace.
    Namespace,
    /// Who writes them.
    User,
    /// Who tells of what.
    SourceAndObject,
}

/// A limit of upstream's `eventratelimit` configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLimit {
    /// What is counted together.
    pub by: EventLimitType,
    /// Events a second, in the long run.
    pub qps: u32,
    /// Events at once.
    pub burst: u32,
    /// Keys that are remembered; 0 means the usual number.
    pub cache_size: usize,
}

impl EventLimitType {
    /// From upstream's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Server, Self::Namespace, Self::User, Self::SourceAndObject]
            .into_iter()
            .find(|by| by.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }

    fn key(self, attributes: &Attributes<'_>, event: &Value) -> String {
        match self {
            Self::Server => String::new(),
            Self::Namespace => attributes.namespace().to_owned(),
            Self::User => attributes.user().name.clone(),
            Self::SourceAndObject => {
                let paths = ["/source/component", "/source/host"].into_iter().map(str::to_owned).chain(
                    ["kind", "namespace", "name", "uid", "apiVersion"]
                        .map(|field| format!("/involvedObject/{field}")),
                );
                paths.filter_map(|path| event.pointer(&path)?.as_str()).collect()
            }
        }
    }
}

/// Events that may come now.
struct Bucket {
    tokens: f64,
    /// When it was last looked at.
    at: Duration,
}

/// All limits with their buckets.
#[derive(Default)]
pub(crate) struct Limits(Vec<(EventLimit, Mutex<BTreeMap<String, Bucket>>)>);

impl Limits {
    pub(super) fn new(limits: &[EventLimit]) -> Self {
        Self(limits.iter().map(|limit| (limit.clone(), Mutex::default())).collect())
    }
}

impl EventLimit {
    /// Takes a token of the key's bucket, if there is one.
    fn accepts(&self, buckets: &mut BTreeMap<String, Bucket>, key: &str, now: Duration) -> bool {
        let full = f64::from(self.burst);
        if !buckets.contains_key(key) {
            let most = if self.cache_size == 0 { USUAL_BUCKETS } else { self.cache_size };
            let oldest = || buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| key.clone());
            if let Some(oldest) = (buckets.len() >= most).then(oldest).flatten() {
                buckets.remove(&oldest);
            }
            buckets.insert(key.to_owned(), Bucket { tokens: full, at: now });
        }
        let Some(bucket) = buckets.get_mut(key) else { return true };
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * f64::from(self.qps)).min(full);
        bucket.at = now;
        let accepted = bucket.tokens >= 1.0;
        if accepted {
            bucket.tokens -= 1.0;
        }
        accepted
    }
}

/// Every limit counts the event; the last that is reached is told of.
pub(super) async fn validate(attributes: &Attributes<'_>, event: &Value) -> Result<(), Status> {
    let server = &attributes.call.server;
    let now = server.clock.monotonic();
    let mut refused = Ok(());
    for (limit, buckets) in &server.admission.event_limits.0 {
        let key = limit.by.key(attributes, event);
        if !limit.accepts(&mut buckets.lock(), &key, now) {
            let by = limit.by.word();
            let text = format!("Too many requests: limit reached on type {by} for key {key}");
            refused = Err(Status::new(Reason::TooManyRequests, text));
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_fills_again_and_is_forgotten_for_others() {
        let limit = EventLimit { by: EventLimitType::User, qps: 2, burst: 3, cache_size: 2 };
        let mut buckets = BTreeMap::new();
        let mut take =
            |key: &str, millis: u64| limit.accepts(&mut buckets, key, Duration::from_millis(millis));
        assert_eq!([0, 0, 0, 0].map(|at| take("a", at)), [true, true, true, false]);
        assert_eq!([499, 500, 500].map(|at| take("a", at)), [false, true, false]);
        // However long it rests, a bucket has no more than its burst.
        assert_eq!([60_000; 4].map(|at| take("a", at)), [true, true, true, false]);
        assert!(take("b", 60_001) && take("c", 60_002));
        assert!(take("a", 60_003), "the oldest of two made room, and begins anew");
    }
}
