//! A change of the wanted number, also in the middle of a rollout, where it is shared out
//! proportionally so that no set is favoured.

use super::rollout::{DESIRED, MAX, Rollout};

/// Whether the wanted number has changed since the sets were last scaled.
pub(super) fn is_scaling(rollout: &mut Rollout<'_>) -> bool {
    rollout.find_new();
    let wanted = rollout.wanted();
    let active = rollout.sets.iter().filter(|set| set.replicas > 0);
    active.filter_map(|set| set.number(DESIRED)).any(|desired| desired != wanted)
}

/// Brings the sets to the wanted number.
pub(super) fn scale(rollout: &mut Rollout<'_>) {
    if let Some(index) = only_or_latest(rollout) {
        // Also when the size is right already: the set must note for which number that is.
        rollout.resize(index, rollout.wanted());
        return;
    }
    let old: Vec<usize> =
        rollout.old().into_iter().filter(|index| rollout.sets[*index].replicas > 0).collect();
    let (rolling, paused) = (rollout.is_rolling(), rollout.spec.paused == Some(true));
    if is_saturated(rollout) || !(rolling || paused) {
        old.into_iter().for_each(|index| {
            rollout.resize(index, 0);
        });
    } else if rolling {
        share_out(rollout);
    }
}

/// The only set with pods; with none, the current set, else the youngest.
fn only_or_latest(rollout: &Rollout<'_>) -> Option<usize> {
    let active: Vec<usize> =
        (0..rollout.sets.len()).filter(|index| rollout.sets[*index].replicas > 0).collect();
    match active.as_slice() {
        [] => rollout.new.or_else(|| rollout.sets.len().checked_sub(1)),
        [only] => Some(*only),
        _ => None,
    }
}

/// Whether the current set alone already gives everything that is wanted.
fn is_saturated(rollout: &Rollout<'_>) -> bool {
    let wanted = rollout.wanted();
    rollout.new_set().is_some_and(|set| {
        set.number(DESIRED) == Some(wanted) && set.replicas == wanted && set.available() == wanted
    })
}

fn share_out(rollout: &mut Rollout<'_>) {
    let wanted = rollout.wanted();
    let allowed = if wanted > 0 { wanted + rollout.max_surge() } else { 0 };
    let mut active: Vec<usize> =
        (0..rollout.sets.len()).filter(|index| rollout.sets[*index].replicas > 0).collect();
    let to_add = allowed - rollout.total();
    // Largest first; among equals the newest grows first and the oldest shrinks first.
    active.sort_by(|a, b| {
        let (a, b) = (&rollout.sets[*a], &rollout.sets[*b]);
        let age = (a.created(), a.name()).cmp(&(b.created(), b.name()));
        b.replicas.cmp(&a.replicas).then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut sizes: Vec<(usize, i32)> = Vec::new();
    for index in active {
        let share = proportion(rollout, index, to_add, added);
        added += share;
        sizes.push((index, rollout.sets[index].replicas + share));
    }
    if let Some((_, largest)) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    for (index, size) in sizes {
        rollout.resize(index, size);
    }
}

fn proportion(rollout: &Rollout<'_>, index: usize, to_add: i32, added: i32) -> i32 {
    if rollout.sets[index].replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let (share, left) = (fraction(rollout, index), to_add - added);
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

/// How much a set must change to keep its share of the whole.
fn fraction(rollout: &Rollout<'_>, index: usize) -> i32 {
    let set = &rollout.sets[index];
    if rollout.wanted() == 0 {
        return -set.replicas;
    }
    let status = rollout.deployment.status.as_ref().and_then(|status| status.replicas);
    let before = set.number(MAX).filter(|max| *max != 0).or(status).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let after = rollout.wanted() + rollout.max_surge();
    rounded(i64::from(set.replicas) * i64::from(after), i64::from(before)) - set.replicas
}

/// `dividend / divisor` (both positive), rounded half up.
fn rounded(dividend: i64, divisor: i64) -> i32 {
    i32::try_from((2 * dividend + divisor) / (2 * divisor)).unwrap_or(i32::MAX)
}
