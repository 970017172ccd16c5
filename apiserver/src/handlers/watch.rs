//! WATCH: one JSON line or protobuf frame per event, from a revision on.
//!
//! The feed is pulled by the connection: nothing is read from the store that the client does not take.
//! A client that stops reading falls behind in the store's bounded queue and gets 410 when it returns;
//! the listener cuts a connection whose peer reads nothing for minutes.

mod frames;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::{Cause, Status};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Response};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::call::{Call, store_status};
use crate::metrics;
use crate::negotiation::{Accepted, Media, negotiate_stream};
use crate::registry::selection::Selection;
use crate::storage::{Entry, Event, EventStream, Revision, StoreError};
use frames::Encoder;

/// Events that are ready together go out together, up to so many bytes: large enough to cost little, small
/// enough not to hold much.
const FRAME_BYTES: usize = 64 * 1024;
/// How often an idle watch that allows it learns the newest revision.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Bounds of a watch whose client names no end; spread, so that clients do not return together.
const MIN_SECONDS: u64 = 1800;
const EXTRA_SECONDS: u64 = 1800;

/// Starts a watch.
pub(crate) async fn respond(call: &Arc<Call>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let accepted = negotiate_stream(&call.kind, headers)?;
    check_options(call)?;
    let selection = Selection::of(call)?;
    let (first, events) = start(call, &selection).await?;
    let feed = Feed::new(call, selection, accepted, events, first);
    let sent = metrics::watch_events(&call.kind);
    let body = Body::from_stream(stream::unfold((feed, sent), |(mut feed, sent)| async move {
        let frame = feed.next().await?;
        sent.inc();
        Some((Ok::<_, std::convert::Infallible>(frame), (feed, sent)))
    }));
    let mut response = Response::new(body);
    let content_type = match accepted.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Media::Json | Media::Yaml => Media::Json.name(),
    };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// Upstream's `validateWatchOptions`.
fn check_options(call: &Call) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let options = &call.options;
    let word = options.resource_version_match.as_str();
    let mut causes = Vec::new();
    if options.send_initial_events.is_some() && word != "NotOlderThan" {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden(FIELD, detail));
    }
    if !word.is_empty() {
        if options.send_initial_events.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden(FIELD, detail));
        }
        if word != "NotOlderThan" {
            causes.push(Cause::not_supported(FIELD, &word.into(), &["NotOlderThan"]));
        }
        if !options.continue_token.is_empty() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(FIELD, detail));
        }
    }
    super::list::refuse(causes)
}

/// What a watch begins with.
#[derive(Default)]
struct First {
    entries: Vec<Arc<Entry>>,
    /// Where the entries end; the bookmark says so if initial events were asked for.
    end_mark: Option<Revision>,
    failure: Option<Status>,
}

async fn start(call: &Call, selection: &Selection) -> Result<(First, Option<EventStream>), Status> {
    let store = &call.server.store;
    let prefix = call.stored.prefix(call.info.namespace());
    let options = &call.options;
    let after = super::list::revision(&options.resource_version)?;
    super::list::check_not_in_future(call).await?;
    // Upstream's `SetListOptionsDefaults`: a watch from nowhere is one with initial events.
    let initial = options.send_initial_events.unwrap_or(after == 0);
    if !initial && after > 0 {
        return match store.watch(&prefix, after).await {
            Ok(events) => Ok((First::default(), Some(events))),
            Err(error @ StoreError::Compacted { .. }) => {
                Ok((First { failure: Some(store_status(error)), ..First::default() }, None))
            }
            Err(error) => Err(store_status(error)),
        };
    }
    if !initial {
        let events = store.watch(&prefix, store.revision()).await.map_err(store_status)?;
        return Ok((First::default(), Some(events)));
    }
    let page = store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let events = store.watch(&prefix, page.revision).await.map_err(store_status)?;
    let entries = call.adopt_all(page.entries).await?;
    let entries = entries.into_iter().filter(|entry| selection.matches(entry)).collect();
    let end_mark = options.allow_watch_bookmarks.then_some(page.revision);
    Ok((First { entries, end_mark, failure: None }, Some(events)))
}

/// One watch in progress.
struct Feed {
    selection: Selection,
    encoder: Encoder,
    events: Option<EventStream>,
    initial: VecDeque<Arc<Entry>>,
    end_mark: Option<Revision>,
    /// Encoded events that have not gone out.
    frame: BytesMut,
    call: Arc<Call>,
    bookmark: Option<BoxFuture<'static, ()>>,
    end: BoxFuture<'static, ()>,
    shutdown: std::pin::Pin<Box<WaitForCancellationFutureOwned>>,
    /// The kind has changed, or is not served any more: the client has to look anew.
    superseded: Option<BoxFuture<'static, ()>>,
}

enum Turn {
    Event(Option<Result<Event, StoreError>>),
    Bookmark,
    End,
}

