//! The story of one decision: filter, score, choose. Pure: the same pod, snapshot and chance give the
//! same node.
//!
//! Entry points: [`schedule`], and [`judge`] for a single node.

use crate::framework::{NodeFilter, Rejection, Verdict};
use crate::plugins;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// Up to this many nodes, all are looked at.
const LOOK_AT_ALL: usize = 100;
/// Of very many nodes at least this share, in percent, is looked at.
const LEAST_SHARE: usize = 5;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The slot of the chosen node.
    Placed(usize),
    /// No node fits.
    Unschedulable(Diagnosis),
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub outcome: Outcome,
    /// Where the next decision begins to look, so that all nodes get their turn.
    pub next_start: usize,
}

/// Why no node fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// Each node's verdict.
    pub verdicts: Vec<Verdict>,
}

type Prepared<'a> = Vec<(&'static str, NodeFilter<'a>)>;

fn prepare<'a>(pod: &'a Pod, snapshot: &'a Snapshot) -> Prepared<'a> {
    plugins::filters()
        .filter_map(|(name, filter)| filter.prepare(pod, snapshot).map(|filter| (name, filter)))
        .collect()
}

fn first_rejection(filters: &Prepared<'_>, slot: usize) -> Option<(&'static str, Rejection)> {
    filters.iter().find_map(|(name, filter)| filter(slot).err().map(|rejection| (*name, rejection)))
}

/// Judges one node for a pod: the plugin that refuses it, if any.
pub fn judge(pod: &Pod, snapshot: &Snapshot, slot: usize) -> Option<(&'static str, Rejection)> {
    first_rejection(&prepare(pod, snapshot), slot)
}

/// Decides where a pod goes. `start` is where to begin looking, `chance` breaks ties.
pub fn schedule(pod: &Pod, snapshot: &Snapshot, start: usize, chance: u64) -> Decision {
    let filters = prepare(pod, snapshot);
    let (slots, enough) = (snapshot.nodes.len(), feasible_nodes_wanted(snapshot.known_nodes()));
    let mut feasible = Vec::new();
    let mut verdicts = Vec::new();
    let mut looked_at = 0;
    while looked_at < slots && feasible.len() < enough {
        let slot = (start + looked_at) % slots;
        looked_at += 1;
        let node = &snapshot.nodes[slot];
        if !node.known {
            continue;
        }
        match first_rejection(&filters, slot) {
            None => feasible.push(slot),
            Some((plugin, rejection)) => {
                verdicts.push(Verdict { node: node.name.clone(), plugin, rejection });
            }
        }
    }
    let next_start = if slots == 0 { 0 } else { (start + looked_at) % slots };
    let outcome = match choose(pod, snapshot, &feasible, chance) {
        Some(slot) => Outcome::Placed(slot),
        None => Outcome::Unschedulable(Diagnosis { nodes: snapshot.known_nodes(), verdicts }),
    };
    Decision { outcome, next_start }
}

/// How many fitting nodes are enough: all of few, a falling share of many, as upstream has it
/// (for example 420 of 1,000 and 500 of 5,000).
fn feasible_nodes_wanted(nodes: usize) -> usize {
    if nodes < LOOK_AT_ALL {
        return nodes;
    }
    let share = 50_usize.saturating_sub(nodes / 125).max(LEAST_SHARE);
    (nodes * share / 100).max(LOOK_AT_ALL)
}

/// The node with the highest score; `chance` picks among equals.
fn choose(pod: &Pod, snapshot: &Snapshot, feasible: &[usize], chance: u64) -> Option<usize> {
    if feasible.len() < 2 {
        return feasible.first().copied();
    }
    let mut totals = vec![0_i64; feasible.len()];
    for (_, plugin, weight) in plugins::scores() {
        if let Some(scores) = plugin.scores(pod, snapshot, feasible) {
            totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
        }
    }
    let highest = totals.iter().copied().max()?;
    let best: Vec<usize> =
        feasible.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(slot, _)| *slot).collect();
    let pick = chance % best.len() as u64;
    best.get(usize::try_from(pick).unwrap_or_default()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_a_share_of_many_nodes() {
        for (nodes, wanted) in [(0, 0), (99, 99), (100, 100), (1_000, 420), (5_000, 500), (10_000, 500)] {
            assert_eq!(feasible_nodes_wanted(nodes), wanted, "{nodes} nodes");
        }
    }
}
