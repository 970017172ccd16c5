//! GET of a collection: stored bytes, or what is made of each, concatenated and streamed.
//!
//! A page is pinned to the revision of the first one, so a chunked list is one consistent snapshot;
//! after compaction the client is offered an inconsistent rest, as in Kubernetes.

mod body;
mod options;
mod rows;

use std::sync::Arc;

use api::Status;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::history;
use crate::call::{Call, parse, store_status};
use crate::negotiation::{Accepted, Form, Media, negotiate};
use crate::registry::selection::Selection;
use crate::storage::{Entry, Revision, StoreError};
use crate::{encode, output};

pub(in crate::handlers) use options::refuse;
use options::{Start, expired, start, token};
pub(crate) use options::{check_not_in_future, revision};
use rows::Rows;

/// How many entries are read at once when a limit meets a selector.
const SCAN_ENTRIES: usize = 512;

/// Answers a list.
pub(crate) async fn respond(call: &Arc<Call>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let accepted = call.pretty(negotiate(&call.kind, headers)?);
    let selection = Selection::of(call)?;
    if call.options.removed {
        return history::removed(call, &selection).await;
    }
    let mut start = start(call).await?;
    if let (Some(at), None) = (history::asked(call).await?, &start.after) {
        start.at = Some(at);
    }
    let found = match collect(call, &selection, &start).await {
        Ok(found) => found,
        Err(Failed::Store(StoreError::Compacted { .. })) if !call.options.continue_token.is_empty() => {
            return Ok(expired(&start, &call.stored.prefix(call.info.namespace())));
        }
        Err(Failed::Store(StoreError::Compacted { .. })) => {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        Err(Failed::Store(error)) => return Err(store_status(error)),
        Err(Failed::Conversion(status)) => return Err(status),
    };
    let bytes = found.entries.into_iter().map(|entry| entry.bytes.clone()).collect();
    answer(call, accepted, found.revision, found.rest.as_ref(), bytes).await
}

/// Objects, as they are stored, as a list in the form the caller accepts.
///
/// The forms programs ask for are made item by item as they are read, so that a list holds no more than one
/// frame of what it sends; indented JSON and YAML, which are for people, are made as a whole.
pub(crate) async fn answer(
    call: &Arc<Call>,
    accepted: Accepted,
    revision: Revision,
    rest: Option<&Rest>,
    bytes: Vec<Bytes>,
) -> Result<Response<Body>, Status> {
    let metadata = list_metadata(revision, rest);
    let short = bytes.iter().map(Bytes::len).sum::<usize>() <= body::FRAME_BYTES;
    if accepted.media == Media::Json && !accepted.pretty {
        let (head, write) = items(call, accepted, metadata)?;
        return Ok(body::stream(head, bytes, write));
    }
    if accepted.media == Media::Protobuf && accepted.form != Form::Metadata {
        let (version, kind) = match accepted.form {
            Form::MetadataList => {
                (accepted.meta_version().to_owned(), "PartialObjectMetadataList".to_owned())
            }
            _ => (call.kind.api_version(), call.kind.list_kind()),
        };
        let bytes = bytes.iter().map(|stored| call.visible(stored)).collect::<Result<Vec<_>, _>>()?;
        let response = body::protobuf(&version, &kind, &metadata, bytes, accepted).await;
        return response.ok_or_else(|| Status::internal("the list has no protobuf form"));
    }
    let whole = {
        let call = Arc::clone(call);
        move || {
            let object = |stored: &Bytes| parse(&call.visible(stored)?);
            let objects = bytes.iter().map(object).collect::<Result<Vec<_>, _>>()?;
            output::list(&call, accepted, metadata, objects)
        }
    };
    if short {
        return whole();
    }
    // Aside from other requests, for which it leaves the processor.
    let made = tokio::task::spawn_blocking(whole).await;
    made.unwrap_or_else(|_panic| Err(Status::internal("the list could not be made")))
}

/// The beginning of a list of JSON, up to its first item, and what makes the items.
///
/// Our own bytes are JSON; an item of bytes that were not would be `null`.
fn items(call: &Arc<Call>, accepted: Accepted, metadata: Value) -> Result<(Bytes, body::Write), Status> {
    let version = accepted.meta_version();
    Ok(match accepted.form {
        Form::Object => {
            let (kind, call) = (call.kind.list_kind(), Arc::clone(call));
            let head = head(&kind, &call.kind.api_version(), &metadata);
            (head, Box::new(move |stored, out| put(out, call.visible(stored).ok())))
        }
        Form::MetadataList => {
            let (head, call) = (head("PartialObjectMetadataList", version, &metadata), Arc::clone(call));
            let partial =
                move |stored: &Bytes| encode::metadata_only(version, &call.visible(stored).ok()?).ok();
            (head, Box::new(move |stored, out| put(out, partial(stored))))
        }
        Form::Table => {
            let rows = Rows::of(call, accepted)?;
            let head = table_head(&rows.tables.without_rows(metadata));
            (head, Box::new(move |stored, out| put(out, rows.row(stored))))
        }
        Form::Metadata => {
            return Err(output::wrong_form(call, "PartialObjectMetadata", "a list", "List"));
        }
    })
}

fn put(out: &mut BytesMut, item: Option<impl AsRef<[u8]>>) {
    out.extend_from_slice(item.as_ref().map_or(b"null", AsRef::as_ref));
}

/// What a page holds.
struct Found {
    entries: Vec<Arc<Entry>>,
    revision: Revision,
    rest: Option<Rest>,
}

/// What is left after a page.
pub(crate) struct Rest {
    token: String,
    remaining: Option<u64>,
}

/// Why nothing could be collected.
enum Failed {
    Store(StoreError),
    /// Objects could not be brought into the version asked for.
    Conversion(Status),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Conversion(status)
    }
}

