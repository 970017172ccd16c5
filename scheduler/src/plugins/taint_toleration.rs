//! Taints keep pods away that do not tolerate them, or make a node less liked.

use k8s_openapi::api::core::v1::Toleration;

use crate::framework::{Filter, NodeFilter, Rejection, Score, normalize};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::terms::{tolerates, untolerated};

/// The plugin.
pub struct TaintToleration;

impl Filter for TaintToleration {
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>> {
        Some(Box::new(|slot| match untolerated(&snapshot.nodes[slot].taints, &pod.needs.tolerations) {
            Some(_) => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
            None => Ok(()),
        }))
    }
}

impl Score for TaintToleration {
    /// The fewer `PreferNoSchedule` taints the pod does not tolerate, the better.
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>> {
        let applies = |toleration: &&Toleration| {
            toleration.effect.as_deref().is_none_or(|effect| matches!(effect, "" | "PreferNoSchedule"))
        };
        let tolerations: Vec<Toleration> = pod.needs.tolerations.iter().filter(applies).cloned().collect();
        let disliked = |slot: &usize| {
            let taints = snapshot.nodes[*slot].taints.iter();
            let soft = taints.filter(|taint| taint.effect == "PreferNoSchedule");
            soft.filter(|taint| !tolerates(&tolerations, taint)).count() as i64
        };
        Some(normalize(nodes.iter().map(disliked).collect(), true))
    }
}
