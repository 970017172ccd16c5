//! What all controllers agree on about pods: active, ready, available, and which to delete first. Pure.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Pods with a lower cost go first when a set shrinks (KEP-2255).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pod's phase; `Pending` until told otherwise.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts towards a wanted number: neither ended nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is being deleted but still running.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// One condition of the pod.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod says it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the pod is ready and has been so for `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_in(pod, min_ready_seconds, now).is_some_and(|left| left.is_zero())
}

/// How long until the pod is available if it stays ready; `None` if it is not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Duration::ZERO);
    }
    let due = ready_since(pod)? + SignedDuration::from_secs(i64::from(min_ready_seconds));
    Some(Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Orders pods by who goes first when a set shrinks. `crowd` says how many related pods share a pod's
/// node. The rules, each deciding only if those before do not: unassigned before assigned; pending
/// before unknown before running; not ready before ready; lower deletion cost; more crowded node;
/// ready more recently; more restarts; created more recently. Times are compared by magnitude, so that
/// pods of about the same age tie and chance (their uid) decides.
pub fn deletion_order(a: &Pod, b: &Pod, crowd: &dyn Fn(&str) -> usize, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| node(pod).is_some();
    let rank = |pod: &Pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let crowded = |pod: &Pod| node(pod).map_or(0, crowd);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| rank(a).cmp(&rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(&a.metadata).cmp(&deletion_cost(&b.metadata)))
        .then_with(|| crowded(b).cmp(&crowded(a)))
        .then_with(|| by_age(ready_since(a), ready_since(b), a, b, now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| by_age(created(a), created(b), a, b, now))
}

fn deletion_cost(meta: &ObjectMeta) -> i32 {
    let cost = meta.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The younger first; ages of the same power of two of nanoseconds count as equal and the uid decides.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, pod_a: &Pod, pod_b: &Pod, now: Timestamp) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let magnitude = |at: Option<Timestamp>| {
        let age = at.map_or(0, |at| now.duration_since(at).as_nanos());
        if age > 0 { i64::from(age.ilog2()) } else { -1 }
    };
    magnitude(a).cmp(&magnitude(b)).then_with(|| pod_a.metadata.uid.cmp(&pod_b.metadata.uid))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, mut changes: Value) -> Pod {
        changes["metadata"]["name"] = json!(name);
        changes["metadata"]["uid"] = json!(name);
        serde_json::from_value(changes).expect("a pod")
    }

    fn ready(since: &str) -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]})
    }

    #[test]
    fn who_goes_first() {
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        let old = "2026-01-01T00:00:00Z";
        let running = |more: Value| {
            let mut pod = json!({"spec": {"nodeName": "n", "containers": []}, "status": ready(old),
                "metadata": {"creationTimestamp": old}});
            for (key, value) in more.as_object().into_iter().flatten() {
                pod[key] = value.clone();
            }
            pod
        };
        let order = [
            pod("unassigned", json!({"status": {"phase": "Pending"}})),
            pod("pending", running(json!({"status": {"phase": "Pending"}}))),
            pod("not-ready", running(json!({"status": {"phase": "Running"}}))),
            pod(
                "cheap",
                running(
                    json!({"metadata": {"annotations": {DELETION_COST: "-5"}, "creationTimestamp": old}}),
                ),
            ),
            pod("crowded", running(json!({"spec": {"nodeName": "full", "containers": []}}))),
            pod("fresh", running(json!({"status": ready("2026-01-01T23:59:00Z")}))),
            pod(
                "restarted",
                running(json!({"status": {"phase": "Running",
                "conditions": ready(old)["conditions"].clone(), "containerStatuses": [{"name": "c", "image": "i",
                "imageID": "", "ready": true, "restartCount": 3}]}})),
            ),
            pod("young", running(json!({"metadata": {"creationTimestamp": "2026-01-01T23:00:00Z"}}))),
            pod("steady", running(json!({}))),
        ];
        let crowd = |node: &str| if node == "full" { 2 } else { 1 };
        let mut shuffled: Vec<&Pod> = order.iter().rev().collect();
        shuffled.sort_by(|a, b| deletion_order(a, b, &crowd, now));
        let names = |pods: &mut dyn Iterator<Item = &Pod>| {
            pods.filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&mut shuffled.into_iter()), names(&mut order.iter()));
    }

    #[test]
    fn availability_takes_time() {
        let pod = pod("p", json!({"status": ready("2026-01-01T00:00:00Z")}));
        let check = |min_ready, at: &str, expect| {
            assert_eq!(
                available_in(&pod, min_ready, at.parse().expect("a time")),
                Some(Duration::from_secs(expect))
            );
        };
        check(0, "2026-01-01T00:00:00Z", 0);
        check(10, "2026-01-01T00:00:04Z", 6);
        check(10, "2026-01-01T00:01:00Z", 0);
    }
}
