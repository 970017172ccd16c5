//! Pods that want to be near others, or far from them; both sides have a say.

use std::collections::BTreeMap;

use crate::framework::{Filter, MAX_SCORE, NodeFilter, Rejection, Score};
use crate::pod::Pod;
use crate::snapshot::{Node, Snapshot};
use crate::terms::{Labels, PodTerm};

/// What a required affinity of a pod that is already there counts when another pod is scored.
const REQUIRED_WEIGHT: i64 = 1;

/// The plugin.
pub struct InterPodAffinity;

/// Pods found per place: topology key → value → count.
#[derive(Default)]
struct Places<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i64>>);

impl<'a> Places<'a> {
    fn add(&mut self, key: &'a str, labels: &'a Labels, amount: i64) {
        if let Some(value) = labels.get(key) {
            *self.0.entry(key).or_default().entry(value).or_default() += amount;
        }
    }

    fn at(&self, key: &str, labels: &Labels) -> i64 {
        let value = labels.get(key).map(String::as_str);
        value.and_then(|value| self.0.get(key)?.get(value).copied()).unwrap_or_default()
    }
}

fn meant(term: &PodTerm, pod: &Pod, snapshot: &Snapshot) -> bool {
    term.matches(&pod.key.namespace, &pod.needs.labels, &snapshot.namespaces)
}

fn meant_by_all(terms: &[PodTerm], pod: &Pod, snapshot: &Snapshot) -> bool {
    !terms.is_empty() && terms.iter().all(|term| meant(term, pod, snapshot))
}

/// Every pod on a node that exists.
fn pods(snapshot: &Snapshot) -> impl Iterator<Item = (&Node, &Pod)> {
    on_nodes(snapshot, snapshot.slots())
}

fn on_nodes<'a>(
    snapshot: &'a Snapshot,
    slots: impl Iterator<Item = usize> + 'a,
) -> impl Iterator<Item = (&'a Node, &'a Pod)> {
    let nodes = slots.map(|slot| &snapshot.nodes[slot]);
    nodes.flat_map(|node| node.pods.iter().map(move |pod| (node, &**pod)))
}

impl Filter for InterPodAffinity {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        let (affinity, anti_affinity) = (&pod.needs.affinity, &pod.needs.anti_affinity);
        let (mut near, mut far, mut theirs) = (Places::default(), Places::default(), Places::default());
        for (node, other) in on_nodes(snapshot, snapshot.affine_slots()) {
            for term in other.needs.anti_affinity.iter().filter(|term| meant(term, pod, snapshot)) {
                theirs.add(&term.topology_key, &node.labels, 1);
            }
        }
        if affinity.is_empty() && anti_affinity.is_empty() {
            if theirs.0.is_empty() {
                return None;
            }
        } else {
            for (node, other) in pods(snapshot) {
                if meant_by_all(affinity, other, snapshot) {
                    affinity.iter().for_each(|term| near.add(&term.topology_key, &node.labels, 1));
                }
                for term in anti_affinity.iter().filter(|term| meant(term, other, snapshot)) {
                    far.add(&term.topology_key, &node.labels, 1);
                }
            }
        }
        // The first of a group whose members want to be near each other has nobody to be near to.
        let first = near.0.is_empty() && meant_by_all(affinity, pod, snapshot);
        Some(Box::new(move |slot| {
            let labels = &snapshot.nodes[slot].labels;
            let labelled = affinity.iter().all(|term| labels.contains_key(&term.topology_key));
            let company = affinity.iter().all(|term| near.at(&term.topology_key, labels) > 0);
            if !(labelled && (company || first)) {
                return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
            }
            if anti_affinity.iter().any(|term| far.at(&term.topology_key, labels) > 0) {
                return Err(Rejection::resolvable("node(s) didn't match pod anti-affinity rules"));
            }
            if theirs.0.keys().any(|key| theirs.at(key, labels) > 0) {
                return Err(Rejection::resolvable(
                    "node(s) didn't satisfy existing pods anti-affinity rules",
                ));
            }
            Ok(())
        }))
    }

    fn looks_beyond_the_node(&self) -> bool {
        true
    }

    fn concerns(&self, pod: &Pod, other: &Pod, snapshot: &Snapshot) -> bool {
        pod.needs.affinity.iter().chain(&pod.needs.anti_affinity).any(|term| meant(term, other, snapshot))
            || other.needs.anti_affinity.iter().any(|term| meant(term, pod, snapshot))
    }
}

impl Score for InterPodAffinity {
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let mut places = Places::default();
        let needs = &pod.needs;
        if needs.preferred_affinity.is_empty() && needs.preferred_anti_affinity.is_empty() {
            for (node, other) in on_nodes(snapshot, snapshot.affine_slots()) {
                add_theirs(&mut places, pod, node, other, snapshot);
            }
        } else {
            for (node, other) in pods(snapshot) {
                add_own(&mut places, pod, node, other, snapshot);
                add_theirs(&mut places, pod, node, other, snapshot);
            }
        }
        if places.0.is_empty() {
            return None;
        }
        let sum = |slot: &usize| -> i64 {
            places.0.keys().map(|key| places.at(key, &snapshot.nodes[*slot].labels)).sum()
        };
        let raw: Vec<i64> = nodes.iter().map(sum).collect();
        let (least, most) = (raw.iter().copied().min()?, raw.iter().copied().max()?);
        let stretch = |raw: i64| {
            if most == least {
                0
            } else {
                (MAX_SCORE as f64 * ((raw - least) as f64 / (most - least) as f64)) as i64
            }
        };
        Some(raw.into_iter().map(stretch).collect())
    }
}

/// What the pod itself prefers about a pod that is there.
fn add_own<'a>(places: &mut Places<'a>, pod: &'a Pod, node: &'a Node, other: &Pod, snapshot: &Snapshot) {
    for (weight, term) in pod.needs.preferred_affinity.iter().filter(|(_, t)| meant(t, other, snapshot)) {
        places.add(&term.topology_key, &node.labels, *weight);
    }
    for (weight, term) in pod.needs.preferred_anti_affinity.iter().filter(|(_, t)| meant(t, other, snapshot))
    {
        places.add(&term.topology_key, &node.labels, -*weight);
    }
}

/// What a pod that is there prefers about the new one.
fn add_theirs<'a>(places: &mut Places<'a>, pod: &Pod, node: &'a Node, other: &'a Pod, snapshot: &Snapshot) {
    for term in other.needs.affinity.iter().filter(|term| meant(term, pod, snapshot)) {
        places.add(&term.topology_key, &node.labels, REQUIRED_WEIGHT);
    }
    for (weight, term) in other.needs.preferred_affinity.iter().filter(|(_, t)| meant(t, pod, snapshot)) {
        places.add(&term.topology_key, &node.labels, *weight);
    }
    for (weight, term) in other.needs.preferred_anti_affinity.iter().filter(|(_, t)| meant(t, pod, snapshot))
    {
        places.add(&term.topology_key, &node.labels, -*weight);
    }
}
