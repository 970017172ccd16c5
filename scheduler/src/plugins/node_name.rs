//! A pod that names its node runs there or nowhere.

use crate::framework::{Filter, NodeFilter, Rejection};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// The plugin.
pub struct NodeName;

impl Filter for NodeName {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        let wanted = pod.node.as_deref()?;
        Some(Box::new(move |slot| {
            if &*snapshot.nodes[slot].name == wanted {
                Ok(())
            } else {
                Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
            }
        }))
    }
}
