//! Rows of `metrics.k8s.io`: computed from what node agents measure, never stored.

use super::{Kind, Scope, Storage, plain};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| {
        let mut row = plain("metrics.k8s.io", "v1beta1", kind, plural, scope).verbs(&["get", "list"]);
        row.singular = "".into();
        row.storage = Storage::Virtual;
        row
    };
    vec![row("NodeMetrics", "nodes", Scope::Cluster), row("PodMetrics", "pods", Scope::Namespaced)]
}