async fn collect(call: &Call, selection: &Selection, start: &Start) -> Result<Found, Failed> {
    let store = &call.server.store;
    let prefix = call.stored.prefix(call.info.namespace());
    let limit = call.options.limit;
    if let (Some(name), Some(_), None) = (selection.only_name(), exact_place(call), &start.after) {
        let revision = start.at.unwrap_or_else(|| store.revision());
        let entry = store.get(&call.key(name), start.at).await?;
        let entries = call.adopt_all(entry.into_iter().collect()).await?;
        let entries = entries.into_iter().filter(|entry| selection.matches(entry)).collect();
        return Ok(Found { entries, revision, rest: None });
    }
    if limit == 0 || selection.is_everything() {
        let page = store.list(&prefix, start.after.as_deref(), limit, start.at).await?;
        let rest = (page.remaining > 0).then(|| Rest {
            token: page.entries.last().map(|e| token(page.revision, &e.key, &prefix)).unwrap_or_default(),
            remaining: selection.is_everything().then_some(page.remaining),
        });
        let entries = call.adopt_all(page.entries).await?;
        let entries = entries.into_iter().filter(|entry| selection.matches(entry)).collect();
        return Ok(Found { entries, revision: page.revision, rest });
    }
    scan(call, selection, start, &prefix).await
}

/// A key can be read directly when the whole place is known.
fn exact_place(call: &Call) -> Option<()> {
    (!call.kind.namespaced() || !call.info.namespace.is_empty()).then_some(())
}

/// Reads on until `limit` entries match.
async fn scan(call: &Call, selection: &Selection, start: &Start, prefix: &str) -> Result<Found, Failed> {
    let (mut at, mut after, mut entries) = (start.at, start.after.clone(), Vec::new());
    loop {
        let page = call.server.store.list(prefix, after.as_deref(), SCAN_ENTRIES, at).await?;
        at = Some(page.revision);
        let last = page.entries.len();
        for (number, entry) in call.adopt_all(page.entries).await?.into_iter().enumerate() {
            after = Some(entry.key.to_string());
            if !selection.matches(&entry) {
                continue;
            }
            entries.push(entry);
            if entries.len() == call.options.limit {
                let more = number + 1 < last || page.remaining > 0;
                let key = after.unwrap_or_default();
                let rest = more.then(|| Rest { token: token(page.revision, &key, prefix), remaining: None });
                return Ok(Found { entries, revision: page.revision, rest });
            }
        }
        if page.remaining == 0 {
            return Ok(Found { entries, revision: page.revision, rest: None });
        }
    }
}

/// `metadata` of a list.
fn list_metadata(revision: Revision, rest: Option<&Rest>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(rest) = rest {
        metadata["continue"] = rest.token.as_str().into();
        if let Some(remaining) = rest.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    metadata
}

/// The beginning of a list, up to its first item.
fn head(kind: &str, api_version: &str, metadata: &Value) -> Bytes {
    let (kind, version) = (Value::from(kind), Value::from(api_version));
    Bytes::from(format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":["))
}

/// The same for a Table that has all but its rows.
fn table_head(table: &Value) -> Bytes {
    let text = table.to_string();
    Bytes::from(format!("{},\"rows\":[", text.strip_suffix('}').unwrap_or(&text)))
}

#[cfg(test)]
mod tests;
