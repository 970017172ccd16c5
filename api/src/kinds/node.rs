//! Rows of `node.k8s.io`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", Scope::Cluster)
            .rules(crate::strategies::node::RuntimeClass)
            .printed(columns::runtime_class()),
    ]
}
