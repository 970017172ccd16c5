//! What the tables of `pod_actions` and `pod_status` share: a pod of second 900, observed at second 1000.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Attempt, ObservedContainer, ObservedPod};
use crate::container_runtime::ContainerExit;

/// One container.
pub(crate) const ONE: &str = "containers: [{name: a, image: i}]";

/// A time.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// A pod from the flow-style body of its spec.
pub(crate) fn pod(spec: &str) -> Pod {
    serde_yaml::from_str(&format!(
        "{{metadata: {{name: web, namespace: default, uid: u, generation: 2}}, spec: {{{spec}}}}}"
    ))
    .expect("a pod")
}

/// A container that started at second 900.
pub(crate) fn attempt(number: u32) -> Attempt {
    Attempt {
        id: format!("c-{number}"),
        number,
        image: "i".to_owned(),
        image_id: "sha256:1".to_owned(),
        created_at: at(900),
        started_at: Some(at(900)),
        exit: None,
        exit_reason: None,
        message: None,
        back_off: Duration::ZERO,
    }
}

/// Started and running.
pub(crate) fn running(ready: bool) -> ObservedContainer {
    ObservedContainer { current: Some(attempt(0)), started: true, ready, ..ObservedContainer::default() }
}

/// Ended with `code` at second `finished` after a back-off of `back_off` seconds.
pub(crate) fn exited(code: i32, finished: i64, back_off: u64) -> ObservedContainer {
    let exit = ContainerExit { code, signal: 0, oom_killed: false, finished_at: at(finished) };
    let current = Attempt { exit: Some(exit), back_off: Duration::from_secs(back_off), ..attempt(1) };
    ObservedContainer { current: Some(current), ..ObservedContainer::default() }
}

/// A pod that is set up and has these containers.
pub(crate) fn observed(containers: &[(&str, ObservedContainer)]) -> ObservedPod {
    ObservedPod {
        set_up: true,
        start_time: Some(at(890)),
        containers: containers.iter().map(|(name, seen)| ((*name).to_owned(), seen.clone())).collect(),
        ..ObservedPod::default()
    }
}
