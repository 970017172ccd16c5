//! ReplicationControllers: what ReplicaSets were called first, with plain labels for a selector.
//!
//! Each is brought into the shape of a ReplicaSet; [`replica_set::reconcile`] decides.

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::Plan;
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::owners::{controller_key, controller_of};
use crate::replica_set::{self, Observed};

/// The ReplicaSet that would keep the same pods.
pub fn as_set(controller: &ReplicationController) -> ReplicaSet {
    ReplicaSet {
        metadata: controller.metadata.clone(),
        spec: controller.spec.clone().map(spec),
        status: controller.status.clone().map(status),
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

/// Watches ReplicationControllers and pods.
pub struct ReplicationControllers {
    controllers: Informer<ReplicationController>,
    pods: Informer<Pod>,
}

impl ReplicationControllers {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { controllers: informers.of(), pods: informers.of() }
    }
}

#[async_trait]
impl Controller for ReplicationControllers {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "replication-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.controllers);
        let resource = request::resource::<ReplicationController>();
        let controllers = self.controllers.clone();
        wake.on(&self.pods, move |change| {
            before_and_after(change, |pod: &Pod| match controller_of(&pod.metadata) {
                Some(_) => controller_key(&pod.metadata, &resource).into_iter().collect(),
                None => matching(&controllers, pod),
            })
        });
    }

    async fn observe(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(controller) = self.controllers.get(key) else { return Ok(None) };
        let own = self.pods.owned_by(controller.metadata.uid.as_deref().unwrap_or_default());
        Ok(Some(Observed {
            resource: request::resource::<ReplicationController>(),
            set: Arc::new(as_set(&controller)),
            pods: replica_set::candidates(&self.pods, &controller.metadata),
            crowd: replica_set::by_node(own.into_iter()),
            last: last.cloned(),
        }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        replica_set::reconcile(observed, now)
    }
}

/// Controllers that might adopt this orphan.
fn matching(controllers: &Informer<ReplicationController>, pod: &Pod) -> Vec<Key> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let adopts = |controller: &Arc<ReplicationController>| {
        let selector = controller.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
    };
    let in_namespace = controllers.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    in_namespace.into_iter().filter(adopts).map(|controller| Key::of(&controller.metadata)).collect()
}
