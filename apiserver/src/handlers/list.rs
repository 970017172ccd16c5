//! GET of a collection: stored bytes, concatenated and streamed.
//!
//! A page is pinned to the revision of the first one, so a chunked list is one consistent snapshot;
//! after compaction the client is offered an inconsistent rest, as in Kubernetes.

use std::sync::Arc;

use api::{Cause, Reason, Status};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::history;
use crate::call::{Call, parse, store_status};
use crate::output::{self, Form};
use crate::registry::selection::Selection;
use crate::storage::{Entry, Revision, StoreError};

/// Bytes per frame of a streamed list: large enough to cost little, small enough not to hold much.
const FRAME_BYTES: usize = 64 * 1024;
/// How many entries are read at once when a limit meets a selector.
const SCAN_ENTRIES: usize = 512;

/// Answers a list.
pub(crate) async fn respond(call: &Call, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let accepted = output::negotiate(headers)?;
    if accepted.form == Form::Metadata {
        return Err(output::not_acceptable_here());
    }
    let selection = Selection::of(call)?;
    if call.options.removed {
        return history::removed(call, &selection).await;
    }
    let mut start = start(call)?;
    if let (Some(at), None) = (history::asked(call).await?, &start.after) {
        start.at = Some(at);
    }
    let found = match collect(call, &selection, &start).await {
        Ok(found) => found,
        Err(Failed::Store(StoreError::Compacted { .. })) if !call.options.continue_token.is_empty() => {
            return Ok(expired(&start, &call.stored.prefix(call.info.namespace())));
        }
        Err(Failed::Store(error)) => return Err(store_status(error)),
        Err(Failed::Conversion(status)) => return Err(status),
    };
    let metadata = list_metadata(found.revision, found.rest.as_ref());
    let entries = found.entries.iter().map(|entry| call.visible(&entry.bytes));
    let bytes = entries.collect::<Result<Vec<_>, _>>()?;
    match accepted.form {
        Form::Object if !accepted.yaml && !call.options.pretty => {
            Ok(stream(head(call, found.revision, found.rest.as_ref()), bytes))
        }
        form => {
            let objects = bytes.iter().map(|b| parse(b)).collect::<Result<Vec<_>, _>>()?;
            let value = render(call, form, metadata, objects)?;
            output::encode(call, StatusCode::OK, &value, accepted.yaml)
        }
    }
}

fn render(call: &Call, form: Form, metadata: Value, objects: Vec<Value>) -> Result<Value, Status> {
    Ok(match form {
        Form::Table => output::table(call, metadata, &objects)?,
        Form::MetadataList => {
            let items: Vec<Value> = objects.iter().map(output::metadata_only).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                   "metadata": metadata, "items": items})
        }
        Form::Object | Form::Metadata => json!({
            "kind": format!("{}List", call.kind.kind), "apiVersion": call.kind.api_version(),
            "metadata": metadata, "items": objects,
        }),
    })
}

/// Where a page begins and which revision it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    at: Option<Revision>,
    after: Option<String>,
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

/// Revision and position of this page, from the continue token or the resourceVersion options.
fn start(call: &Call) -> Result<Start, Status> {
    let options = &call.options;
    let version = options.resource_version.as_str();
    check_match(&options.resource_version_match, version, &options.continue_token)?;
    if !options.continue_token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let prefix = call.stored.prefix(call.info.namespace());
        return decode_token(&options.continue_token, &prefix);
    }
    check_not_in_future(call)?;
    let revision = revision(version)?;
    let exact = options.resource_version_match == "Exact"
        || (options.resource_version_match.is_empty() && options.limit > 0 && revision > 0);
    Ok(Start { at: exact.then_some(revision), after: None })
}

