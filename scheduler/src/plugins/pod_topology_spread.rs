//! Pods spread evenly over places: zones, hosts, whatever a node label names (KEP-895 and successors).
//!
//! A pod without constraints of its own is spread over hosts and zones by preference, beside its
//! siblings. Siblings are the pods of the same controller; upstream also counts those of Services that
//! select the pod.

use std::collections::BTreeMap;

use crate::framework::{Filter, MAX_SCORE, NodeFilter, Rejection, Score};
use crate::pod::Pod;
use crate::snapshot::{Node, Snapshot};
use crate::terms::{Spread, untolerated};

/// The label every node has its own value of.
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The plugin.
pub struct PodTopologySpread;

/// Whether a node's pods count for a constraint.
fn counts(constraint: &Spread, pod: &Pod, node: &Node) -> bool {
    (!constraint.honor_affinity || pod.needs.allows_node(&node.name, &node.labels))
        && (!constraint.honor_taints || untolerated(&node.taints, &pod.needs.tolerations).is_none())
}

/// Pods on a node that a constraint counts.
fn matching(constraint: &Spread, pod: &Pod, node: &Node) -> i64 {
    let alike = |other: &&std::sync::Arc<Pod>| {
        !other.deleting && other.key.namespace == pod.key.namespace && constraint.matches(&other.needs.labels)
    };
    node.pods.iter().filter(alike).count() as i64
}

/// A hard constraint with what there is in each place.
struct Counted<'a> {
    constraint: &'a Spread,
    own: i64,
    places: BTreeMap<&'a str, i64>,
    least: i64,
}

impl Filter for PodTopologySpread {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        let hard: Vec<&Spread> = pod.needs.spread.iter().filter(|constraint| constraint.hard).collect();
        if hard.is_empty() {
            return None;
        }
        let counted: Vec<Counted<'a>> =
            hard.iter().map(|constraint| count(constraint, &hard, pod, snapshot)).collect();
        Some(Box::new(move |slot| {
            let labels = &snapshot.nodes[slot].labels;
            for counted in &counted {
                let Some(place) = labels.get(&counted.constraint.topology_key) else {
                    return Err(Rejection::unresolvable(
                        "node(s) didn't match pod topology spread constraints (missing required label)",
                    ));
                };
                let there = counted.places.get(place.as_str()).copied().unwrap_or_default();
                if there + counted.own - counted.least > counted.constraint.max_skew {
                    return Err(Rejection::resolvable(
                        "node(s) didn't match pod topology spread constraints",
                    ));
                }
            }
            Ok(())
        }))
    }

    fn looks_beyond_the_node(&self) -> bool {
        true
    }

    fn concerns(&self, pod: &Pod, other: &Pod, _snapshot: &Snapshot) -> bool {
        pod.key.namespace == other.key.namespace
            && pod.needs.spread.iter().any(|constraint| constraint.matches(&other.needs.labels))
    }
}

fn count<'a>(constraint: &'a Spread, all: &[&Spread], pod: &Pod, snapshot: &'a Snapshot) -> Counted<'a> {
    let mut places: BTreeMap<&str, i64> = BTreeMap::new();
    for slot in snapshot.slots() {
        let node = &snapshot.nodes[slot];
        let eligible = all.iter().all(|other| node.labels.contains_key(&other.topology_key));
        if let Some(place) = node.labels.get(&constraint.topology_key)
            && eligible
            && counts(constraint, pod, node)
        {
            *places.entry(place).or_default() += matching(constraint, pod, node);
        }
    }
    let enough = places.len() >= constraint.min_domains;
    let least = places.values().copied().min().filter(|_| enough).unwrap_or_default();
    let own = i64::from(constraint.matches(&pod.needs.labels));
    Counted { constraint, own, places, least }
}

/// A soft constraint: how pods are counted, and by what the count is weighed.
struct Soft<'a> {
    topology_key: &'a str,
    max_skew: i64,
    /// `None` counts siblings.
    constraint: Option<&'a Spread>,
}