impl Feed {
    fn new(
        call: &Arc<Call>,
        selection: Selection,
        accepted: Accepted,
        events: Option<EventStream>,
        first: First,
    ) -> Self {
        let server = &call.server;
        // Zero means "the server's choice", as in Kubernetes.
        let asked = call.options.timeout_seconds.filter(|seconds| *seconds > 0);
        let seconds = asked.unwrap_or_else(|| MIN_SECONDS + server.rng.below(EXTRA_SECONDS));
        let encoder = Encoder::new(Arc::clone(call), accepted);
        let mut frame = BytesMut::new();
        if let Some(status) = &first.failure {
            encoder.error(&mut frame, status);
        }
        Self {
            selection,
            encoder,
            events,
            initial: first.entries.into(),
            end_mark: first.end_mark,
            frame,
            bookmark: call.options.allow_watch_bookmarks.then(|| server.clock.sleep(BOOKMARK_EVERY)),
            end: server.clock.sleep(Duration::from_secs(seconds)),
            shutdown: Box::pin(server.shutdown.token().cancelled_owned()),
            superseded: call.kind.is_custom().then(|| {
                let (server, kind) = (Arc::clone(server), Arc::clone(&call.kind));
                Box::pin(crate::custom_resources::superseded(server, kind)) as BoxFuture<'static, ()>
            }),
            call: Arc::clone(call),
        }
    }

    /// The next events, `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.begin();
            self.catch_up().await;
            if !self.frame.is_empty() {
                return Some(self.frame.split().freeze());
            }
            self.events.as_ref()?;
            match self.turn().await {
                Turn::Event(event) => self.follow(event).await,
                Turn::Bookmark => {
                    self.bookmark = Some(self.call.server.clock.sleep(BOOKMARK_EVERY));
                    self.mark().await;
                }
                Turn::End => {
                    if self.bookmark.is_some() {
                        self.mark().await;
                    }
                    self.events = None;
                }
            }
        }
    }

    /// Writes what the watch begins with, or the next part of it.
    fn begin(&mut self) {
        while self.frame.len() < FRAME_BYTES
            && let Some(entry) = self.initial.pop_front()
        {
            self.encoder.event(&mut self.frame, "ADDED", &entry.bytes);
        }
        if self.initial.is_empty()
            && let Some(revision) = self.end_mark.take()
        {
            self.encoder.bookmark(&mut self.frame, revision, true);
        }
    }

    /// Writes the events that wait already, as far as they fit; none before the watch has begun.
    async fn catch_up(&mut self) {
        while self.initial.is_empty()
            && self.frame.len() < FRAME_BYTES
            && let Some(events) = &mut self.events
            && let Some(event) = events.next().now_or_never()
        {
            self.follow(event).await;
        }
    }

    /// Writes one event of the store; what is none ends the watch.
    async fn follow(&mut self, event: Option<Result<Event, StoreError>>) {
        match event {
            Some(Ok(event)) => self.take(event).await,
            Some(Err(StoreError::Closed)) | None => self.events = None,
            Some(Err(error)) => {
                self.events = None;
                self.encoder.error(&mut self.frame, &store_status(error));
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        let Some(events) = &mut self.events else { return Turn::Event(None) };
        let bookmark = async {
            match &mut self.bookmark {
                Some(due) => due.await,
                None => std::future::pending().await,
            }
        };
        let superseded = async {
            match &mut self.superseded {
                Some(superseded) => superseded.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = events.next() => Turn::Event(event),
            () = &mut self.shutdown => Turn::End,
            () = &mut self.end => Turn::End,
            () = superseded => Turn::End,
            () = bookmark => Turn::Bookmark,
        }
    }

    /// Queues a bookmark of the newest revision, after every event up to it.
    async fn mark(&mut self) {
        let revision = self.call.server.store.revision();
        while let Some(Some(next)) = self.events.as_mut().map(|e| e.next().now_or_never()) {
            match next {
                Some(Ok(event)) => self.take(event).await,
                // The failure shows again at the next turn; without certainty no bookmark.
                _ => return,
            }
        }
        self.encoder.bookmark(&mut self.frame, revision, false);
    }

    /// Translates a store event into what this selection sees of it. What cannot be converted ends the watch.
    async fn take(&mut self, event: Event) {
        let revision = event.revision;
        let now = seen(&self.call, &self.selection, event.entry).await;
        let before = seen(&self.call, &self.selection, event.previous).await;
        let out = &mut self.frame;
        match (now, before) {
            (Ok(Some(entry)), Ok(None)) => self.encoder.event(out, "ADDED", &entry.bytes),
            (Ok(Some(entry)), Ok(Some(_))) => self.encoder.event(out, "MODIFIED", &entry.bytes),
            // The last form the client knew, at the revision that took it away.
            (Ok(None), Ok(Some(old))) => {
                self.encoder.event(out, "DELETED", &crate::encode::at_revision(&old.bytes, revision));
            }
            (Ok(None), Ok(None)) => {}
            (Err(status), _) | (_, Err(status)) => {
                self.events = None;
                self.encoder.error(out, &status);
            }
        }
    }
}

/// An entry as a watch sees it, if it does.
async fn seen(
    call: &Call,
    selection: &Selection,
    entry: Option<Arc<Entry>>,
) -> Result<Option<Arc<Entry>>, Status> {
    let Some(entry) = entry else { return Ok(None) };
    let entry = call.adopt(entry).await?;
    Ok(selection.matches(&entry).then_some(entry))
}
