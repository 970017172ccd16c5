//! Reads that begin in memory and go on in what an engine keeps of the past.
//!
//! Entry points: [`get`], [`list`] and [`watch`], which the engines share; what differs is [`Past`].

use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::hub::{Hub, Subscription};
use super::{Entry, Event, EventStream, Page, Revision, StoreError, Version};
use crate::encryption::Encryption;

/// What an engine reads that memory no longer has. Revisions are readable ones.
pub(super) trait Past: Sync {
    /// What opens entries that are given out.
    fn seals(&self) -> Encryption {
        Encryption::default()
    }

    /// A key's entry at a revision.
    fn entry(
        &self,
        key: &str,
        at: Revision,
    ) -> impl Future<Output = Result<Option<Arc<Entry>>, StoreError>> + Send;

    /// A page of entries at a revision.
    fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Revision,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Events of a prefix after one revision up to and including another.
    fn events(
        &self,
        prefix: &str,
        after: Revision,
        upto: Revision,
    ) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send;
}

/// As [`super::Store::get`].
pub(super) async fn get(
    hub: &Hub,
    past: &impl Past,
    key: &str,
    at: Option<Revision>,
) -> Result<Option<Arc<Entry>>, StoreError> {
    let found = match hub.get(key, at)? {
        Some(found) => found,
        None => past.entry(key, at.unwrap_or_default()).await?,
    };
    found.map(|entry| entry.opened(&past.seals())).transpose()
}

/// As [`super::Store::list`].
pub(super) async fn list(
    hub: &Hub,
    past: &impl Past,
    (prefix, after): (&str, Option<&str>),
    limit: usize,
    at: Option<Revision>,
) -> Result<Page, StoreError> {
    let encryption = past.seals();
    let mut page = match hub.list(prefix, after, limit, at)? {
        // Memory holds clear entries, but for those that no key opened.
        Some(page) if !encryption.is_locked() => return Ok(page),
        Some(page) => page,
        None => past.page(prefix, after, limit, at.unwrap_or_default()).await?,
    };
    for entry in &mut page.entries {
        *entry = Arc::clone(entry).opened(&encryption)?;
    }
    Ok(page)
}

/// As [`super::Store::watch`].
pub(super) async fn watch(
    hub: &Arc<Hub>,
    past: &impl Past,
    prefix: &str,
    after: Revision,
) -> Result<EventStream, StoreError> {
    let Subscription { recent, from, live } = hub.subscribe(prefix, after)?;
    let encryption = past.seals();
    let past = match recent {
        Some(recent) => recent,
        None => past.events(prefix, after, from).await?,
    };
    let open = move |event: Result<Event, StoreError>| event.and_then(|event| opened(event, &encryption));
    Ok(stream::iter(past.into_iter().map(Ok)).chain(live).map(open).boxed())
}

/// An event in clear.
fn opened(event: Event, encryption: &Encryption) -> Result<Event, StoreError> {
    let sealed = |entry: &Option<Arc<Entry>>| entry.as_ref().is_some_and(|entry| entry.is_sealed());
    if !sealed(&event.entry) && !sealed(&event.previous) {
        return Ok(event);
    }
    let open = |entry: Option<Arc<Entry>>| entry.map(|entry| entry.opened(encryption)).transpose();
    Ok(Event { revision: event.revision, entry: open(event.entry)?, previous: open(event.previous)? })
}

/// Versions in clear.
pub(super) fn opened_versions(
    versions: Vec<Version>,
    encryption: &Encryption,
) -> Result<Vec<Version>, StoreError> {
    let open = |version: Version| {
        let entry = version.entry.map(|entry| entry.opened(encryption)).transpose()?;
        Ok(Version { entry, ..version })
    };
    versions.into_iter().map(open).collect()
}

/// What is kept begins after the time that was asked for.
pub(super) fn too_early(floor: Revision) -> StoreError {
    StoreError::Compacted { asked: floor.saturating_sub(1), floor }
}