impl Soft<'_> {
    fn matching(&self, pod: &Pod, node: &Node) -> i64 {
        match self.constraint {
            Some(constraint) => matching(constraint, pod, node),
            None => {
                let sibling =
                    |other: &&std::sync::Arc<Pod>| !other.deleting && other.needs.owner == pod.needs.owner;
                node.pods.iter().filter(sibling).count() as i64
            }
        }
    }

    fn counts(&self, pod: &Pod, node: &Node) -> bool {
        self.constraint.is_none_or(|constraint| counts(constraint, pod, node))
    }
}

/// The pod's soft constraints, or upstream's defaults, and whether nodes must have all their labels.
fn soft(pod: &Pod) -> (Vec<Soft<'_>>, bool) {
    if pod.needs.spread.is_empty() && pod.needs.owner.is_some() {
        let default = |topology_key, max_skew| Soft { topology_key, max_skew, constraint: None };
        return (vec![default(HOSTNAME, 3), default(ZONE, 5)], false);
    }
    let own = pod.needs.spread.iter().filter(|constraint| !constraint.hard).map(|constraint| Soft {
        topology_key: &constraint.topology_key,
        max_skew: constraint.max_skew,
        constraint: Some(constraint),
    });
    (own.collect(), true)
}

impl Score for PodTopologySpread {
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let (constraints, all_labels) = soft(pod);
        if constraints.is_empty() {
            return None;
        }
        let eligible =
            |node: &Node| !all_labels || constraints.iter().all(|c| node.labels.contains_key(c.topology_key));
        let scored: Vec<usize> = nodes.iter().copied().filter(|n| eligible(&snapshot.nodes[*n])).collect();
        let mut sums = vec![0.0; scored.len()];
        for constraint in &constraints {
            add_counts(constraint, pod, snapshot, &scored, &eligible, &mut sums);
        }
        let raw: Vec<i64> = sums.iter().map(|sum| sum.round() as i64).collect();
        let (least, most) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
        let stretch = |raw: i64| if most == 0 { MAX_SCORE } else { MAX_SCORE * (most + least - raw) / most };
        let by_slot: BTreeMap<usize, i64> =
            scored.into_iter().zip(raw).map(|(slot, raw)| (slot, stretch(raw))).collect();
        Some(nodes.iter().map(|slot| by_slot.get(slot).copied().unwrap_or_default()).collect())
    }
}

/// Adds what one constraint counts against each of the scored nodes.
fn add_counts(
    constraint: &Soft<'_>,
    pod: &Pod,
    snapshot: &Snapshot,
    scored: &[usize],
    eligible: &dyn Fn(&Node) -> bool,
    sums: &mut [f64],
) {
    let key = constraint.topology_key;
    // Small places must not be watered down by large ones: weigh by the logarithm of their number.
    let weigh = |places: usize, count: i64| {
        count as f64 * ((places + 2) as f64).ln() + (constraint.max_skew - 1) as f64
    };
    if key == HOSTNAME {
        for (slot, sum) in scored.iter().zip(sums) {
            let node = &snapshot.nodes[*slot];
            if node.labels.contains_key(key) {
                *sum += weigh(scored.len(), constraint.matching(pod, node));
            }
        }
        return;
    }
    let place = |slot: &usize| snapshot.nodes[*slot].labels.get(key).map(String::as_str);
    let mut places: BTreeMap<&str, i64> = scored.iter().filter_map(place).map(|place| (place, 0)).collect();
    for slot in snapshot.slots() {
        let node = &snapshot.nodes[slot];
        if let Some(count) = place(&slot).and_then(|place| places.get_mut(place))
            && eligible(node)
            && constraint.counts(pod, node)
        {
            *count += constraint.matching(pod, node);
        }
    }
    for (slot, sum) in scored.iter().zip(sums) {
        if let Some(place) = place(slot) {
            *sum += weigh(places.len(), places.get(place).copied().unwrap_or_default());
        }
    }
}
