//! Rows of `coordination.k8s.io`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("coordination.k8s.io", "v1", "Lease", "leases", Scope::Namespaced)
            .rules(crate::strategies::coordination::Lease)
            .printed(columns::lease()),
    ]
}