fn check_match(word: &str, version: &str, token: &str) -> Result<(), Status> {
    let refuse = |cause| Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]));
    let field = "resourceVersionMatch";
    if word.is_empty() {
        return Ok(());
    }
    if !token.is_empty() {
        return refuse(Cause::forbidden(
            field,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if version.is_empty() {
        return refuse(Cause::forbidden(
            field,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    match word {
        "NotOlderThan" => Ok(()),
        "Exact" if version == "0" => refuse(Cause::forbidden(
            field,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        "Exact" => Ok(()),
        other => refuse(Cause::not_supported(field, &other.into(), &["Exact", "NotOlderThan", ""])),
    }
}

/// A resourceVersion as a number, 0 for none.
pub(crate) fn revision(version: &str) -> Result<Revision, Status> {
    if version.is_empty() {
        return Ok(0);
    }
    version.parse().map_err(|_| {
        Status::bad_request(format!(
            "Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
        ))
    })
}

/// 504 when a state is asked for that does not exist yet.
pub(crate) fn check_not_in_future(call: &Call) -> Result<(), Status> {
    let (asked, current) = (revision(&call.options.resource_version)?, call.server.store.revision());
    if asked > current { Err(store_status(StoreError::Future { asked, current })) } else { Ok(()) }
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

/// Upstream's token: where the next page starts (relative to the prefix) and the snapshot it is part of.
fn token(revision: Revision, key: &str, prefix: &str) -> String {
    encode_token(&revision.to_string(), key.strip_prefix(prefix).unwrap_or(key))
}

fn encode_token(revision: &str, relative: &str) -> String {
    let number: Value = revision.parse::<i64>().map_or(Value::Null, Value::from);
    // The NUL makes the start exclusive: it is the smallest key after `relative`.
    let token = json!({"v": "meta.k8s.io/v1", "rv": number, "start": format!("{relative}\u{0}")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn decode_token(text: &str, prefix: &str) -> Result<Start, Status> {
    let invalid = |detail: &str| Status::bad_request(format!("continue key is not valid: {detail}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid("not base64"))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("not a token"))?;
    if token["v"] != "meta.k8s.io/v1" {
        return Err(invalid("server does not recognize this encoded version"));
    }
    let (revision, start) = (token["rv"].as_i64(), token["start"].as_str().unwrap_or_default());
    let relative = start.trim_end_matches('\u{0}');
    if relative.is_empty() || relative.split('/').any(|part| part == ".." || part.is_empty()) {
        return Err(invalid("encoded start key empty or outside the collection"));
    }
    let at = match revision {
        // -1 means: go on with the present state (the snapshot was compacted away).
        Some(-1) => None,
        Some(revision) => {
            Some(u64::try_from(revision).map_err(|_| invalid("incorrect encoded start resourceVersion"))?)
        }
        None => return Err(invalid("incorrect encoded start resourceVersion")),
    };
    Ok(Start { at, after: Some(format!("{prefix}{relative}")) })
}

/// 410 with a token for an inconsistent rest.
fn expired(start: &Start, prefix: &str) -> Response<Body> {
    const TEXT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut body = Status::new(Reason::Expired, TEXT).to_json();
    if let Some(after) = &start.after {
        let relative = after.strip_prefix(prefix).unwrap_or(after);
        body["metadata"] = json!({"continue": encode_token("-1", relative)});
    }
    output::json_value(StatusCode::GONE, &body)
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
pub(crate) fn head(call: &Call, revision: Revision, rest: Option<&Rest>) -> Bytes {
    let kind = Value::from(format!("{}List", call.kind.kind));
    let version = Value::from(call.kind.api_version());
    let metadata = list_metadata(revision, rest);
    Bytes::from(format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":["))
}

/// A list body: one buffer when small, else frames made as the client reads them.
pub(crate) fn stream(head: Bytes, items: Vec<Bytes>) -> Response<Body> {
    let total: usize = head.len() + 2 + items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut state = Frames { head: Some(head), items, next: 0, ended: false };
    let body = if total <= FRAME_BYTES {
        Body::from(state.frame(total).unwrap_or_default())
    } else {
        Body::from_stream(stream::unfold(state, |mut state| async move {
            let frame = state.frame(FRAME_BYTES)?;
            Some((Ok::<_, std::convert::Infallible>(frame), state))
        }))
    };
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

struct Frames {
    head: Option<Bytes>,
    items: Vec<Bytes>,
    next: usize,
    ended: bool,
}

impl Frames {
    /// At least `size` bytes unless the list ends before.
    fn frame(&mut self, size: usize) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut frame = BytesMut::with_capacity(size.min(FRAME_BYTES) + 4096);
        if let Some(head) = self.head.take() {
            frame.put(head);
        }
        while let Some(item) = self.items.get_mut(self.next) {
            if self.next > 0 {
                frame.put_u8(b',');
            }
            frame.put(std::mem::take(item));
            self.next += 1;
            if frame.len() >= size && self.next < self.items.len() {
                return Some(frame.freeze());
            }
        }
        frame.put_slice(b"]}\n");
        self.ended = true;
        Some(frame.freeze())
    }
}

#[cfg(test)]
mod tests;
