//! The RollingUpdate strategy: one bounded step at a time.
//!
//! Invariants, whatever the pods do: the sets together never want more than wanted + maxSurge, and old
//! pods are given up only while wanted − maxUnavailable others are available.

use client::execute::Failure;

use super::progress;
use super::revision;
use super::rollout::{Rollout, Set};

/// Scales the new set up, or else the old ones down, or else cleans up after a finished rollout.
pub(super) fn step(rollout: &mut Rollout<'_>, last: Option<&Failure>) {
    revision::sync_or_create(rollout, last);
    if grow_new(rollout) || shrink_old(rollout) {
        return;
    }
    if rollout.deployment.status.as_ref().is_some_and(|status| progress::is_complete(rollout, status)) {
        revision::clean_up(rollout);
    }
}

/// How large the current set may be now.
pub(super) fn new_set_size(rollout: &Rollout<'_>, index: usize) -> i32 {
    let current = rollout.sets[index].replicas;
    if !rollout.is_rolling() {
        return rollout.wanted();
    }
    let room = rollout.wanted() + rollout.max_surge() - rollout.total();
    if room <= 0 { current } else { current + room.min(rollout.wanted() - current) }
}

fn grow_new(rollout: &mut Rollout<'_>) -> bool {
    let Some(index) = rollout.new else { return false };
    let (current, wanted) = (rollout.sets[index].replicas, rollout.wanted());
    if current == wanted || !rollout.sets[index].exists {
        return false;
    }
    let size = if current > wanted { wanted } else { new_set_size(rollout, index) };
    size != current && rollout.resize(index, size)
}

fn shrink_old(rollout: &mut Rollout<'_>) -> bool {
    let old: Vec<usize> =
        rollout.old().into_iter().filter(|index| rollout.sets[*index].replicas > 0).collect();
    if old.is_empty() {
        return false;
    }
    let min_available = rollout.wanted() - rollout.max_unavailable();
    let new_unavailable = rollout.new_set().map_or(0, |set| set.replicas - set.lasting());
    let surplus = rollout.total() - min_available - new_unavailable;
    if surplus <= 0 {
        return false;
    }
    let mut sizes: Vec<(usize, i32)> =
        old.iter().map(|index| (*index, rollout.sets[*index].replicas)).collect();
    drop_unhealthy(rollout, &mut sizes, surplus);
    drop_healthy(rollout, &mut sizes, min_available);
    let mut any = false;
    for (index, size) in sizes {
        if size != rollout.sets[index].replicas {
            any |= rollout.resize(index, size);
        }
    }
    any
}

/// Old pods that are not available go first: they hold up the rollout and serve nobody.
fn drop_unhealthy(rollout: &Rollout<'_>, sizes: &mut [(usize, i32)], mut surplus: i32) {
    for (index, size) in sizes {
        let unhealthy = (*size - rollout.sets[*index].lasting()).max(0);
        let dropped = unhealthy.min(surplus);
        *size -= dropped;
        surplus -= dropped;
    }
}

/// Available old pods go as far as enough remain available in all sets together.
fn drop_healthy(rollout: &Rollout<'_>, sizes: &mut [(usize, i32)], min_available: i32) {
    let available: i32 = rollout.sets.iter().map(Set::lasting).sum();
    let mut surplus = (available - min_available).max(0);
    for (_, size) in sizes {
        let dropped = (*size).min(surplus);
        *size -= dropped;
        surplus -= dropped;
    }
}
