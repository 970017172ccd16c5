//! The past of objects, on the usual paths: query parameters that stock clients never send, behind the
//! same authorisation as reading what is there now.
//!
//! - `GET …/NAME?gantry.dev/at=REVISION|TIME` and the same on a collection: as it was then ([`asked`]).
//! - `GET …/NAME?gantry.dev/history=true`: what became of the object, also of one that is gone ([`respond`]).
//! - `GET …?gantry.dev/removed=true`: objects that are gone, each as it was before its deletion began
//!   ([`removed`]); `resourceVersion` skips what was removed up to it, `limit` and `continue` page.
//!
//! Secret values appear only where an object is read as a whole, never among changes.

use std::sync::Arc;

use api::{Status, changes, object};
use axum::body::Body;
use component_base::clock::rfc3339_seconds;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::{Call, parse, store_status};
use crate::output;
use crate::registry::selection::Selection;
use crate::storage::{Entry, Revision, StoreError, Version};

/// Versions told of when the caller names no `limit`; a lease has ten thousand a day.
const DEFAULT_VERSIONS: usize = 100;
/// Removed objects in one answer when the caller names no `limit`.
const DEFAULT_REMOVED: usize = 500;
/// Versions looked at for the one before a deletion began: marking, and finalizers that go one by one.
const DELETION_VERSIONS: usize = 32;

/// The revision a request wants to see, if it names one.
pub(crate) async fn asked(call: &Call) -> Result<Option<Revision>, Status> {
    let at = call.options.at.as_str();
    if at.is_empty() {
        return Ok(None);
    }
    if let Ok(revision) = at.parse::<Revision>() {
        return Ok(Some(revision));
    }
    let time: Timestamp = at.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid query parameter gantry.dev/at: {at:?} is neither a revision nor an RFC 3339 time"
        ))
    })?;
    match call.server.store.revision_at(time.as_millisecond()).await {
        Ok(revision) => Ok(Some(revision)),
        Err(StoreError::Compacted { floor, .. }) => {
            Err(Status::expired(format!("history begins after {at}: the oldest revision kept is {floor}")))
        }
        Err(error) => Err(store_status(error)),
    }
}

/// Answers with what became of an object.
pub(crate) async fn respond(call: &Call) -> Result<Response<Body>, Status> {
    let limit = if call.options.limit == 0 { DEFAULT_VERSIONS } else { call.options.limit };
    let name = call.info.name.as_str();
    // One more, to compare the oldest with.
    let versions = call.server.store.versions(&call.key(name), limit.saturating_add(1)).await;
    let versions = versions.map_err(store_status)?;
    if versions.is_empty() {
        return Err(call.not_found(name));
    }
    let skipped = versions.len().saturating_sub(limit);
    let (mut items, mut before) = (Vec::new(), None);
    for (number, version) in versions.iter().enumerate() {
        let now = match &version.entry {
            Some(entry) => Some(parse(&call.visible(&entry.bytes)?)?),
            None => None,
        };
        if number >= skipped {
            items.push(item(call, version, before.as_ref(), now.as_ref()));
        }
        before = now;
    }
    let body = json!({
        "kind": "History", "apiVersion": "gantry.dev/v1",
        "metadata": {"name": name, "namespace": call.info.namespace,
                     "resourceVersion": call.server.store.revision().to_string()},
        "items": items,
    });
    Ok(output::json_value(StatusCode::OK, &body))
}

/// When and by whom a version was made.
fn signature(version: &Version) -> Value {
    let time = version.time.and_then(|time| Timestamp::from_millisecond(time).ok()).map(rfc3339_seconds);
    let mut signed = json!({"revision": version.revision.to_string(), "time": time});
    if let Some(author) = &version.author {
        signed["user"] = author.user.as_str().into();
        signed["manager"] = author.manager.as_str().into();
        signed["verb"] = author.verb.as_str().into();
    }
    signed
}

fn item(call: &Call, version: &Version, before: Option<&Value>, now: Option<&Value>) -> Value {
    let mut item = signature(version);
    let created = version.entry.as_ref().is_some_and(|entry| entry.create_revision == version.revision);
    item["change"] = match now {
        None => "removed",
        Some(_) if created => "created",
        Some(_) => "changed",
    }
    .into();
    if let Some(shown) = now.or(before) {
        item["uid"] = object::uid(shown).into();
    }
    if let (Some(before), Some(now), false) = (before, now, created) {
        let secret = call.stored.strategy.secret_fields();
        let changes = changes::between(before, now, secret);
        item["changes"] = changes.iter().map(changes::Change::to_json).collect();
    }
    item
}

/// Answers with the objects of a collection that are gone.
pub(crate) async fn removed(call: &Call, selection: &Selection) -> Result<Response<Body>, Status> {
    let store = &call.server.store;
    let prefix = call.stored.prefix(call.info.namespace());
    let since = super::list::revision(&call.options.resource_version)?;
    let limit = if call.options.limit == 0 { DEFAULT_REMOVED } else { call.options.limit };
    let token = call.options.continue_token.as_str();
    let after = (!token.is_empty()).then(|| format!("{prefix}{token}"));
    let found = store.removals(&prefix, after.as_deref(), since, limit.saturating_add(1)).await;
    let found = found.map_err(store_status)?;
    let mut metadata = json!({"resourceVersion": store.revision().to_string()});
    let mut items = Vec::new();
    for (number, removal) in found.iter().enumerate() {
        if number == limit {
            let last = found.get(number - 1).map_or("", |last| &*last.key);
            metadata["continue"] = last.strip_prefix(&*prefix).unwrap_or(last).into();
            break;
        }
        // What history no longer has cannot be shown.
        if let Some((entry, begun)) = before_deletion(call, removal).await?
            && selection.matches(&entry)
        {
            let mut item = signature(removal);
            item["begun"] = begun.to_string().into();
            item["object"] = parse(&call.visible(&entry.bytes)?)?;
            items.push(item);
        }
    }
    let body =
        json!({"kind": "RemovedList", "apiVersion": "gantry.dev/v1", "metadata": metadata, "items": items});
    Ok(output::json_value(StatusCode::OK, &body))
}

/// The object as it was before its deletion began, and the revision that began it.
async fn before_deletion(call: &Call, removal: &Version) -> Result<Option<(Arc<Entry>, Revision)>, Status> {
    let versions = call.server.store.versions(&removal.key, DELETION_VERSIONS).await.map_err(store_status)?;
    let (mut begun, mut found) = (removal.revision, None);
    for version in versions.into_iter().rev().filter(|version| version.revision < removal.revision) {
        let Some(entry) = version.entry else { break };
        let deleting = object::is_deleting(&parse(&entry.bytes)?);
        if deleting {
            begun = version.revision;
        }
        // The oldest one seen serves if the beginning is out of sight.
        found = Some((entry, begun));
        if !deleting {
            break;
        }
    }
    Ok(found)
}
