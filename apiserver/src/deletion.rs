//! How objects go away: grace, finalizers and propagation as one decision, then one write.
//!
//! Entry point: [`delete`]. [`decide`] is pure. Source: upstream's `rest.BeforeDelete` and
//! `registry.Store.Delete`, KEP-1623 era semantics.

use std::sync::Arc;

use api::strategy::Context;
use api::{Cause, Kind, Status, object};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::admission::{self, Attributes, Conditions};
use crate::call::{Call, parse, store_status};
use crate::encode;
use crate::request::{self, Propagation};
use crate::storage::{Change, Entry, Expect, Operation, StoreError};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const MAX_ATTEMPTS: usize = 16;

/// What a delete asks for, from the query and the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    /// `orphanDependents` is false in so many words: the answer to a delete that waits is 202.
    pub(crate) cascades: bool,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// The body's options, or the query's where there is no body.
    ///
    /// # Errors
    /// 422 in the words of upstream's `ValidateDeleteOptions`.
    pub(crate) fn of(call: &Call, body: Option<&Value>) -> Result<Self, Status> {
        let query = &call.options;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let words = |value: &Value| value.as_array().into_iter().flatten().filter_map(text).collect();
        let (grace, policy, orphan, dry_run): (_, _, _, Vec<String>) = match body {
            Some(body) => (
                body["gracePeriodSeconds"].as_i64(),
                text(&body["propagationPolicy"]),
                body["orphanDependents"].as_bool(),
                words(&body["dryRun"]),
            ),
            None => (
                query.grace_period_seconds,
                query.propagation_policy.clone(),
                query.orphan_dependents,
                query.dry_run_words.clone(),
            ),
        };
        let propagation = propagation(policy.as_deref(), orphan, &dry_run)?;
        let preconditions = body.map(|body| &body["preconditions"]);
        let precondition = |key: &str| preconditions.and_then(|of| text(&of[key]));
        Ok(Self {
            grace_period_seconds: grace,
            propagation,
            cascades: orphan == Some(false),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: !dry_run.is_empty(),
        })
    }

    /// `DeleteOptions` as admission is shown them.
    pub(crate) fn to_json(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(policy) = self.propagation {
            options["propagationPolicy"] = policy.word().into();
        }
        for (key, value) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(value) = value {
                options["preconditions"][key] = value.as_str().into();
            }
        }
        options
    }
}

fn propagation(
    policy: Option<&str>,
    orphan: Option<bool>,
    dry_run: &[String],
) -> Result<Option<Propagation>, Status> {
    const FIELD: &str = "propagationPolicy";
    let mut causes = Vec::new();
    let mut propagation =
        orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background });
    if let Some(word) = policy {
        if orphan.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid(FIELD, &word.into(), detail));
        }
        propagation = Propagation::parse(word);
        if propagation.is_none() {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            causes.push(Cause::not_supported(FIELD, &word.into(), &supported));
        }
    }
    causes.extend(request::dry_run(dry_run));
    if causes.is_empty() {
        return Ok(propagation);
    }
    Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes))
}

/// What becomes of an object that is to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deletion {
    /// It goes now.
    Remove,
    /// It is marked and waits for its grace period or its finalizers.
    Mark(Value),
    /// Nothing changes: it is already on its way.
    Pending,
}

/// The outcome of a delete.
pub(crate) struct Deleted {
    /// The object as it was last.
    pub(crate) object: Value,
    /// Stored form of `object`.
    pub(crate) bytes: Bytes,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// Decides, given an object as stored, what a delete does to it.
pub(crate) fn decide(kind: &Kind, current: &Value, options: &DeleteOptions, now: Timestamp) -> Deletion {
    let mut new = current.clone();
    if !object::is_deleting(current) {
        let context =
            Context { now: component_base::clock::rfc3339_seconds(now), subresource: String::new() };
        kind.strategy.prepare_for_delete(&mut new, &context);
    }
    let policy = options.propagation.or_else(|| default_policy(kind, current));
    let waits = set_finalizers(&mut new, policy) || kind.strategy.is_held(&new);
    let grace = grace(kind, current, options.grace_period_seconds);
    if object::is_deleting(current) {
        return decide_again(&new, current, grace, waits);
    }
    if grace == 0 && !waits {
        return Deletion::Remove;
    }
    mark(&mut new, now, grace);
    Deletion::Mark(new)
}

/// Old kinds leave their dependents alone unless told otherwise; a finalizer that is there tells.
fn default_policy(kind: &Kind, current: &Value) -> Option<Propagation> {
    let told = object::finalizers(current).iter().any(|f| *f == ORPHAN || *f == FOREGROUND);
    (kind.strategy.orphans_dependents() && !told).then_some(Propagation::Orphan)
}

/// A second delete may shorten the grace period; with 0 it removes.
fn decide_again(new: &Value, current: &Value, grace: i64, waits: bool) -> Deletion {
    let mut new = new.clone();
    let running = current["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    if running > grace {
        let end: Option<Timestamp> = object::meta_str(current, "deletionTimestamp").parse().ok();
        if let Some(end) = end {
            let begun = end - SignedDuration::from_secs(running);
            mark(&mut new, begun, grace);
        }
    }
    if grace == 0 && !waits {
        return Deletion::Remove;
    }
    if new == *current { Deletion::Pending } else { Deletion::Mark(new) }
}

fn grace(kind: &Kind, current: &Value, asked: Option<i64>) -> i64 {
    let strategy = &kind.strategy;
    match strategy.default_grace_period_seconds(current) {
        Some(default) if !strategy.deletes_at_once(current) => {
            let default = i64::try_from(default).unwrap_or(i64::MAX);
            // Negative grace means "as short as possible without forcing" (upstream makes it 1).
            asked.map_or(default, |asked| if asked < 0 { 1 } else { asked })
        }
        _ => 0,
    }
}

fn mark(object: &mut Value, begun: Timestamp, grace: i64) {
    let end = begun.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(begun);
    let generation = object::generation(object);
    let metadata = object::metadata_mut(object);
    if generation > 0 && !metadata.contains_key("deletionTimestamp") {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
    metadata.insert("deletionTimestamp".to_owned(), component_base::clock::rfc3339_seconds(end).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
}

/// Sets the garbage collector's finalizers for a policy; answers whether any finalizer remains.
fn set_finalizers(object: &mut Value, policy: Option<Propagation>) -> bool {
    let mut finalizers: Vec<String> = object::finalizers(object).into_iter().map(str::to_owned).collect();
    if let Some(policy) = policy {
        let wanted = match policy {
            Propagation::Orphan => Some(ORPHAN),
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Background => None,
        };
        finalizers.retain(|f| (f != ORPHAN && f != FOREGROUND) || Some(f.as_str()) == wanted);
        if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|f| f == wanted)) {
            finalizers.push(wanted.to_owned());
        }
        let metadata = object::metadata_mut(object);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), json!(finalizers));
        }
    }
    !finalizers.is_empty()
}

