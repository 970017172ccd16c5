//! How many seats a request takes: lists by how much of memory they bring together, everything else one.
//!
//! Entry point: [`Lists::width`]. Source: `pkg/util/flowcontrol/request/list_work_estimator.go`, by the size of objects, where
//! all reads come from memory, as they do here. Upstream makes writes wider that many watch; here a watch is fed bytes
//! that are there already.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::call::Server;
use crate::request::RequestInfo;

/// Bytes a list brings together for each seat it takes.
const BYTES_PER_SEAT: usize = 100_000;
/// The most it holds at a time, however long it is: answers go out in pieces.
const MOST_BYTES: usize = 1_000_000;
/// How long a look at a collection serves.
const LOOKED: Duration = Duration::from_secs(10);
/// Objects that are looked at for the size of one.
const SAMPLE: usize = 32;

/// A collection.
#[derive(Clone, Copy)]
struct Measure {
    objects: usize,
    /// Of an object, on the average.
    bytes: usize,
}

impl Measure {
    fn seats(self, limit: usize) -> usize {
        let objects = if limit == 0 { self.objects } else { limit.min(self.objects) };
        objects.saturating_mul(self.bytes).min(MOST_BYTES).div_ceil(BYTES_PER_SEAT)
    }
}

/// Collections as they were, and when.
#[derive(Default)]
pub(super) struct Lists(Mutex<BTreeMap<String, (Measure, Duration)>>);

impl Lists {
    /// Seats of a request, if it may have as many as it needs.
    pub(super) async fn width(
        &self,
        server: &Server,
        info: &RequestInfo,
        query: &[(String, String)],
    ) -> usize {
        if !lists(info, query) {
            return 1;
        }
        let limit = value(query, "limit").parse().unwrap_or_default();
        self.measure(server, info).await.map_or(1, |measure| measure.seats(limit).max(1))
    }

    async fn measure(&self, server: &Server, info: &RequestInfo) -> Option<Measure> {
        let kinds = server.kinds();
        // What another server has costs little here.
        let prefix = kinds.resource(&info.group, &info.version, &info.resource)?.prefix(None);
        let now = server.clock.monotonic();
        let known = self.0.lock().get(&prefix).copied();
        if let Some((measure, at)) = known
            && now.saturating_sub(at) < LOOKED
        {
            return Some(measure);
        }
        // The page says how many follow.
        let heard = Some(server.store.revision());
        let page = server.store.list(&prefix, None, SAMPLE, heard).await.ok()?;
        let bytes: usize = page.entries.iter().map(|entry| entry.bytes.len()).sum();
        let more = usize::try_from(page.remaining).unwrap_or(usize::MAX);
        let measure = Measure {
            objects: page.entries.len().saturating_add(more),
            bytes: bytes / page.entries.len().max(1),
        };
        self.0.lock().insert(prefix, (measure, now));
        Some(measure)
    }
}

fn value<'a>(query: &'a [(String, String)], name: &str) -> &'a str {
    query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
}

/// Whether a request reads a collection: a list, or a watch that begins with one. One of a single name is a get.
fn lists(info: &RequestInfo, query: &[(String, String)]) -> bool {
    match info.verb {
        "list" => info.name.is_empty(),
        "watch" => {
            value(query, "sendInitialEvents") == "true"
                || ["", "0"].contains(&value(query, "resourceVersion"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_bring_together() {
        for (objects, bytes, limit, expect) in [
            (0, 0, 0, 0),
            (1, 2_000, 0, 1),
            (50, 2_000, 0, 1),
            (51, 2_000, 0, 2),
            (400, 2_000, 0, 8),
            (400, 2_000, 100, 2),
            (400, 2_000, 1_000, 8),
            (100_000, 2_000, 0, 10),
            (3, 1_000_000, 0, 10),
        ] {
            assert_eq!(
                Measure { objects, bytes }.seats(limit),
                expect,
                "{objects} of {bytes}, limit {limit}"
            );
        }
    }

    #[test]
    fn only_what_reads_a_collection_is_wide() {
        let info = |verb, name: &str| RequestInfo { verb, name: name.to_owned(), ..RequestInfo::default() };
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        for (verb, name, query, expect) in [
            ("list", "", &[][..], true),
            ("list", "a", &[], false),
            ("get", "a", &[], false),
            ("create", "", &[], false),
            ("watch", "", &[], true),
            ("watch", "", &[("resourceVersion", "0")], true),
            ("watch", "", &[("resourceVersion", "7")], false),
            ("watch", "", &[("resourceVersion", "7"), ("sendInitialEvents", "true")], true),
        ] {
            let query: Vec<_> = query.iter().map(pair).collect();
            assert_eq!(lists(&info(verb, name), &query), expect, "{verb} {name} {query:?}");
        }
    }
}
