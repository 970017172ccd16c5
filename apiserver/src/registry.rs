//! The pipeline every write takes, over a row of the table of kinds: default, mutating admission, prepare,
//! validate, validating admission, encode once, commit.
//!
//! Entry points: [`create`] and [`update`]; deletion is in `crate::deletion`. All patches, subresources
//! and the server's own writes come through here. Objects arrive decoded, in the form of the call's row.

pub(crate) mod metadata;
pub(crate) mod owners;
mod requester;
pub(crate) mod selection;

use std::sync::Arc;

use api::patch::apply::same_but_times;
use api::strategy::Context;
use api::{Cause, Status, defaulting, object};
use bytes::Bytes;
use serde_json::Value;

use crate::admission::{self, Attributes, Conditions};
use crate::call::{Call, parse, store_status};
use crate::registry::owners::Owners;
use crate::storage::{Change, Entry, Expect, Operation, StoreError};
use crate::subresources::scale;
use crate::{authz, custom_resources, deletion, encode};

/// How often a write is decided anew because something it read was changed meanwhile.
const MAX_ATTEMPTS: usize = 16;
/// How many random names are tried for `generateName` (upstream's `maxNameGenerationCreateAttempts`).
const MAX_NAME_ATTEMPTS: usize = 8;

/// The outcome of a write.
pub(crate) struct Written {
    /// The object in its stored form.
    pub(crate) bytes: Bytes,
    /// Whether it did not exist before.
    pub(crate) created: bool,
}

/// Which part of an object an update writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but `status`.
    Object,
    /// `status`, and metadata.
    Status,
    /// Exactly what the caller made of it: the server's own writes (binding, finalize, scale).
    Whole,
}

/// Creates an object in the call's namespace; its writer owns what it says.
pub(crate) async fn create(call: &Call, object: Value) -> Result<Written, Status> {
    create_owned(call, Owners::Track, object).await
}

/// Creates an object whose owners are told by `owners`.
pub(crate) async fn create_owned(call: &Call, owners: Owners, mut object: Value) -> Result<Written, Status> {
    metadata::agree(call, &mut object)?;
    let proposed = object::name(&object).to_owned();
    call.to_storage(&mut object);
    default(call, &mut object);
    owners::record(call, owners, &Value::Object(serde_json::Map::new()), &mut object);
    let generate = proposed.is_empty() && !object::meta_str(&object, "generateName").is_empty();
    let mut last = None;
    for _attempt in 0..MAX_NAME_ATTEMPTS.max(MAX_ATTEMPTS) {
        let (prepared, conditions) = prepare_create(call, object.clone()).await?;
        let name = object::name(&prepared).to_owned();
        match commit_create(call, &name, prepared, conditions).await? {
            Attempt::Done(written) => return Ok(written),
            Attempt::NameTaken if !generate => {
                return Err(Status::already_exists(&call.kind.group, &call.kind.plural, &name));
            }
            again => last = Some((again, name)),
        }
    }
    match last {
        Some((Attempt::NameTaken, name)) => {
            let mut status = Status::already_exists(&call.kind.group, &call.kind.plural, &name);
            status.message += ", the server was not able to generate a unique name for the object";
            status.retry_after_seconds = Some(1);
            Err(status)
        }
        _ => Err(Status::unavailable("the namespace keeps changing; try again")),
    }
}

enum Attempt {
    Done(Written),
    NameTaken,
    /// Something admission relied on has changed.
    Stale,
}

async fn prepare_create(call: &Call, mut object: Value) -> Result<(Value, Conditions), Status> {
    let strategy = &call.stored.strategy;
    let attributes = Attributes::create(call, &object);
    admission::mutate(&attributes, &mut object).await?;
    generate_name(call, &mut object);
    requester::record(call, &mut object);
    authz::rbac::guard::check(call, &object, None).await?;
    let context = context(call);
    metadata::fill_new(call, &mut object);
    strategy.prepare_for_create(&mut object, &context);
    let mut causes = metadata::validate(&call.stored, &object, call.options_name_given(&object));
    causes.extend(strategy.validate(&object));
    refuse(call, &object, causes)?;
    for warning in strategy.warnings(&object) {
        call.warn(warning);
    }
    admission::validate(&attributes, &object).await?;
    Ok((object, attributes.conditions()))
}

async fn commit_create(
    call: &Call,
    name: &str,
    mut object: Value,
    conditions: Conditions,
) -> Result<Attempt, Status> {
    let reservation = call.server.allocators.reserve(&call.stored, &mut object, None, &call.server.rng);
    let reservation = reservation.map_err(|causes| invalid(call, &object, causes))?;
    let key = call.key(name);
    if call.options.dry_run {
        let taken = call.server.store.get(&key, None).await.map_err(store_status)?.is_some();
        let bytes = encode::unstored(&call.stored, &object);
        return Ok(if taken { Attempt::NameTaken } else { Attempt::Done(Written { bytes, created: true }) });
    }
    let put = Change::Put(call.draft(&object).await?);
    let mut operations = vec![Operation { key: key.clone(), expect: Expect::Absent, change: put }];
    operations.extend(conditions);
    match call.commit(operations).await {
        Ok(committed) => {
            reservation.keep();
            let bytes = first_bytes(call, committed.entries).await?;
            Ok(Attempt::Done(Written { bytes, created: true }))
        }
        Err(StoreError::Conflict { key: at, .. }) if at == key => Ok(Attempt::NameTaken),
        Err(StoreError::Conflict { .. }) => Ok(Attempt::Stale),
        Err(error) => Err(store_status(error)),
    }
}