/// Whether an object whose deletion has begun waits for nothing any more: an update that leaves it so
/// removes it.
pub(crate) fn is_finished(kind: &Kind, object: &Value) -> bool {
    object::is_deleting(object)
        && object::finalizers(object).is_empty()
        && !kind.strategy.is_held(object)
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
}

/// Deletes the named object of the call's kind and namespace, if admission lets it.
pub(crate) async fn delete(call: &Call, name: &str, options: &DeleteOptions) -> Result<Deleted, Status> {
    delete_as(call, name, options, true).await
}

/// Deletes an object whose going was admitted as something else, or needs nobody's leave.
pub(crate) async fn delete_admitted(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    delete_as(call, name, options, false).await
}

async fn delete_as(call: &Call, name: &str, options: &DeleteOptions, ask: bool) -> Result<Deleted, Status> {
    for _attempt in 0..MAX_ATTEMPTS {
        let entry = call.entry(name).await?;
        let current = parse(&entry.bytes)?;
        preconditions(call, &current, options)?;
        let decision = decide(&call.stored, &current, options, call.server.clock.now());
        let mut conditions = Conditions::default();
        if ask && !matches!(decision, Deletion::Pending) {
            let attributes = Attributes::delete(call, &current, options);
            admission::admit(&attributes, &mut Value::Null).await?;
            conditions = attributes.conditions();
        }
        if let Some(done) = act(call, name, &entry, current, decision, options.dry_run, conditions).await? {
            return Ok(done);
        }
    }
    Err(Status::modified(&call.kind.group, &call.kind.plural, name))
}

/// `None` when the object changed in between.
async fn act(
    call: &Call,
    name: &str,
    entry: &Arc<Entry>,
    current: Value,
    decision: Deletion,
    dry_run: bool,
    conditions: Conditions,
) -> Result<Option<Deleted>, Status> {
    let (change, object, gone) = match decision {
        Deletion::Pending => {
            return Ok(Some(Deleted { object: current, bytes: entry.bytes.clone(), gone: false }));
        }
        Deletion::Remove => (Change::Delete, current, true),
        Deletion::Mark(marked) => (Change::Put(call.draft(&marked).await?), marked, false),
    };
    if dry_run {
        let bytes = encode::unstored(&call.stored, &object);
        return Ok(Some(Deleted { object, bytes, gone }));
    }
    let expect = Expect::Revision(entry.mod_revision);
    let mut operations = vec![Operation { key: call.key(name), expect, change }];
    operations.extend(conditions);
    match call.commit(operations).await {
        Ok(committed) => {
            if gone {
                call.server.allocators.release(&call.stored, &object);
            }
            let bytes = match committed.entries.into_iter().next().flatten() {
                Some(entry) => {
                    let entry = call.adopt(entry).await?;
                    if gone {
                        encode::at_revision(&entry.bytes, committed.revision)
                    } else {
                        entry.bytes.clone()
                    }
                }
                None => encode::unstored(&call.stored, &object),
            };
            Ok(Some(Deleted { object: parse(&bytes)?, bytes, gone }))
        }
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(store_status(error)),
    }
}

/// 409 unless the object is the one the options mean.
pub(crate) fn preconditions(call: &Call, current: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let checks = [
        ("UID", "deleted and then recreated", &options.uid, object::uid(current)),
        ("ResourceVersion", "modified", &options.resource_version, object::resource_version(current)),
    ];
    for (what, cause, wanted, found) in checks {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
            let detail = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {cause}"
            );
            return Err(Status::conflict(
                &call.kind.group,
                &call.kind.plural,
                object::name(current),
                &detail,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
