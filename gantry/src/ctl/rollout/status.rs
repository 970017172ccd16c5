//! `gantry rollout status`: where a roll-out is, until it is done.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use super::Which;
use crate::ctl::connection::Connection;
use crate::ctl::delete::duration;
use crate::ctl::selection::Target;
use crate::ctl::{Failure, Outcome, wait};

/// Flags of `rollout status`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) which: Which,
    /// Go on until the roll-out is done.
    #[arg(short, long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    watch: bool,
    /// Only if it is this revision that is rolled out.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    revision: i64,
    /// How long to wait; 0 is as long as it takes.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: String,
}

/// Follows a workload until its roll-out is complete or has failed.
pub async fn follow(connection: &Connection, target: &Target, arguments: &Arguments) -> Outcome {
    let mut line = ProgressLine::new();
    let mut show = |object: &Value| -> Outcome<bool> {
        let (text, done) = progress(object, arguments.revision)?;
        line.show(&text, done)?;
        Ok(done || !arguments.watch)
    };
    if show(&target.object)? {
        return Ok(());
    }
    let done = wait::until(connection, target, |object| match object {
        Some(object) => {
            let mut object = object.clone();
            if let Some(fields) = object.as_object_mut() {
                fields.insert("kind".to_owned(), target.resource.kind.clone().into());
            }
            show(&object)
        }
        None => Err(Failure::new("object has been deleted")),
    });
    match duration(&arguments.timeout, "--timeout")? {
        None => done.await,
        Some(limit) => tokio::time::timeout(limit, done)
            .await
            .unwrap_or_else(|_| Err(Failure::new("timed out waiting for the condition"))),
    }
}

/// One line that changes in place on a terminal; a new line per change elsewhere.
struct ProgressLine {
    terminal: bool,
    last: String,
}

impl ProgressLine {
    fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), last: String::new() }
    }

    fn show(&mut self, text: &str, done: bool) -> Outcome {
        if text != self.last {
            if self.terminal && !self.last.is_empty() {
                // Back to the line's start and clear it.
                print!("\r\x1b[2K");
            }
            print!("{text}");
            if done || !self.terminal {
                println!();
            }
            std::io::stdout().flush()?;
            self.last = text.to_owned();
        }
        Ok(())
    }
}

/// What `kubectl rollout status` says of a workload, and whether it is done.
fn progress(object: &Value, revision: i64) -> Outcome<(String, bool)> {
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => deployment(object, revision),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        other => Err(Failure::new(format!("no status viewer has been implemented for {other}"))),
    }
}

fn number(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or_default()
}

fn observed(object: &Value) -> bool {
    number(object, "observedGeneration") >= api::object::generation(object)
}

fn deployment(object: &Value, revision: i64) -> Outcome<(String, bool)> {
    let name = api::object::name(object);
    if revision > 0 {
        let running = super::history::revision_of(object);
        if running != revision {
            return Err(Failure::new(format!(
                "desired revision ({revision}) is different from the running revision ({running})"
            )));
        }
    }
    if !observed(object) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut progressing = conditions.filter(|c| c["type"] == "Progressing");
    if progressing.any(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return Err(Failure::new(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, all) = (number(object, "updatedReplicas"), number(object, "replicas"));
    let available = number(object, "availableReplicas");
    let waiting =
        |why: String| Ok((format!("Waiting for deployment {name:?} rollout to finish: {why}..."), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if all > updated {
        return waiting(format!("{} old replicas are pending termination", all - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available"));
    }
    Ok((format!("deployment {name:?} successfully rolled out"), true))
}

fn only_rolling(object: &Value) -> Outcome {
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
        return Ok(());
    }
    Err(Failure::new("rollout status is only available for RollingUpdate strategy type"))
}

fn daemon_set(object: &Value) -> Outcome<(String, bool)> {
    only_rolling(object)?;
    let name = api::object::name(object);
    if !observed(object) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_owned(), false));
    }
    let wanted = number(object, "desiredNumberScheduled");
    let (updated, available) = (number(object, "updatedNumberScheduled"), number(object, "numberAvailable"));
    let waiting =
        |why: String| Ok((format!("Waiting for daemon set {name:?} rollout to finish: {why}..."), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new pods have been updated"));
    }
    if available < wanted {
        return waiting(format!("{available} of {wanted} updated pods are available"));
    }
    Ok((format!("daemon set {name:?} successfully rolled out"), true))
}

fn stateful_set(object: &Value) -> Outcome<(String, bool)> {
    only_rolling(object)?;
    if number(object, "observedGeneration") == 0 || !observed(object) {
        return Ok(("Waiting for statefulset spec update to be observed...".to_owned(), false));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let (ready, updated) = (number(object, "readyReplicas"), number(object, "updatedReplicas"));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    let rolling = &object["spec"]["updateStrategy"]["rollingUpdate"];
    if rolling.is_object() {
        let due = wanted - rolling["partition"].as_i64().unwrap_or_default();
        if updated < due {
            let text = format!("{updated} out of {due} new pods have been updated...");
            return Ok((format!("Waiting for partitioned roll out to finish: {text}"), false));
        }
        return Ok((format!("partitioned roll out complete: {updated} new pods have been updated..."), true));
    }
    let revision = |field: &str| object["status"][field].as_str().unwrap_or_default().to_owned();
    let (current, update) = (revision("currentRevision"), revision("updateRevision"));
    if current != update {
        let text = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {update}..."
        );
        return Ok((text, false));
    }
    let count = number(object, "currentReplicas");
    Ok((format!("statefulset rolling update complete {count} pods at revision {current}..."), true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &str, status: Value, expect: &str, done: bool) {
        let object = json!({"kind": kind, "metadata": {"name": "d", "generation": 2},
            "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}}, "status": status});
        let (text, finished) = progress(&object, 0).expect("no failure");
        assert!(text.contains(expect), "{text}");
        assert_eq!(finished, done);
    }

    #[test]
    fn every_stage_of_a_deployment() {
        let status = |replicas: i64, updated: i64, available: i64| json!({"observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available});
        check("Deployment", json!({"observedGeneration": 1}), "spec update to be observed", false);
        check("Deployment", status(4, 1, 3), "1 out of 3 new replicas have been updated", false);
        check("Deployment", status(4, 3, 3), "1 old replicas are pending termination", false);
        check("Deployment", status(3, 3, 2), "2 of 3 updated replicas are available", false);
        check("Deployment", status(3, 3, 3), "successfully rolled out", true);
    }

    #[test]
    fn the_other_workloads() {
        let set = |updated: i64| json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": 2});
        check("DaemonSet", set(1), "1 out of 2 new pods have been updated", false);
        check("DaemonSet", set(2), "daemon set \"d\" successfully rolled out", true);
        check(
            "StatefulSet",
            json!({"observedGeneration": 2, "readyReplicas": 1}),
            "Waiting for 2 pods to be ready",
            false,
        );
        let done = json!({"observedGeneration": 2, "readyReplicas": 3, "currentReplicas": 3, "currentRevision": "r", "updateRevision": "r"});
        check("StatefulSet", done, "statefulset rolling update complete 3 pods at revision r", true);
    }

    #[test]
    fn a_stalled_rollout_fails() {
        let object = json!({"kind": "Deployment", "metadata": {"name": "d"}, "status": {"conditions": [
            {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}});
        let failure = progress(&object, 0).expect_err("stalled").to_string();
        assert_eq!(failure, "error: deployment \"d\" exceeded its progress deadline");
    }
}
