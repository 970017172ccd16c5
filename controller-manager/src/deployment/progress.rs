//! What a deployment says about itself: counts, `Available`, `Progressing`, `ReplicaFailure`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

use super::rollout::{Rollout, Set, set_condition};

const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// The status the replica sets add up to, with the conditions decided so far.
pub(super) fn status(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |count: &dyn Fn(&Set) -> i32| rollout.sets.iter().map(count).sum::<i32>();
    let available = sum(&Set::available);
    let terminating =
        |set: &Set| set.object.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or(0);
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some(sum(&Set::actual)),
        updated_replicas: some(rollout.new_set().map_or(0, Set::actual)),
        ready_replicas: some(sum(&Set::ready)),
        available_replicas: some(available),
        unavailable_replicas: some((rollout.total() - available).max(0)),
        terminating_replicas: Some(sum(&terminating)),
        collision_count: rollout.collision_count,
        conditions: (!rollout.conditions.is_empty()).then(|| rollout.conditions.clone()),
    }
}

/// The `Available` condition.
pub(super) fn availability(rollout: &Rollout<'_>) -> DeploymentCondition {
    let available: i32 = rollout.sets.iter().map(Set::available).sum();
    if available >= rollout.wanted() - rollout.max_unavailable() {
        let message = "Deployment has minimum availability.".to_owned();
        rollout.new_condition("Available", "True", "MinimumReplicasAvailable", message)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        rollout.new_condition("Available", "False", "MinimumReplicasUnavailable", message)
    }
}

/// Whether everything wanted is of the current template, there and available, and nothing else is.
pub(super) fn is_complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let wanted = rollout.wanted();
    let count = |count: Option<i32>| count.unwrap_or(0);
    count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
        && status.observed_generation.unwrap_or(0) >= rollout.deployment.metadata.generation.unwrap_or(0)
}

/// Whether any count moved the right way since the status was last written.
fn has_moved(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let before = rollout.deployment.status.clone().unwrap_or_default();
    let old = |s: &DeploymentStatus| s.replicas.unwrap_or(0) - s.updated_replicas.unwrap_or(0);
    status.updated_replicas > before.updated_replicas
        || old(status) < old(&before)
        || status.ready_replicas > before.ready_replicas
        || status.available_replicas > before.available_replicas
}

fn last_update(condition: &DeploymentCondition) -> Option<Timestamp> {
    condition.last_update_time.as_ref().map(|time| time.0)
}

fn timed_out(rollout: &Rollout<'_>) -> bool {
    let (Some(deadline), Some(condition)) = (rollout.deadline(), rollout.condition("Progressing")) else {
        return false;
    };
    match condition.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => last_update(condition)
            .is_some_and(|from| from + SignedDuration::from_secs(i64::from(deadline)) < rollout.now),
    }
}

/// Notes that the deployment was paused or resumed, so that the time does not count as being stuck.
pub(super) fn note_pause(rollout: &mut Rollout<'_>) {
    if rollout.deadline().is_none() {
        return;
    }
    let reason = rollout.condition("Progressing").and_then(|condition| condition.reason.as_deref());
    let (paused, known) = (rollout.spec.paused == Some(true), reason == Some("DeploymentPaused"));
    if reason == Some(TIMED_OUT) {
        return;
    }
    if paused && !known {
        let message = "Deployment is paused".to_owned();
        rollout.set_condition("Progressing", "Unknown", "DeploymentPaused", message);
    } else if !paused && known {
        let message = "Deployment is resumed".to_owned();
        rollout.set_condition("Progressing", "Unknown", "DeploymentResumed", message);
    }
}

/// Judges a rollout: complete, moving, or stuck.
pub(super) fn report(rollout: &mut Rollout<'_>) {
    let availability = availability(rollout);
    set_condition(&mut rollout.conditions, availability);
    let status = status(rollout);
    if rollout.deadline().is_none() {
        rollout.conditions.retain(|condition| condition.type_ != "Progressing");
    } else if !was_complete(rollout, &status) {
        judge(rollout, &status);
    }
    let failure = replica_failure(rollout);
    match failure {
        Some(failure) => set_condition(&mut rollout.conditions, failure),
        None => rollout.conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
}

/// A finished rollout stays finished when pods merely come and go.
fn was_complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let current = rollout.condition("Progressing");
    status.replicas == status.updated_replicas
        && current.is_some_and(|condition| condition.reason.as_deref() == Some(COMPLETE))
}

fn judge(rollout: &mut Rollout<'_>, status: &DeploymentStatus) {
    let who = match rollout.new_set() {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", rollout.name()),
    };
    if is_complete(rollout, status) {
        let message = format!("{who} has successfully progressed.");
        rollout.set_condition("Progressing", "True", COMPLETE, message);
    } else if has_moved(rollout, status) {
        let message = format!("{who} is progressing.");
        let mut condition = rollout.new_condition("Progressing", "True", "ReplicaSetUpdated", message);
        if let Some(current) = rollout.condition("Progressing").filter(|current| current.status == "True") {
            condition.last_transition_time.clone_from(&current.last_transition_time);
        }
        // Replaced even when alike: each move starts the deadline again.
        rollout.conditions.retain(|condition| condition.type_ != "Progressing");
        rollout.conditions.push(condition);
    } else if timed_out(rollout) {
        let message = format!("{who} has timed out progressing.");
        rollout.set_condition("Progressing", "False", TIMED_OUT, message);
    }
}

/// The new set's failure to make pods, or else any set's.
fn replica_failure(rollout: &Rollout<'_>) -> Option<DeploymentCondition> {
    let sets = rollout.new_set().into_iter().chain(&rollout.sets);
    let mut conditions =
        sets.flat_map(|set| set.object.status.iter().flat_map(|status| status.conditions.iter().flatten()));
    let failure = conditions.find(|condition| condition.type_ == "ReplicaFailure")?;
    Some(DeploymentCondition {
        type_: failure.type_.clone(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time.clone(),
    })
}

/// When the deadline must be checked even if nothing happens.
pub(super) fn look_again(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Option<Duration> {
    let deadline = rollout.deadline()?;
    let condition = rollout.condition("Progressing")?;
    if is_complete(rollout, status)
        || matches!(condition.reason.as_deref(), Some(TIMED_OUT | "DeploymentPaused" | COMPLETE))
    {
        return None;
    }
    let due = last_update(condition)? + SignedDuration::from_secs(i64::from(deadline) + 1);
    Some(Duration::try_from(due.duration_since(rollout.now)).unwrap_or(Duration::ZERO))
}
