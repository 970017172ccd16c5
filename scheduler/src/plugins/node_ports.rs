//! A port of a node can be had once.

use crate::framework::{Filter, NodeFilter, Rejection};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// The plugin.
pub struct NodePorts;

impl Filter for NodePorts {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        if pod.needs.ports.is_empty() {
            return None;
        }
        Some(Box::new(|slot| {
            if pod.needs.ports.iter().any(|port| snapshot.nodes[slot].takes(port)) {
                Err(Rejection::resolvable("node(s) didn't have free ports for the requested pod ports"))
            } else {
                Ok(())
            }
        }))
    }
}
