//! Tables for `pod_status`: a pod and what is observed, the status expected in short form.

use std::time::Duration;

use super::*;
use crate::observed::fixtures::{ONE, at, attempt, exited, observed, pod, running};
use crate::observed::{PodFailure, Setback};
use crate::pod_actions::pod_actions;

const TWO: &str = "containers: [{name: a, image: i}, {name: b, image: i}]";
const INIT: &str = "initContainers: [{name: x, image: i}], containers: [{name: a, image: i}]";

fn status_of(spec: &str, observed: &ObservedPod) -> PodStatus {
    let pod = pod(spec);
    let decision = pod_actions(&pod, observed, at(1_000));
    pod_status(&pod, observed, &decision, &PodStatus::default(), at(1_000))
}

/// `Phase | a=state | Condition=...`, conditions that are False with their reason.
fn brief(status: &PodStatus) -> String {
    let state = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let text = match (state.waiting, state.running, state.terminated) {
            (Some(waiting), _, _) => waiting.reason.unwrap_or_default(),
            (_, Some(_), _) => "Running".to_owned(),
            (_, _, Some(end)) => format!("{}:{}", end.reason.unwrap_or_default(), end.exit_code),
            _ => "?".to_owned(),
        };
        let ready = if status.ready { "+" } else { "" };
        format!("{}={text}{ready}", status.name)
    };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let containers: Vec<String> = lists.into_iter().flatten().flatten().map(state).collect();
    let unmet: Vec<String> = status
        .conditions
        .iter()
        .flatten()
        .filter(|condition| condition.status == "False")
        .map(|condition| format!("{}:{}", condition.type_, condition.reason.clone().unwrap_or_default()))
        .collect();
    format!("{} | {} | {}", status.phase.clone().unwrap_or_default(), containers.join(" "), unmet.join(" "))
}

fn check(spec: &str, observed: &ObservedPod, expect: &str) {
    assert_eq!(brief(&status_of(spec, observed)), expect);
}

#[test]
fn before_and_while_running() {
    check(
        ONE,
        &ObservedPod { setting_up: true, ..ObservedPod::default() },
        "Pending | a=ContainerCreating | PodReadyToStartContainers: Ready:ContainersNotReady ContainersReady:ContainersNotReady",
    );
    check(
        ONE,
        &observed(&[]),
        "Pending | a=ContainerCreating | Ready:ContainersNotReady ContainersReady:ContainersNotReady",
    );
    check(ONE, &observed(&[("a", running(true))]), "Running | a=Running+ | ");
    check(
        ONE,
        &observed(&[("a", running(false))]),
        "Running | a=Running | Ready:ContainersNotReady ContainersReady:ContainersNotReady",
    );
    check(
        TWO,
        &observed(&[("a", running(true))]),
        "Pending | a=Running+ b=ContainerCreating | Ready:ContainersNotReady ContainersReady:ContainersNotReady",
    );
}

#[test]
fn init_containers() {
    let unmet =
        "Initialized:ContainersNotInitialized Ready:ContainersNotReady ContainersReady:ContainersNotReady";
    check(INIT, &observed(&[]), &format!("Pending | x=PodInitializing a=PodInitializing | {unmet}"));
    check(
        INIT,
        &observed(&[("x", running(true))]),
        &format!("Pending | x=Running a=PodInitializing | {unmet}"),
    );
    check(
        INIT,
        &observed(&[("x", exited(1, 999, 10))]),
        &format!("Pending | x=CrashLoopBackOff a=PodInitializing | {unmet}"),
    );
    check(
        INIT,
        &observed(&[("x", exited(0, 999, 10))]),
        "Pending | x=Completed:0+ a=PodInitializing | Ready:ContainersNotReady ContainersReady:ContainersNotReady",
    );
    check(
        &format!("restartPolicy: Never, {INIT}"),
        &observed(&[("x", exited(1, 999, 10))]),
        "Failed | x=Error:1 a=PodInitializing | Initialized:ContainersNotInitialized Ready:PodFailed ContainersReady:PodFailed",
    );
}

