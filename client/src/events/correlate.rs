//! Which write an event becomes: new, counted, combined or none. Pure.

use std::collections::{BTreeMap, BTreeSet};

use component_base::clock::rfc3339_seconds;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::plan::{EventDraft, EventType};

/// Events remembered; the one used longest ago is forgotten first.
const REMEMBERED: usize = 4096;
/// Different messages of otherwise equal events before they are combined, and within what time.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Per object: this many at once, then one per interval.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// A write of an Event.
#[derive(Debug, PartialEq)]
pub(super) struct Write {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Present when it was recorded before: only what changed.
    pub(super) patch: Option<Value>,
    /// The whole Event.
    pub(super) whole: Value,
}

struct Known {
    name: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Remembers what was recorded.
pub(super) struct Correlator {
    component: String,
    host: String,
    known: BTreeMap<String, Known>,
    similar: BTreeMap<String, Similar>,
    buckets: BTreeMap<String, Bucket>,
}

impl Correlator {
    pub(super) fn new(component: &str, host: &str) -> Self {
        Self {
            component: component.to_owned(),
            host: host.to_owned(),
            known: BTreeMap::new(),
            similar: BTreeMap::new(),
            buckets: BTreeMap::new(),
        }
    }

    /// The write for an event that happens at `now`; `None` if there were too many.
    pub(super) fn correlate(&mut self, mut draft: EventDraft, now: Timestamp) -> Option<Write> {
        let object = identity(&draft.regarding);
        let alike = format!("{object}|{}|{:?}", draft.reason, draft.event_type);
        let combined = self.is_one_of_many(&alike, &draft.message, now);
        if combined {
            draft.message = format!("(combined from similar events): {}", draft.message);
        }
        if !self.within_limit(object, now) {
            return None;
        }
        let identity = if combined { alike } else { format!("{alike}|{}", draft.message) };
        let name = event_name(&draft.regarding, now);
        let known = self.known.entry(identity).or_insert(Known { name, count: 0, first: now, last: now });
        known.count += 1;
        known.last = now;
        let write = written(&self.component, &self.host, &draft, known);
        forget_oldest(&mut self.known, |known| known.last);
        forget_oldest(&mut self.similar, |similar| similar.last);
        forget_oldest(&mut self.buckets, |bucket| bucket.at);
        Some(write)
    }

    fn is_one_of_many(&mut self, alike: &str, message: &str, now: Timestamp) -> bool {
        let similar = self
            .similar
            .entry(alike.to_owned())
            .or_insert_with(|| Similar { messages: BTreeSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.contains(message) {
            return similar.messages.len() > SIMILAR;
        }
        if similar.messages.len() <= SIMILAR {
            similar.messages.insert(message.to_owned());
        }
        similar.messages.len() > SIMILAR
    }

    fn within_limit(&mut self, object: String, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(object).or_insert(Bucket { tokens: BURST, at: now });
        let refill = now.duration_since(bucket.at).as_secs_f64().max(0.0) / REFILL_SECONDS;
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn identity(regarding: &Value) -> String {
    let fields = ["kind", "namespace", "name", "uid", "fieldPath"];
    fields.map(|field| text(regarding, field)).join("|")
}

fn event_name(regarding: &Value, now: Timestamp) -> String {
    format!("{}.{:x}", text(regarding, "name"), now.as_nanosecond())
}

fn written(component: &str, host: &str, draft: &EventDraft, known: &Known) -> Write {
    let namespace = match text(&draft.regarding, "namespace") {
        "" => "default",
        namespace => namespace,
    };
    let event_type = match draft.event_type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let mut source = json!({"component": component});
    if !host.is_empty() {
        source["host"] = json!(host);
    }
    let last = rfc3339_seconds(known.last);
    let whole = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": known.name, "namespace": namespace},
        "involvedObject": draft.regarding,
        "reason": draft.reason,
        "message": draft.message,
        "source": source,
        "firstTimestamp": rfc3339_seconds(known.first),
        "lastTimestamp": last,
        "count": known.count,
        "type": event_type,
        "eventTime": null,
        "reportingComponent": component,
        "reportingInstance": host,
    });
    let patch = (known.count > 1)
        .then(|| json!({"count": known.count, "lastTimestamp": last, "message": draft.message}));
    Write { namespace: namespace.to_owned(), name: known.name.clone(), patch, whole }
}

fn forget_oldest<T>(map: &mut BTreeMap<String, T>, last: impl Fn(&T) -> Timestamp) {
    if map.len() <= REMEMBERED {
        return;
    }
    // Forgets a quarter at once, so the search is paid rarely.
    let mut ages: Vec<(Timestamp, String)> =
        map.iter().map(|(key, value)| (last(value), key.clone())).collect();
    ages.sort();
    for (_, key) in ages.into_iter().take(REMEMBERED / 4) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(message: &str) -> EventDraft {
        EventDraft {
            regarding: json!({"kind": "Pod", "namespace": "ns", "name": "p", "uid": "u"}),
            event_type: EventType::Normal,
            reason: "Started",
            message: message.to_owned(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut correlator = Correlator::new("kubelet", "n1");
        let first = correlator.correlate(draft("x"), at(1)).expect("a write");
        assert_eq!((first.patch, first.name.as_str()), (None, "p.3b9aca00"));
        assert_eq!(first.whole["source"], json!({"component": "kubelet", "host": "n1"}));
        let again = correlator.correlate(draft("x"), at(60)).expect("a write");
        assert_eq!(again.name, first.name);
        assert_eq!(
            again.patch,
            Some(json!({"count": 2, "lastTimestamp": "1970-01-01T00:01:00Z", "message": "x"}))
        );
        assert_eq!(again.whole["firstTimestamp"], json!("1970-01-01T00:00:01Z"));
    }

    #[test]
    fn many_alike_are_combined_and_then_limited() {
        let mut correlator = Correlator::new("c", "");
        let writes: Vec<_> = (0..40).map(|i| correlator.correlate(draft(&i.to_string()), at(1))).collect();
        let message = |i: usize| writes[i].as_ref().map(|w| w.whole["message"].clone());
        assert_eq!(message(9), Some(json!("9")));
        assert_eq!(message(10), Some(json!("(combined from similar events): 10")));
        assert_eq!(writes.iter().flatten().count(), 25);
        assert!(correlator.correlate(draft("later"), at(301)).is_some());
        assert!(correlator.correlate(draft("later"), at(302)).is_none());
    }
}
