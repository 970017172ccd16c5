//! ReplicationControllers: what ReplicaSets were called first, with plain labels for a selector.
//!
//! Each is brought into the shape of a ReplicaSet, whose controller ([`crate::replica_set`]) does the rest.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;

use crate::replica_set::KeepsReplicas;

impl KeepsReplicas for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn as_set(this: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::new(ReplicaSet {
            metadata: this.metadata.clone(),
            spec: this.spec.clone().map(spec),
            status: this.status.clone().map(status),
        })
    }

    fn pod_selector(&self) -> Option<Selector> {
        Some(self.spec.as_ref()?.selector.clone()?.into_iter().collect())
    }
}

fn spec(spec: ReplicationControllerSpec) -> ReplicaSetSpec {
    ReplicaSetSpec {
        min_ready_seconds: spec.min_ready_seconds,
        replicas: spec.replicas,
        selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
        template: spec.template,
    }
}

fn status(status: ReplicationControllerStatus) -> ReplicaSetStatus {
    let conditions = status.conditions.map(|conditions| {
        let each = conditions.into_iter().map(|condition| ReplicaSetCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        });
        each.collect()
    });
    ReplicaSetStatus {
        available_replicas: status.available_replicas,
        conditions,
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
        terminating_replicas: None,
    }
}
