//! Reads that begin in memory and go on in what an engine keeps of the past.
//!
//! Entry points: [`get`], [`list`] and [`watch`], which the engines share; what differs is [`Past`].

use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::hub::{Hub, Subscription};
use super::{Entry, Event, EventStream, Page, Revision, StoreError};

/// What an engine reads that memory no longer has. Revisions are readable ones.
pub(super) trait Past: Sync {
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
    match hub.get(key, at)? {
        Some(found) => Ok(found),
        None => past.entry(key, at.unwrap_or_default()).await,
    }
}

/// As [`super::Store::list`].
pub(super) async fn list(
    hub: &Hub,
    past: &impl Past,
    (prefix, after): (&str, Option<&str>),
    limit: usize,
    at: Option<Revision>,
) -> Result<Page, StoreError> {
    match hub.list(prefix, after, limit, at)? {
        Some(page) => Ok(page),
        None => past.page(prefix, after, limit, at.unwrap_or_default()).await,
    }
}

/// As [`super::Store::watch`].
pub(super) async fn watch(
    hub: &Arc<Hub>,
    past: &impl Past,
    prefix: &str,
    after: Revision,
) -> Result<EventStream, StoreError> {
    let Subscription { recent, from, live } = hub.subscribe(prefix, after)?;
    let past = match recent {
        Some(recent) => recent,
        None => past.events(prefix, after, from).await?,
    };
    Ok(stream::iter(past.into_iter().map(Ok)).chain(live).boxed())
}

/// What is kept begins after the time that was asked for.
pub(super) fn too_early(floor: Revision) -> StoreError {
    StoreError::Compacted { asked: floor.saturating_sub(1), floor }
}
