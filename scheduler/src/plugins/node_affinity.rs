//! The pod's node selector and node affinity.

use crate::framework::{Filter, NodeFilter, Rejection, Score, normalize};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// The plugin.
pub struct NodeAffinity;

impl Filter for NodeAffinity {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        if pod.needs.node_selector.is_empty() && pod.needs.required_nodes.is_none() {
            return None;
        }
        Some(Box::new(|slot| {
            let node = &snapshot.nodes[slot];
            if pod.needs.allows_node(&node.name, &node.labels) {
                Ok(())
            } else {
                Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
            }
        }))
    }
}

impl Score for NodeAffinity {
    /// The sum of the weights of the preferences that the node meets.
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        if pod.needs.preferred_nodes.is_empty() {
            return None;
        }
        let liked = |slot: &usize| {
            let node = &snapshot.nodes[*slot];
            let met = pod.needs.preferred_nodes.iter().filter(|(_, t)| t.matches(&node.name, &node.labels));
            met.map(|(weight, _)| weight).sum()
        };
        Some(normalize(nodes.iter().map(liked).collect(), false))
    }
}
