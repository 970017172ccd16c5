//! Rows of `scheduling.k8s.io`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", Scope::Cluster)
            .short(&["pc"])
            .rules(crate::strategies::scheduling::PriorityClass)
            .printed(columns::priority_class()),
    ]
}
