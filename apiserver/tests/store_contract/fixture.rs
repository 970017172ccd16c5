//! Engines to test, and short ways to write operations.

use std::sync::Arc;

use crate::etcd_server::FromOrigin;
use apiserver::storage::embedded::{Embedded, Limits};
use apiserver::storage::memory::Memory;
use apiserver::storage::{
    Amendment, Change, Draft, Event, EventStream, Expect, Operation, Revision, Store, StoreError,
};
use component_base::clock::RealClock;
use futures::{FutureExt as _, StreamExt as _};

/// An engine under test; its directory goes with it.
pub struct Engine {
    pub name: &'static str,
    pub store: Arc<dyn Store>,
    pub _directory: Option<tempfile::TempDir>,
}

/// A ring so short that nearly every read of the past goes to the disk.
pub fn short_ring() -> Limits {
    Limits { ring_events: 2, ..Limits::default() }
}

pub fn open(directory: &std::path::Path, limits: Limits) -> Result<Arc<Embedded>, StoreError> {
    Embedded::open_with(directory, RealClock::shared(), limits)
}

/// Every engine, empty.
pub async fn engines() -> Vec<Engine> {
    let embedded = |name, limits| {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path(), limits).expect("a new store");
        Engine { name, store, _directory: Some(directory) }
    };
    vec![
        Engine { name: "memory", store: Memory::open(), _directory: None },
        embedded("embedded", Limits::default()),
        embedded("embedded, short ring", short_ring()),
        Engine { name: "etcd", store: FromOrigin::start(8_192).await, _directory: None },
        Engine { name: "etcd, short ring", store: FromOrigin::start(2).await, _directory: None },
    ]
}

pub fn draft(text: &str) -> Draft {
    Draft {
        head: r#"{"metadata":{"resourceVersion":""#.into(),
        tail: format!(r#""}},"text":"{text}"}}"#).into(),
        lifetime: None,
    }
}

/// What [`draft`] becomes at a revision.
pub fn written(text: &str, revision: Revision) -> String {
    format!(r#"{{"metadata":{{"resourceVersion":"{revision}"}},"text":"{text}"}}"#)
}

pub fn create(key: &str, text: &str) -> Operation {
    Operation { key: key.to_owned(), expect: Expect::Absent, change: Change::Put(draft(text)) }
}

pub fn update(key: &str, revision: Revision, text: &str) -> Operation {
    Operation { key: key.to_owned(), expect: Expect::Revision(revision), change: Change::Put(draft(text)) }
}

pub fn delete(key: &str, revision: Revision) -> Operation {
    Operation { key: key.to_owned(), expect: Expect::Revision(revision), change: Change::Delete }
}

pub fn check(key: &str, expect: Expect) -> Operation {
    Operation { key: key.to_owned(), expect, change: Change::Check }
}

/// Adds a letter to the text that stands there, unless it has `most` of them.
pub fn amend(key: &str, letter: char, most: usize) -> Operation {
    let change = Amendment::new(move |entry| {
        let object: serde_json::Value = serde_json::from_slice(&entry.bytes).ok()?;
        let text = object["text"].as_str()?;
        (text.chars().count() < most).then(|| draft(&format!("{text}{letter}")))
    });
    Operation { key: key.to_owned(), expect: Expect::Present, change: Change::Amend(change) }
}

/// Everything a stream has ready now.
pub fn ready(stream: &mut EventStream) -> Vec<Result<Event, StoreError>> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}

/// `revision key text-or-(deleted)` for each event.
pub fn told(events: Vec<Result<Event, StoreError>>) -> Vec<String> {
    events
        .into_iter()
        .map(|event| match event {
            Ok(Event { revision, entry: Some(entry), previous }) => {
                let verb = if previous.is_some() { "changed" } else { "added" };
                format!("{revision} {verb} {}", entry.key)
            }
            Ok(Event { revision, previous, .. }) => {
                format!("{revision} deleted {}", previous.map_or_else(String::new, |p| p.key.to_string()))
            }
            Err(error) => format!("error: {error}"),
        })
        .collect()
}
