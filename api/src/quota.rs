//! What objects cost in quotas, and whether a quota has room for one.
//!
//! Entry points: [`charge`] for a request, [`used`] for all that is there. What each kind costs is in
//! `quota/usage.rs`, which scopes it falls into in `quota/scopes.rs`. Source: upstream's `pkg/quota/v1/evaluator` and
//! `resourcequota.CheckRequest`. Pure.

mod scopes;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::pod_resources::{Resources, add, list};
use crate::quantity::Quantity;

pub use usage::Evaluator;

/// A write that may cost something.
pub struct Request<'a> {
    /// Who knows the kind.
    pub evaluator: Evaluator<'a>,
    /// Which part of the object is written; empty for the object itself.
    pub subresource: &'a str,
    /// The object as it will be.
    pub object: &'a Value,
    /// The object as it is, for updates.
    pub old: Option<&'a Value>,
    /// Pods whose time is over are not counted.
    pub now: Timestamp,
}

/// What a write costs a quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The quota when this was decided.
    quota: Value,
    cost: Resources,
    /// Whether a quota without room refuses it.
    bounded: bool,
}

impl Charge {
    /// The quota with the cost on top of what it has used by now; nothing if it counts something else than when the cost
    /// was decided, or has no room any more.
    pub fn on(&self, mut quota: Value) -> Option<Value> {
        let same = |pointer| self.quota.pointer(pointer) == quota.pointer(pointer);
        if !["/metadata/uid", "/spec", "/status/hard"].into_iter().all(same) {
            return None;
        }
        let (hard, known) = (list(&quota["status"]["hard"]), list(&quota["status"]["used"]));
        let mut total = known.clone();
        add(&mut total, &self.cost);
        let fits =
            |name: &String| known.contains_key(name) && !(self.bounded && total.get(name) > hard.get(name));
        if !self.cost.keys().all(fits) {
            return None;
        }
        let amounts = total.into_iter().map(|(name, value)| (name, value.to_string().into()));
        quota["status"]["used"] = Value::Object(amounts.collect());
        Some(quota)
    }
}

/// What a request costs the quotas that cover it, by their place in `quotas`; those that it costs nothing are absent.
///
/// # Errors
/// Upstream's words for a quota without room, or one that wants the object to say more.
pub fn charge(quotas: Vec<Value>, request: &Request<'_>) -> Result<BTreeMap<usize, Charge>, String> {
    let evaluator = &request.evaluator;
    if !evaluator.handles(request.old.is_some(), request.subresource) {
        return Ok(BTreeMap::new());
    }
    let mut covering = Vec::new();
    for (at, quota) in quotas.into_iter().enumerate() {
        if !matches(evaluator, &quota, request.object) {
            continue;
        }
        let hard = list(&quota["status"]["hard"]);
        let counted: BTreeSet<&str> =
            hard.keys().map(String::as_str).filter(|n| evaluator.counts(n)).collect();
        let name = crate::object::name(&quota);
        evaluator
            .constraints(&counted, request.object)
            .map_err(|why| format!("failed quota: {name}: {why}"))?;
        let known = list(&quota["status"]["used"]);
        if counted.iter().any(|resource| !known.contains_key(*resource)) {
            let names = counted.into_iter().collect::<Vec<_>>().join(",");
            return Err(format!("status unknown for quota: {name}, resources: {names}"));
        }
        covering.push((at, quota, hard, known));
    }
    if covering.is_empty() {
        return Ok(BTreeMap::new());
    }
    let cost = evaluator.usage(request.object, request.now);
    let negative: Vec<&str> = cost.iter().filter(|(_, v)| v.is_negative()).map(|(n, _)| n.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = request.old.map(|old| evaluator.usage(old, request.now)).unwrap_or_default();
    let mut outcome = BTreeMap::new();
    for (at, quota, hard, known) in covering {
        let counted_before = request.old.is_some_and(|old| matches(evaluator, &quota, old));
        let delta = if counted_before { growth(&cost, &before) } else { cost.clone() };
        let delta: Resources =
            delta.into_iter().filter(|(name, value)| !value.is_zero() && hard.contains_key(name)).collect();
        if delta.is_empty() {
            continue;
        }
        let bounded = request.subresource != "status";
        if bounded {
            let mut total = known.clone();
            add(&mut total, &delta);
            let over: Vec<&String> = delta.keys().filter(|name| total.get(*name) > hard.get(*name)).collect();
            if !over.is_empty() {
                let name = crate::object::name(&quota);
                let shown = |of: &Resources| told(of, &over);
                return Err(format!(
                    "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                    shown(&delta),
                    shown(&known),
                    shown(&hard)
                ));
            }
        }
        outcome.insert(at, Charge { quota, cost: delta, bounded });
    }
    Ok(outcome)
}

/// By how much the first is more than the second, resource by resource.
fn growth(after: &Resources, before: &Resources) -> Resources {
    let grown = |(name, value): (&String, &Quantity)| {
        let more = before.get(name).map_or(*value, |old| *value - *old);
        (name.clone(), if more.is_negative() { Quantity::ZERO } else { more })
    };
    after.iter().map(grown).collect()
}

/// `cpu=1,pods=2`, of some resources.
fn told(resources: &Resources, names: &[&String]) -> String {
    let pairs = names.iter().filter_map(|name| Some(format!("{name}={}", resources.get(*name)?)));
    pairs.collect::<Vec<_>>().join(",")
}

/// Whether a quota counts something of an object, as far as its status says.
fn matches(evaluator: &Evaluator<'_>, quota: &Value, object: &Value) -> bool {
    let hard = quota["status"]["hard"].as_object();
    hard.into_iter().flatten().any(|(name, _)| evaluator.counts(name)) && in_scope(evaluator, quota, object)
}

fn in_scope(evaluator: &Evaluator<'_>, quota: &Value, object: &Value) -> bool {
    scopes::of(quota).all(|scope| evaluator.is_in_scope(&scope, object))
}

/// What a quota counts of the objects of one kind.
pub fn used<'a>(
    quota: &Value,
    evaluator: &Evaluator<'_>,
    objects: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
) -> Resources {
    let mut sum = Resources::new();
    for object in objects.into_iter().filter(|object| in_scope(evaluator, quota, object)) {
        add(&mut sum, &evaluator.usage(object, now));
    }
    sum.retain(|name, _| evaluator.counts(name));
    sum
}

#[cfg(test)]
mod tests;
