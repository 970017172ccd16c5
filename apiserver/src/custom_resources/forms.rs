//! Stored bytes and the version a caller works in.
//!
//! An object is stored in the version its CRD named when it was written. On the way out it is brought
//! into what the schema it was stored with allows today, then into the version asked for. Bytes that
//! certainly need neither stay as they are.

use std::sync::{Arc, OnceLock};

use api::Status;
use api::custom::{CustomResource, CustomVersion};
use bytes::Bytes;
use serde_json::Value;

use super::conversion;
use crate::call::{Call, parse};
use crate::encode;
use crate::storage::{Draft, Entry};

/// Entries of a custom kind in the version of the call.
pub(crate) async fn adopt(call: &Call, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
    let Some(custom) = &call.stored.custom else { return Ok(entries) };
    let resource = &custom.resource;
    let mut foreign = Vec::new();
    for (at, entry) in entries.iter_mut().enumerate() {
        let stored_here = is_of(&entry.bytes, &resource.kind, &call.stored.api_version());
        if stored_here && entry.mod_revision > resource.since {
            continue;
        }
        let mut object = parse(&entry.bytes)?;
        coerce_stored(resource, &mut object);
        if stored_here || resource.converts_by_name() {
            *entry = rewritten(call, custom, entry, object);
        } else {
            foreign.push((at, object));
        }
    }
    let (places, objects): (Vec<usize>, Vec<Value>) = foreign.into_iter().unzip();
    if !objects.is_empty() {
        let wanted = call.stored.api_version();
        let converted = conversion::convert(&call.server, resource, objects, &wanted).await?;
        for (at, object) in places.into_iter().zip(converted) {
            if let Some(entry) = entries.get_mut(at) {
                *entry = rewritten(call, custom, entry, object);
            }
        }
    }
    Ok(entries)
}

/// Prunes and defaults with the schema of the version an object was stored in.
fn coerce_stored(resource: &CustomResource, object: &mut Value) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
    if let Some(schema) = resource.versions.get(version).cloned() {
        schema.coerce(object);
    }
}

/// The entry with other bytes.
fn rewritten(call: &Call, custom: &CustomVersion, entry: &Entry, mut object: Value) -> Arc<Entry> {
    if object["apiVersion"] != call.stored.api_version() {
        api::pruning::prune(custom.schema(), &mut object);
    }
    let draft = encode::draft(&call.stored, &object);
    let revision = entry.mod_revision.to_string();
    Arc::new(Entry {
        key: Arc::clone(&entry.key),
        bytes: Bytes::from([&draft.head[..], revision.as_bytes(), &draft.tail[..]].concat()),
        create_revision: entry.create_revision,
        mod_revision: entry.mod_revision,
        index: OnceLock::new(),
    })
}

/// An object of the call's version, encoded in the version objects are stored in.
pub(crate) async fn draft(call: &Call, custom: &CustomVersion, object: &Value) -> Result<Draft, Status> {
    let resource = &custom.resource;
    if *call.stored.version == *resource.storage_version {
        return Ok(encode::draft(&call.stored, object));
    }
    let wanted = resource.api_version(&resource.storage_version);
    let mut object = object.clone();
    if !resource.converts_by_name() {
        let converted = conversion::convert(&call.server, resource, vec![object], &wanted).await?;
        object = converted.into_iter().next().unwrap_or_default();
    }
    if let Some(schema) = resource.versions.get(&resource.storage_version) {
        api::pruning::prune(schema.schema(), &mut object);
    }
    Ok(encode::draft_as(&resource.kind, &wanted, &object))
}

/// Whether an entry is stored in a version that is not the storage version any more: a write that
/// changes nothing else still rewrites it (storage migration).
pub(crate) fn is_outdated(call: &Call, entry: &Entry) -> bool {
    call.stored.custom.as_ref().is_some_and(|custom| {
        let resource = &custom.resource;
        !is_of(&entry.bytes, &resource.kind, &resource.api_version(&resource.storage_version))
    })
}

/// Whether stored bytes are of a kind and version: they begin with both.
fn is_of(bytes: &[u8], kind: &str, api_version: &str) -> bool {
    bytes.starts_with(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").as_bytes())
}
