//! Whether what writers were told and what watchers saw is one history.
//!
//! Entry point: [`check`].

use std::collections::BTreeMap;

use crate::client::List;
use crate::watcher::{Kind, Log, Part, Seen};
use crate::writer::{Written, name};

/// Everything that happened, by revision.
type History = BTreeMap<u64, Seen>;

/// Fails unless every write happened once and every watcher saw all of it; a line of figures.
pub fn check(logs: &[Log], written: &BTreeMap<u16, Written>, listed: &List) -> String {
    let history = happened(logs);
    for work in written.values() {
        check_writer(&history, work);
    }
    assert!(history.values().all(|seen| written.contains_key(&seen.writer)));
    for (number, log) in logs.iter().enumerate() {
        for part in &log.parts {
            check_part(&history, part, number);
        }
    }
    assert_eq!(state(&history, u64::MAX), listed.items, "the last list shows what the events add up to");
    let told: usize = written.values().map(|work| work.told.len()).sum();
    format!("{} watchers saw the same {} events, {told} of them told to writers", logs.len(), history.len())
}

/// What anybody saw, about which all must agree.
fn happened(logs: &[Log]) -> History {
    let mut history = History::new();
    for seen in logs.iter().flat_map(|log| &log.parts).flat_map(|part| &part.events) {
        let first = history.entry(seen.revision).or_insert(*seen);
        assert_eq!(first, seen, "two watchers saw different things at one revision");
    }
    history
}

/// Each step once, in order, where the writer was told it was.
fn check_writer(history: &History, work: &Written) {
    let own: Vec<&Seen> = history.values().filter(|seen| seen.writer == work.number).collect();
    for (step, seen) in (0..).zip(&own) {
        let kind = [Kind::Added, Kind::Modified, Kind::Deleted][step as usize % 3];
        assert_eq!((seen.step, seen.kind), (step, kind), "writer {}: lost or done twice", work.number);
    }
    assert_eq!(own.len(), work.steps as usize, "writer {}: done and acknowledged", work.number);
    for (revision, step) in &work.told {
        let seen = history.get(revision).map(|seen| (seen.writer, seen.step));
        assert_eq!(seen, Some((work.number, *step)), "told of revision {revision}");
    }
}

/// No gap and no repetition between where a watch began and where it ended.
fn check_part(history: &History, part: &Part, number: usize) {
    let due = history.range(part.from + 1..=part.upto).map(|(_, seen)| seen);
    assert!(due.eq(&part.events), "watcher {number} from {} to {}", part.from, part.upto);
    if let Some(list) = &part.list {
        assert_eq!(list.items, state(history, list.revision), "watcher {number}: the list it went on from");
    }
}

/// Names that exist at a revision, and which revision wrote them.
fn state(history: &History, at: u64) -> BTreeMap<String, u64> {
    let mut state = BTreeMap::new();
    for seen in history.range(..=at).map(|(_, seen)| seen) {
        let name = name(seen.writer, seen.step);
        match seen.kind {
            Kind::Deleted => state.remove(&name),
            Kind::Added | Kind::Modified => state.insert(name, seen.revision),
        };
    }
    state
}
