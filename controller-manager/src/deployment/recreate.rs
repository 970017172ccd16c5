//! The Recreate strategy: everything old goes before anything new comes.

use std::sync::Arc;

use client::execute::Failure;
use k8s_openapi::api::core::v1::Pod;

use super::rollout::Rollout;
use super::{progress, revision};
use crate::owners::controller_of;
use crate::pods;

/// Empties the old sets; once no old pod runs, makes or fills the new one.
pub(super) fn step(rollout: &mut Rollout<'_>, pods: &[Arc<Pod>], last: Option<&Failure>) {
    revision::sync_existing(rollout);
    let full: Vec<usize> =
        rollout.old().into_iter().filter(|index| rollout.sets[*index].replicas > 0).collect();
    if !full.is_empty() {
        full.into_iter().for_each(|index| {
            rollout.resize(index, 0);
        });
        return;
    }
    if old_pods_run(rollout, pods) {
        return;
    }
    revision::sync_or_create(rollout, last);
    if let Some(index) = rollout.new.filter(|index| rollout.sets[*index].exists)
        && rollout.sets[index].replicas != rollout.wanted()
    {
        rollout.resize(index, rollout.wanted());
    }
    if rollout.deployment.status.as_ref().is_some_and(|status| progress::is_complete(rollout, status)) {
        revision::clean_up(rollout);
    }
}

fn old_pods_run(rollout: &Rollout<'_>, pods: &[Arc<Pod>]) -> bool {
    if rollout.old().into_iter().any(|index| rollout.sets[index].actual() > 0) {
        return true;
    }
    let new_uid = rollout.new_set().and_then(|set| set.object.metadata.uid.as_ref());
    pods.iter().any(|pod| {
        let of_new = controller_of(&pod.metadata).is_some_and(|owner| Some(&owner.uid) == new_uid);
        !of_new && !pods::is_terminal(pod)
    })
}
