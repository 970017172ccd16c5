//! The task behind an informer: list, watch from there, list again when the server has forgotten.
//!
//! An error waits and tries again; the wait grows to 30 s and is forgotten at the next success. What cannot be read
//! in a watch is listed over: it would come again with every watch from where this one began.

use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::rng::Rng;
use futures::TryStreamExt as _;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};

use super::store::without_owners;
use super::{Informer, Watched};
use crate::request;

/// Objects per page of a list, as client-go.
const PAGE: u32 = 500;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why a watch ended before its time.
#[derive(Debug, thiserror::Error)]
enum ReflectError {
    #[error("cannot build the request: {0}")]
    Build(#[source] kube::core::request::Error),
    #[error("{0}")]
    Client(#[source] Box<kube::Error>),
    #[error("the server ended the watch: {0:?}")]
    Ended(Box<kube::core::Status>),
    #[error("the watch closed without an event")]
    Empty,
}

impl ReflectError {
    /// The server no longer has the history we asked for.
    fn expired(&self) -> bool {
        match self {
            Self::Client(error) => request::code(error) == Some(410),
            Self::Ended(status) => status.code == 410,
            Self::Build(_) | Self::Empty => false,
        }
    }

    /// An object that does not fit the type of the view.
    fn unreadable(&self) -> bool {
        let Self::Client(error) = self else { return false };
        // An event that is none is taken for a Status, which then says nothing.
        matches!(&**error, kube::Error::SerdeError(_)) || request::code(error) == Some(0)
    }
}

impl From<kube::Error> for ReflectError {
    fn from(error: kube::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

pub(super) struct Reflector<K> {
    informer: Informer<K>,
    client: kube::Client,
    clock: SharedClock,
    rng: Rng,
}

impl<K: Watched> Reflector<K> {
    pub(super) fn new(informer: Informer<K>, client: kube::Client, clock: SharedClock, rng: Rng) -> Self {
        Self { informer, client, clock, rng }
    }

    pub(super) async fn run(self) {
        let mut wait = FIRST_WAIT;
        let mut position: Option<String> = None;
        loop {
            let outcome = match &mut position {
                None => self.list().await.map(|at| position = Some(at)),
                Some(at) => self.watch(at, &mut wait).await,
            };
            let Err(error) = outcome else { continue };
            let kind = &self.informer.resource().plural;
            if error.unreadable() {
                tracing::warn!(kind, %error, "an object cannot be read: nothing new is seen of its kind until it can");
                position = None;
            } else {
                tracing::debug!(kind, %error, "watch interrupted");
                if error.expired() && position.take().is_some() {
                    continue;
                }
            }
            self.clock.sleep(self.rng.jitter(wait, 0.5)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Reads everything and returns the revision to watch from.
    async fn list(&self) -> Result<String, ReflectError> {
        let interest = &self.informer.0.interest;
        let requests = request::requests(&interest.resource, interest.namespace());
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.field_selector.clone_from(&interest.fields);
        let mut objects = Vec::new();
        loop {
            let request =
                if interest.metadata_only { requests.list_metadata(&params) } else { requests.list(&params) };
            let page: ObjectList<K> = self.client.request(request.map_err(ReflectError::Build)?).await?;
            // Page by page, so that the next one fills the holes: memory stayed twice as large when all went at the end.
            objects.extend(page.items.into_iter().map(without_owners));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    let revision = page.metadata.resource_version.unwrap_or_default();
                    self.informer.dispatch(|store| store.replace(objects));
                    self.informer.saw(Some(&revision));
                    self.informer.0.synced.send_replace(true);
                    return Ok(revision);
                }
            }
        }
    }

    /// Follows events, keeping `at` at the last one seen, until the server closes the stream.
    async fn watch(&self, at: &mut String, wait: &mut Duration) -> Result<(), ReflectError> {
        let interest = &self.informer.0.interest;
        let requests = request::requests(&interest.resource, interest.namespace());
        let params = WatchParams { field_selector: interest.fields.clone(), ..WatchParams::default() };
        let request = if interest.metadata_only {
            requests.watch_metadata(&params, at)
        } else {
            requests.watch(&params, at)
        };
        let events = self.client.request_events::<K>(request.map_err(ReflectError::Build)?).await?;
        futures::pin_mut!(events);
        let mut any = false;
        while let Some(event) = events.try_next().await? {
            self.follow(event, at)?;
            any = true;
            *wait = FIRST_WAIT;
        }
        if any { Ok(()) } else { Err(ReflectError::Empty) }
    }

    fn follow(&self, event: WatchEvent<K>, at: &mut String) -> Result<(), ReflectError> {
        let revision = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let revision = object.meta().resource_version.clone();
                self.informer.dispatch(|store| store.apply(object).into_iter().collect());
                revision
            }
            WatchEvent::Deleted(object) => {
                let revision = object.meta().resource_version.clone();
                self.informer.dispatch(|store| store.remove(object).into_iter().collect());
                revision
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(ReflectError::Ended(status)),
        };
        self.informer.saw(revision.as_deref());
        if let Some(revision) = revision {
            *at = revision;
        }
        Ok(())
    }
}
