//! Selectors of pods and nodes, compiled once per pod.
//!
//! Entry points: [`NodeTerm`], [`PodTerm`], [`Spread`], [`tolerates`]. A selector that cannot be
//! compiled (the API server refuses those) selects nothing.

use std::collections::{BTreeMap, BTreeSet};

use api::selector::LabelSelector;
use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Taint, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Alternatives, any of which a node may meet: `None` demands nothing, an empty list is never met.
pub type NodeTerms = Option<Vec<NodeTerm>>;

/// Conditions on a node that must all hold; none at all never hold.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTerm {
    labels: Vec<NodeSelectorRequirement>,
    fields: Vec<NodeSelectorRequirement>,
}

impl NodeTerm {
    /// Compiles a term.
    pub fn new(term: &NodeSelectorTerm) -> Self {
        Self {
            labels: term.match_expressions.clone().unwrap_or_default(),
            fields: term.match_fields.clone().unwrap_or_default(),
        }
    }

    /// Whether the node meets it.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        let field = |key: &str| (key == "metadata.name").then_some(name);
        self.labels.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
            && self.fields.iter().all(|r| holds(r, field(&r.key)))
    }
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|other| other == value));
    let numbers = || {
        let bound = values.first()?.parse::<i64>().ok()?;
        Some((value?.parse::<i64>().ok()?, bound))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Compiles a label selector; an absent one selects nothing.
pub fn selector(selector: Option<&ApiSelector>) -> LabelSelector {
    let Some(selector) = selector else { return LabelSelector::nothing() };
    serde_json::to_value(selector)
        .ok()
        .and_then(|value| LabelSelector::from_object(&value).ok())
        .unwrap_or_else(LabelSelector::nothing)
}

/// Which other pods, in which namespaces, over which part of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct PodTerm {
    /// The node label whose equal values make nodes one place.
    pub topology_key: String,
    selector: LabelSelector,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
}

impl PodTerm {
    /// Compiles a term of a pod in `namespace`.
    pub fn new(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: selector(term.label_selector.as_ref()),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().map(|s| selector(Some(s))),
        }
    }

    /// Whether a pod with these labels is meant; `namespaces` tells the labels of namespaces.
    pub fn matches(&self, namespace: &str, labels: &Labels, namespaces: &BTreeMap<String, Labels>) -> bool {
        let here = || {
            let none = Labels::new();
            let labels = namespaces.get(namespace).unwrap_or(&none);
            self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(labels))
        };
        self.selector.matches(labels) && (self.namespaces.contains(namespace) || here())
    }
}

/// A topology spread constraint.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// The largest difference allowed.
    pub max_skew: i64,
    /// Fewer places than this count as if there were an empty one.
    pub min_domains: usize,
    /// The node label whose equal values make nodes one place.
    pub topology_key: String,
    /// Whether it must hold (`DoNotSchedule`).
    pub hard: bool,
    /// Only nodes that the pod's node selector and affinity allow count.
    pub honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates count.
    pub honor_taints: bool,
    selector: LabelSelector,
    /// Label values of the pod itself that others must share (KEP-3243).
    shared: Labels,
}

impl Spread {
    /// Compiles a constraint of a pod with these labels.
    pub fn new(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let shared = constraint.match_label_keys.iter().flatten();
        let shared = shared.filter_map(|key| labels.get(key).map(|value| (key.clone(), value.clone())));
        Self {
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            topology_key: constraint.topology_key.clone(),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector: selector(constraint.label_selector.as_ref()),
            shared: shared.collect(),
        }
    }

    /// Whether a pod with these labels is counted.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.selector.matches(labels) && self.shared.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// Whether any of the tolerations tolerates the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let effect = empty(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
        let key = empty(&toleration.key) || toleration.key.as_deref() == Some(&taint.key);
        let value = match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        };
        effect && key && value
    })
}

/// The first taint that keeps pods away (`NoSchedule`, `NoExecute`) and is not tolerated.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| !tolerates(tolerations, taint))
}
