//! A cordoned node takes only pods that tolerate the taint a cordon stands for.

use k8s_openapi::api::core::v1::Taint;

use crate::framework::{Filter, NodeFilter, Rejection};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::terms::tolerates;

/// The plugin.
pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(&pod.needs.tolerations, &cordon) {
            return None;
        }
        Some(Box::new(|slot| {
            if snapshot.nodes[slot].unschedulable {
                Err(Rejection::unresolvable("node(s) were unschedulable"))
            } else {
                Ok(())
            }
        }))
    }
}