async fn first_bytes(call: &Call, entries: Vec<Option<Arc<Entry>>>) -> Result<Bytes, Status> {
    let entry = entries.into_iter().next().flatten();
    let entry = entry.ok_or_else(|| Status::internal("the store returned no entry for a write"))?;
    Ok(call.adopt(entry).await?.bytes.clone())
}

/// Changes an object: `change` makes the new object of the current one, both in the row's form, and is
/// called again when the object changed in between. A resourceVersion or uid in its answer is a
/// precondition. The caller owns what it changes, unless the write is the server's own.
pub(crate) async fn update<F>(call: &Call, name: &str, part: Part, change: F) -> Result<Written, Status>
where
    F: FnMut(&Value) -> Result<Value, Status> + Send,
{
    let owners = if part == Part::Whole { Owners::Settled } else { Owners::Track };
    update_owned(call, name, part, owners, change).await
}

/// Like [`update`], with owners told by `owners`.
pub(crate) async fn update_owned<F>(
    call: &Call,
    name: &str,
    part: Part,
    owners: Owners,
    mut change: F,
) -> Result<Written, Status>
where
    F: FnMut(&Value) -> Result<Value, Status> + Send,
{
    let key = call.key(name);
    for _attempt in 0..MAX_ATTEMPTS {
        let stored = call.stored_entry(name).await?;
        let current = call.adopt(Arc::clone(&stored)).await?;
        let old = parse(&current.bytes)?;
        let mut shown = old.clone();
        call.to_row(&mut shown);
        let mut new = change(&shown)?;
        preconditions(call, &old, &new, name)?;
        call.to_storage(&mut new);
        let (new, conditions) = prepare_update(call, part, owners, new, &old).await?;
        let same = new == old || same_but_times(&new, &old);
        if same && !custom_resources::is_outdated(call, &stored) {
            return Ok(Written { bytes: current.bytes.clone(), created: false });
        }
        if let Some(written) = commit_update(call, &key, &current, &old, new, conditions).await? {
            return Ok(written);
        }
    }
    Err(modified(call, name))
}

/// `None` when the object changed in between.
async fn commit_update(
    call: &Call,
    key: &str,
    current: &Arc<Entry>,
    old: &Value,
    mut new: Value,
    conditions: Conditions,
) -> Result<Option<Written>, Status> {
    let reservation = call.server.allocators.reserve(&call.stored, &mut new, Some(old), &call.server.rng);
    let reservation = reservation.map_err(|causes| invalid(call, &new, causes))?;
    if call.options.dry_run {
        let bytes = encode::unstored(&call.stored, &new);
        return Ok(Some(Written { bytes, created: false }));
    }
    let expect = Expect::Revision(current.mod_revision);
    let removes = deletion::is_finished(&call.stored, &new);
    let change = if removes { Change::Delete } else { Change::Put(call.draft(&new).await?) };
    let mut operations = vec![Operation { key: key.to_owned(), expect, change }];
    operations.extend(conditions);
    match call.commit(operations).await {
        Ok(committed) if removes => {
            reservation.keep();
            call.server.allocators.release(&call.stored, &new);
            let bytes = Bytes::from(committed_last_form(call, &new, committed.revision));
            Ok(Some(Written { bytes, created: false }))
        }
        Ok(committed) => {
            reservation.keep();
            let bytes = first_bytes(call, committed.entries).await?;
            Ok(Some(Written { bytes, created: false }))
        }
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(store_status(error)),
    }
}

/// The last form of an object that an update removed, as the caller sees it.
fn committed_last_form(call: &Call, object: &Value, revision: u64) -> Vec<u8> {
    let draft = encode::draft(&call.stored, object);
    [&draft.head[..], revision.to_string().as_bytes(), &draft.tail[..]].concat()
}

