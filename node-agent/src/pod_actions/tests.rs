//! Tables for `pod_actions`: a pod, what is observed at second 1000, the actions expected.

use super::*;
use crate::observed::fixtures::{ONE, at, exited, observed, pod, running};

const NOW: i64 = 1_000;

const INIT: &str =
    "initContainers: [{name: x, image: i}, {name: y, image: i}], containers: [{name: a, image: i}]";
const SIDECAR: &str =
    "initContainers: [{name: s, image: i, restartPolicy: Always}], containers: [{name: a, image: i}]";

fn setback(reason: &'static str, since: i64, retry: i64) -> Setback {
    let message = "why".to_owned();
    let delay = Duration::from_secs(10);
    Setback { reason, message, since: at(since), retry_at: at(retry), delay }
}

/// Actions in short: `setup`, `start a 10`, `stop a 30 message`, `fail Reason`, `teardown`, `delete`.
fn brief(decision: &Decision) -> Vec<String> {
    let one = |action: &Action| match action {
        Action::SetUp => "setup".to_owned(),
        Action::StartContainer { name, back_off } => format!("start {name} {}", back_off.as_secs()),
        Action::StopContainer { name, grace, message, .. } => {
            format!("stop {name} {}: {message}", grace.as_secs())
        }
        Action::Fail(failure) => format!("fail {}", failure.reason),
        Action::TearDown => "teardown".to_owned(),
        Action::Delete => "delete".to_owned(),
    };
    decision.actions.iter().map(one).collect()
}

fn check(spec: &str, observed: &ObservedPod, expect: &[&str]) -> Decision {
    check_pod(&pod(spec), observed, expect)
}

fn check_pod(pod: &Pod, observed: &ObservedPod, expect: &[&str]) -> Decision {
    let decision = pod_actions(pod, observed, at(NOW));
    assert_eq!(brief(&decision), expect);
    decision
}

fn wakes(decision: &Decision) -> Option<i64> {
    decision.wake_at.map(Timestamp::as_second)
}

#[test]
fn set_up_comes_first() {
    check(ONE, &ObservedPod::default(), &["setup"]);
    check(ONE, &ObservedPod { setting_up: true, ..ObservedPod::default() }, &[]);
    let failed = ObservedPod { setback: Some(setback("FailedMount", 990, 1_010)), ..ObservedPod::default() };
    assert_eq!(wakes(&check(ONE, &failed, &[])), Some(1_010));
    let again = ObservedPod { setback: Some(setback("FailedMount", 900, 1_000)), ..ObservedPod::default() };
    check(ONE, &again, &["setup"]);
}

#[test]
fn containers_start_together() {
    check(
        "containers: [{name: a, image: i}, {name: b, image: i}]",
        &observed(&[]),
        &["start a 0", "start b 0"],
    );
    check(ONE, &observed(&[("a", ObservedContainer { starting: true, ..Default::default() })]), &[]);
    check(ONE, &observed(&[("a", running(true))]), &[]);
}

#[test]
fn restart_policies() {
    check(ONE, &observed(&[("a", exited(0, 999, 0))]), &["start a 10"]);
    check(ONE, &observed(&[("a", exited(1, 999, 0))]), &["start a 10"]);
    let on_failure = &format!("restartPolicy: OnFailure, {ONE}");
    check(on_failure, &observed(&[("a", exited(1, 999, 0))]), &["start a 10"]);
    check(on_failure, &observed(&[("a", exited(0, 999, 0))]), &[]);
    let never = &format!("restartPolicy: Never, {ONE}");
    check(never, &observed(&[("a", exited(1, 999, 0))]), &[]);
    let reported = ObservedPod { reported: true, ..observed(&[("a", exited(1, 999, 0))]) };
    check(never, &reported, &["teardown"]);
    check(never, &ObservedPod { torn_down: true, ..reported }, &[]);
}

#[test]
fn crash_back_off() {
    let waiting = check(ONE, &observed(&[("a", exited(1, 995, 10))]), &[]);
    assert_eq!(wakes(&waiting), Some(1_005));
    assert_eq!(waiting.waiting["a"].reason, "CrashLoopBackOff");
    assert_eq!(
        waiting.waiting["a"].message.as_deref(),
        Some("back-off 10s restarting failed container=a pod=web_default(u)")
    );
    check(ONE, &observed(&[("a", exited(1, 990, 10))]), &["start a 20"]);
    check(ONE, &observed(&[("a", exited(1, 700, 160))]), &["start a 300"]);
    check(ONE, &observed(&[("a", exited(1, 700, 300))]), &["start a 300"]);
    let mut long = exited(1, 999, 300);
    if let Some(current) = &mut long.current {
        current.created_at = at(100);
    }
    check(ONE, &observed(&[("a", long)]), &["start a 10"]);
    assert_eq!(go_duration(Duration::from_secs(80)), "1m20s");
    assert_eq!(go_duration(Duration::from_secs(300)), "5m0s");
}

#[test]
fn image_and_configuration_errors_wait() {
    let with = |reason, since, retry| ObservedContainer {
        setback: Some(setback(reason, since, retry)),
        ..ObservedContainer::default()
    };
    let fresh = check(ONE, &observed(&[("a", with("ErrImagePull", 999, 1_009))]), &[]);
    assert_eq!((fresh.waiting["a"].reason, wakes(&fresh)), ("ErrImagePull", Some(1_002)));
    let later = check(ONE, &observed(&[("a", with("ErrImagePull", 990, 1_009))]), &[]);
    assert_eq!(later.waiting["a"].reason, "ImagePullBackOff");
    assert_eq!(
        later.waiting["a"].message.as_deref(),
        Some("Back-off pulling image \"i\": ErrImagePull: why")
    );
    check(ONE, &observed(&[("a", with("ErrImagePull", 990, 1_000))]), &["start a 0"]);
    let config = check(ONE, &observed(&[("a", with("CreateContainerConfigError", 990, 1_050))]), &[]);
    assert_eq!(config.waiting["a"].reason, "CreateContainerConfigError");
}

