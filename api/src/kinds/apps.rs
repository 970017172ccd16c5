//! Rows of `apps`.

use crate::strategies::apps::{Deployment, ReplicaSet};

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    use Scope::Namespaced;
    vec![
        plain("apps", "v1", "Deployment", "deployments", Namespaced)
            .short(&["deploy"])
            .in_all()
            .scale()
            .status()
            .rules(Deployment)
            .printed(columns::deployment()),
        plain("apps", "v1", "ReplicaSet", "replicasets", Namespaced)
            .short(&["rs"])
            .in_all()
            .scale()
            .status()
            .fields(&["status.replicas"])
            .rules(ReplicaSet)
            .printed(columns::replica_set()),
    ]
}