/// Decides the stored form of an updated object.
async fn prepare_update(
    call: &Call,
    part: Part,
    owners: Owners,
    mut new: Value,
    old: &Value,
) -> Result<(Value, Conditions), Status> {
    let strategy = &call.stored.strategy;
    confine(call, part, &mut new, old);
    default(call, &mut new);
    let mut causes = metadata::carry_over(&mut new, old);
    owners::record(call, owners, old, &mut new);
    let attributes = Attributes::update(call, old);
    let admitted = admitted_as(call, part);
    match admitted {
        Admitted::Itself => {
            admission::mutate(&attributes, &mut new).await?;
            confine(call, part, &mut new, old);
            causes = metadata::carry_over(&mut new, old);
        }
        Admitted::AsScale => scale::admit(call, &mut new, old).await?,
        Admitted::Unasked => {}
    }
    if part == Part::Object {
        authz::rbac::guard::check(call, &new, Some(old)).await?;
    }
    strategy.prepare_for_update(&mut new, old, &context(call));
    // The server's own writes (binding a pod, say) are no new wishes of a user.
    // A status write may carry annotations along (a Deployment's revision); that is no new specification.
    let changed = part == Part::Object && strategy.generation_changes(&new, old);
    metadata::set_generation(&mut new, old, changed);
    if new != *old {
        causes.extend(metadata::validate(&call.stored, &new, true));
        if !strategy.judges_changes_alone() {
            causes.extend(strategy.validate(&new));
        }
        causes.extend(strategy.validate_change(&new, old, &call.info.subresource));
        refuse(call, &new, causes)?;
        for warning in strategy.warnings(&new) {
            call.warn(warning);
        }
    }
    if admitted == Admitted::Itself {
        admission::validate(&attributes, &new).await?;
    }
    Ok((new, attributes.conditions()))
}

/// What of an update admission sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// The object.
    Itself,
    /// Its number of replicas.
    AsScale,
    /// Nothing: the server's own writes, and parts that were admitted as something else before.
    Unasked,
}

fn admitted_as(call: &Call, part: Part) -> Admitted {
    match (part, call.info.subresource.as_str()) {
        (Part::Whole, "finalize") => Admitted::Itself,
        (Part::Whole, _) => Admitted::Unasked,
        (_, "scale") => Admitted::AsScale,
        (Part::Object | Part::Status, _) => Admitted::Itself,
    }
}

/// Undoes what an update of one part says of the others.
fn confine(call: &Call, part: Part, new: &mut Value, old: &Value) {
    match part {
        Part::Object if call.stored.has_status() => keep(new, old, "status"),
        Part::Object | Part::Whole => {}
        Part::Status => {
            let is_other = |key: &&String| !["metadata", "status"].contains(&key.as_str());
            let keys = |of: &Value| of.as_object().into_iter().flat_map(|map| map.keys()).cloned().collect();
            let (before, after): (Vec<String>, Vec<String>) = (keys(old), keys(new));
            before.iter().chain(&after).filter(is_other).for_each(|key| keep(new, old, key));
        }
    }
}

/// Makes `to[key]` what `from[key]` is, absence included.
fn keep(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        same if same == to.get(key) => {}
        Some(value) => to[key] = value.clone(),
        None => {
            object::remove(to, key);
        }
    }
}

fn preconditions(call: &Call, old: &Value, new: &Value, name: &str) -> Result<(), Status> {
    let wanted = object::uid(new);
    if !wanted.is_empty() && wanted != object::uid(old) {
        let detail = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
            object::uid(old)
        );
        return Err(Status::conflict(&call.kind.group, &call.kind.plural, name, &detail));
    }
    let revision = object::resource_version(new);
    if !revision.is_empty() && revision != "0" && revision != object::resource_version(old) {
        return Err(modified(call, name));
    }
    Ok(())
}

fn modified(call: &Call, name: &str) -> Status {
    Status::modified(&call.kind.group, &call.kind.plural, name)
}

/// Fills what was left out, in the stored form.
pub(crate) fn default(call: &Call, object: &mut Value) {
    object["kind"] = call.stored.kind.as_ref().into();
    object["apiVersion"] = call.stored.api_version().into();
    match (&call.stored.custom, call.stored.schema()) {
        (Some(custom), _) => api::custom::defaulting::apply(&custom.schema.root, object),
        (None, Some(schema)) => defaulting::apply(schema, object),
        (None, None) => {}
    }
    call.stored.strategy.default(object);
}

fn context(call: &Call) -> Context {
    Context { now: call.server.now(), subresource: call.info.subresource.clone() }
}

fn refuse(call: &Call, object: &Value, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(invalid(call, object, causes)) }
}

fn invalid(call: &Call, object: &Value, causes: Vec<Cause>) -> Status {
    let name = match object::name(object) {
        "" => object::meta_str(object, "generateName"),
        name => name,
    };
    Status::invalid(&call.kind.group, &call.kind.kind, name, causes)
}

/// Names an object that has only a `generateName`: the base, cut so that the suffix fits into 63 characters,
/// and five random ones.
fn generate_name(call: &Call, object: &mut Value) {
    const SUFFIX: usize = 5;
    const LONGEST: usize = 63;
    let base: String = object::meta_str(object, "generateName").chars().take(LONGEST - SUFFIX).collect();
    if object::name(object).is_empty() && !base.is_empty() {
        let name = format!("{base}{}", call.server.rng.name_suffix(SUFFIX));
        object::metadata_mut(object).insert("name".to_owned(), name.into());
    }
}