#[test]
fn condemned_containers_are_stopped() {
    let by =
        |condemned| observed(&[("a", ObservedContainer { condemned: Some(condemned), ..running(true) })]);
    let liveness = by(Condemned::Probe(ProbeKind::Liveness));
    check(ONE, &liveness, &["stop a 30: Container a failed liveness probe, will be restarted"]);
    check(
        &format!("restartPolicy: Never, {ONE}"),
        &liveness,
        &["stop a 30: Container a failed liveness probe"],
    );
    check(
        "containers: [{name: a, image: i, startupProbe: {terminationGracePeriodSeconds: 5}}]",
        &by(Condemned::Probe(ProbeKind::Startup)),
        &["stop a 5: Container a failed startup probe, will be restarted"],
    );
    check(ONE, &by(Condemned::PostStartHook), &["stop a 30: FailedPostStartHook"]);
    let mut stopping = liveness;
    if let Some(seen) = stopping.containers.get_mut("a") {
        seen.stopping = Some(Duration::from_secs(30));
    }
    check(ONE, &stopping, &[]);
}

#[test]
fn a_new_image_restarts_whatever_the_policy() {
    let spec = "restartPolicy: Never, containers: [{name: a, image: j}]";
    check(
        spec,
        &observed(&[("a", running(true))]),
        &["stop a 30: Container a definition changed, will be restarted"],
    );
    let stopped = ObservedContainer { restart_wanted: true, ..exited(143, 999, 0) };
    check(spec, &observed(&[("a", stopped)]), &["start a 0"]);
}

#[test]
fn init_containers_run_in_order() {
    check(INIT, &observed(&[]), &["start x 0"]);
    check(INIT, &observed(&[("x", running(true))]), &[]);
    check(INIT, &observed(&[("x", exited(0, 999, 0))]), &["start y 0"]);
    check(INIT, &observed(&[("x", exited(1, 999, 0))]), &["start x 10"]);
    check(INIT, &observed(&[("x", exited(0, 998, 0)), ("y", exited(0, 999, 0))]), &["start a 0"]);
    let never = &format!("restartPolicy: Never, {INIT}");
    check(never, &observed(&[("x", exited(1, 999, 0))]), &[]);
    let initialized = observed(&[("x", exited(1, 999, 0)), ("a", running(true))]);
    check(INIT, &initialized, &[]);
}

#[test]
fn sidecars_start_first_and_stop_last() {
    check(SIDECAR, &observed(&[]), &["start s 0"]);
    let waits = ObservedContainer { started: false, ..running(true) };
    check(SIDECAR, &observed(&[("s", waits)]), &[]);
    check(SIDECAR, &observed(&[("s", running(true))]), &["start a 0"]);
    check(SIDECAR, &observed(&[("s", exited(0, 999, 0)), ("a", running(true))]), &["start s 10"]);
    let mut going = pod(SIDECAR);
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1_030)));
    going.metadata.deletion_grace_period_seconds = Some(7);
    check_pod(
        &going,
        &observed(&[("s", running(true)), ("a", running(true))]),
        &["stop a 7: Stopping container a"],
    );
    check_pod(
        &going,
        &observed(&[("s", running(true)), ("a", exited(0, 999, 0))]),
        &["stop s 7: Stopping container s"],
    );
    let done = format!("restartPolicy: Never, {SIDECAR}");
    check(
        &done,
        &observed(&[("s", running(true)), ("a", exited(0, 999, 0))]),
        &["stop s 30: Stopping container s"],
    );
}

#[test]
fn deletion_runs_to_its_end() {
    let mut going = pod(ONE);
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1_030)));
    going.metadata.deletion_grace_period_seconds = Some(30);
    check_pod(&going, &ObservedPod::default(), &["teardown"]);
    check_pod(&going, &ObservedPod { setting_up: true, ..ObservedPod::default() }, &[]);
    let stopping = ObservedContainer { stopping: Some(Duration::from_secs(30)), ..running(true) };
    check_pod(&going, &observed(&[("a", stopping.clone())]), &[]);
    let mut forced = going.clone();
    forced.metadata.deletion_grace_period_seconds = Some(1);
    check_pod(&forced, &observed(&[("a", stopping)]), &["stop a 1: Stopping container a"]);
    check_pod(&going, &observed(&[("a", exited(143, 999, 0))]), &["teardown"]);
    let gone = ObservedPod { torn_down: true, ..observed(&[("a", exited(143, 999, 0))]) };
    check_pod(&going, &gone, &[]);
    let told = ObservedPod { reported: true, ..gone };
    check_pod(&going, &told, &["delete"]);
    check_pod(&going, &ObservedPod { deleting: true, ..told }, &[]);
}

#[test]
fn removed_objects_and_deadlines() {
    let removed = ObservedPod { removed: true, ..observed(&[("a", running(true))]) };
    check(ONE, &removed, &["stop a 30: Stopping container a"]);
    check(ONE, &ObservedPod { removed: true, torn_down: true, ..observed(&[]) }, &["delete"]);
    let limited = |seconds| format!("activeDeadlineSeconds: {seconds}, {ONE}");
    let before = check(&limited(200), &observed(&[("a", running(true))]), &[]);
    assert_eq!(wakes(&before), Some(1_090));
    check(&limited(100), &observed(&[("a", running(true))]), &["fail DeadlineExceeded"]);
}
