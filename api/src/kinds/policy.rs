//! Rows of `policy`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", Scope::Namespaced)
            .short(&["pdb"])
            .status()
            .rules(crate::strategies::policy::PodDisruptionBudget)
            .printed(columns::pod_disruption_budget()),
    ]
}
