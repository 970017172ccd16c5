//! THE table of plugins: upstream's names, order and weights (`default_plugins.go`).

use crate::framework::{Filter, PreEnqueue, QueueSort, Score};

pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod scheduling_gates;
pub mod taint_toleration;

/// A plugin and the points of the cycle where it acts.
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    /// Before the queue.
    pub pre_enqueue: Option<&'static dyn PreEnqueue>,
    /// In the queue.
    pub queue_sort: Option<&'static dyn QueueSort>,
    /// Which nodes can take a pod. Filters run in the table's order; the first that refuses a node gives
    /// the reason.
    pub filter: Option<&'static dyn Filter>,
    /// Which nodes are better, and how much this counts.
    pub score: Option<(&'static dyn Score, i64)>,
}

const fn plugin(name: &'static str) -> Plugin {
    Plugin { name, pre_enqueue: None, queue_sort: None, filter: None, score: None }
}

impl Plugin {
    const fn pre_enqueue(mut self, by: &'static dyn PreEnqueue) -> Self {
        self.pre_enqueue = Some(by);
        self
    }

    const fn queue_sort(mut self, by: &'static dyn QueueSort) -> Self {
        self.queue_sort = Some(by);
        self
    }

    const fn filter(mut self, by: &'static dyn Filter) -> Self {
        self.filter = Some(by);
        self
    }

    const fn score(mut self, by: &'static dyn Score, weight: i64) -> Self {
        self.score = Some((by, weight));
        self
    }
}

/// All plugins in order. A preference weighs 2, the will of an administrator (taints) 3.
pub static PLUGINS: &[Plugin] = &[
    plugin("SchedulingGates").pre_enqueue(&scheduling_gates::SchedulingGates),
    plugin("PrioritySort").queue_sort(&priority_sort::PrioritySort),
    plugin("NodeUnschedulable").filter(&node_unschedulable::NodeUnschedulable),
    plugin("NodeName").filter(&node_name::NodeName),
    plugin("TaintToleration")
        .filter(&taint_toleration::TaintToleration)
        .score(&taint_toleration::TaintToleration, 3),
    plugin("NodeAffinity").filter(&node_affinity::NodeAffinity).score(&node_affinity::NodeAffinity, 2),
    plugin("NodePorts").filter(&node_ports::NodePorts),
    plugin("NodeResourcesFit").filter(&node_resources::Fit).score(&node_resources::Fit, 1),
    plugin("PodTopologySpread")
        .filter(&pod_topology_spread::PodTopologySpread)
        .score(&pod_topology_spread::PodTopologySpread, 2),
    plugin("InterPodAffinity")
        .filter(&inter_pod_affinity::InterPodAffinity)
        .score(&inter_pod_affinity::InterPodAffinity, 2),
    plugin("NodeResourcesBalancedAllocation").score(&node_resources::BalancedAllocation, 1),
    plugin("ImageLocality").score(&image_locality::ImageLocality, 1),
];

/// The filters in order.
pub fn filters() -> impl Iterator<Item = (&'static str, &'static dyn Filter)> {
    PLUGINS.iter().filter_map(|plugin| Some((plugin.name, plugin.filter?)))
}

/// The scores with their weights.
pub fn scores() -> impl Iterator<Item = (&'static str, &'static dyn Score, i64)> {
    PLUGINS.iter().filter_map(|plugin| plugin.score.map(|(score, weight)| (plugin.name, score, weight)))
}

/// Whether every plugin lets the pod into the queue.
pub fn admits(pod: &crate::pod::Pod) -> bool {
    PLUGINS.iter().filter_map(|plugin| plugin.pre_enqueue).all(|plugin| plugin.admits(pod))
}

/// Which pod goes first: smaller is earlier.
pub fn rank(pod: &crate::pod::Pod) -> i64 {
    PLUGINS.iter().find_map(|plugin| plugin.queue_sort).map_or(0, |sort| sort.rank(pod))
}