#[test]
fn ends() {
    let succeeded = "Ready:PodCompleted ContainersReady:PodCompleted";
    let failed = "Ready:PodFailed ContainersReady:PodFailed";
    for (policy, codes, expect) in [
        ("Never", [0, 0], format!("Succeeded | a=Completed:0 b=Completed:0 | {succeeded}")),
        ("Never", [0, 2], format!("Failed | a=Completed:0 b=Error:2 | {failed}")),
        ("OnFailure", [0, 0], format!("Succeeded | a=Completed:0 b=Completed:0 | {succeeded}")),
        (
            "Always",
            [0, 2],
            "Running | a=CrashLoopBackOff b=CrashLoopBackOff | Ready:ContainersNotReady ContainersReady:ContainersNotReady"
                .to_owned(),
        ),
    ] {
        let spec = format!("restartPolicy: {policy}, {TWO}");
        check(&spec, &observed(&[("a", exited(codes[0], 999, 10)), ("b", exited(codes[1], 999, 10))]), &expect);
    }
    let mut killed = exited(137, 999, 10);
    if let Some(exit) = killed.current.as_mut().and_then(|current| current.exit.as_mut()) {
        exit.oom_killed = true;
    }
    check(
        &format!("restartPolicy: Never, {ONE}"),
        &observed(&[("a", killed)]),
        &format!("Failed | a=OOMKilled:137 | {failed}"),
    );
}

#[test]
fn failure_of_the_pod() {
    let failure = PodFailure { reason: "DeadlineExceeded", message: "late".to_owned() };
    let seen = ObservedPod { failure: Some(failure), ..observed(&[("a", running(true))]) };
    let status = status_of(ONE, &seen);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    let deleted = ObservedPod { torn_down: true, ..observed(&[("a", exited(143, 999, 10))]) };
    assert_eq!(status_of(ONE, &deleted).phase.as_deref(), Some("Failed"));
    let clean = ObservedPod { torn_down: true, ..observed(&[("a", exited(0, 999, 10))]) };
    assert_eq!(status_of(ONE, &clean).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn details_of_a_container() {
    let mut seen = exited(1, 999, 10);
    seen.previous = Some(attempt(0));
    if let Some(current) = &mut seen.current {
        current.message = Some("last words".to_owned());
    }
    let status = status_of(ONE, &observed(&[("a", seen)]));
    let a = &status.container_statuses.expect("statuses")[0];
    assert_eq!(a.restart_count, 1);
    assert_eq!(a.image_id, "sha256:1");
    assert!(a.container_id.as_deref().is_some_and(|id| id.starts_with("gantry://") && id.len() == 73));
    let last = a.last_state.clone().and_then(|state| state.terminated).expect("a last state");
    assert_eq!(last.message.as_deref(), Some("last words"));
    assert_eq!(last.exit_code, 1);
    assert_eq!(last.container_id, a.container_id);
}

#[test]
fn waiting_reasons_carry_messages() {
    let setback = Setback {
        reason: "CreateContainerConfigError",
        message: "configmap \"x\" not found".to_owned(),
        since: at(990),
        retry_at: at(1_050),
        delay: Duration::from_secs(60),
    };
    let seen = ObservedContainer { setback: Some(setback), ..ObservedContainer::default() };
    let status = status_of(ONE, &observed(&[("a", seen)]));
    let state = status.container_statuses.expect("statuses")[0].state.clone().expect("a state");
    let waiting = state.waiting.expect("waiting");
    assert_eq!(waiting.message.as_deref(), Some("configmap \"x\" not found"));
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
}

#[test]
fn conditions_and_gates() {
    let message = |status: &PodStatus, name: &str| {
        let found = status.conditions.iter().flatten().find(|condition| condition.type_ == name).cloned();
        found.and_then(|condition| condition.message).unwrap_or_default()
    };
    let status = status_of(TWO, &observed(&[("a", running(false))]));
    assert_eq!(message(&status, "Ready"), "containers with unready status: [a b]");
    let status = status_of(INIT, &observed(&[]));
    assert_eq!(message(&status, "Initialized"), "containers with incomplete status: [x]");
    let gated = format!("readinessGates: [{{conditionType: g}}], {ONE}");
    let status = status_of(&gated, &observed(&[("a", running(true))]));
    assert_eq!(
        message(&status, "Ready"),
        "corresponding condition of pod readiness gate \"g\" does not exist."
    );
}

#[test]
fn transition_times_move_with_the_status_only() {
    let pod = pod(ONE);
    let seen = observed(&[("a", running(true))]);
    let first = status_of(ONE, &seen);
    let decision = Decision::default();
    let later = pod_status(&pod, &seen, &decision, &first, at(2_000));
    assert_eq!(first, later);
    assert_eq!(status_patch("u", &first, &later), None);
    let unready = pod_status(&pod, &observed(&[("a", running(false))]), &decision, &first, at(2_000));
    let patch = status_patch("u", &first, &unready).expect("a patch");
    let kinds: Vec<&str> = patch["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    assert_eq!(kinds, ["Ready", "ContainersReady"]);
    assert_eq!(patch["metadata"]["uid"], "u");
    assert!(patch["status"].get("phase").is_none());
    let back = status_patch("u", &unready, &first).expect("a patch");
    assert_eq!(back["status"]["conditions"][0]["reason"], Value::Null);
}
