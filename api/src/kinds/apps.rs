//! Rows of `apps`.

use crate::strategies::apps::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    use Scope::Namespaced;
    vec![
        plain("apps", "v1", "ControllerRevision", "controllerrevisions", Namespaced)
            .rules(ControllerRevision)
            .printed(columns::controller_revision()),
        plain("apps", "v1", "DaemonSet", "daemonsets", Namespaced)
            .short(&["ds"])
            .in_all()
            .status()
            .rules(DaemonSet)
            .printed(columns::daemon_set()),
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
        plain("apps", "v1", "StatefulSet", "statefulsets", Namespaced)
            .short(&["sts"])
            .in_all()
            .scale()
            .status()
            .rules(StatefulSet)
            .printed(columns::stateful_set()),
    ]
}
