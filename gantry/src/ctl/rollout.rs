//! `gantry rollout`: status with progress, history, undo, pause, resume, restart of Deployments.

use std::io::{IsTerminal as _, Write as _};

use anyhow::anyhow;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::get::aligned;
use super::resources::{Resource, Resources};
use super::{Failure, Outcome, Scope};

/// Where a Deployment and its ReplicaSets keep their revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Why a revision was made, if its maker said so.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// What to do with a roll-out.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Wait until the roll-out is done, showing its progress.
    Status(Arguments),
    /// List revisions.
    History(Arguments),
    /// Go back to an earlier revision.
    Undo(UndoArguments),
    /// Stop rolling out changes.
    Pause(Arguments),
    /// Go on rolling out changes.
    Resume(Arguments),
    /// Replace every pod.
    Restart(Arguments),
}

/// Which workload.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME.
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

/// Which workload, and how far back.
#[derive(clap::Args)]
pub struct UndoArguments {
    #[command(flatten)]
    target: Arguments,
    /// The revision to go back to; 0 is the previous one.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    to_revision: i64,
}

/// Runs a roll-out command.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let open = |arguments: &Arguments| -> Outcome<Rollout<'_>> {
        let (resource, name) = resources.one(&arguments.words)?;
        if resource.kind != "Deployment" {
            let what = resource.plural_name();
            return Err(Failure::Other(anyhow!("no rollout is known for {what}: only deployments have one")));
        }
        let namespace = connection.namespace(&arguments.scope);
        Ok(Rollout { connection, resources: &resources, resource, namespace, name })
    };
    match command {
        Command::Status(arguments) => open(&arguments)?.status().await,
        Command::History(arguments) => open(&arguments)?.history().await,
        Command::Undo(arguments) => open(&arguments.target)?.undo(arguments.to_revision).await,
        Command::Pause(arguments) => open(&arguments)?.pause(true).await,
        Command::Resume(arguments) => open(&arguments)?.pause(false).await,
        Command::Restart(arguments) => open(&arguments)?.restart().await,
    }
}

struct Rollout<'a> {
    connection: &'a Connection,
    resources: &'a Resources,
    resource: &'a Resource,
    namespace: String,
    name: String,
}

impl Rollout<'_> {
    fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }

    fn say(&self, what: &str) {
        println!("{}/{} {what}", self.resource.singular_name(), self.name);
    }

    async fn patch(&self, patch: &Value) -> Outcome {
        self.connection.patch(&self.path(), "application/merge-patch+json", patch).await.map(drop)
    }

    /// Follows the Deployment until its roll-out is complete or has failed.
    async fn status(&self) -> Outcome {
        let mut progress = ProgressLine::new();
        loop {
            let object = self.connection.get(&self.path()).await?;
            if progress.show(&object)? {
                return Ok(());
            }
            let pairs = [
                ("watch", "true"),
                ("fieldSelector", &*format!("metadata.name={}", self.name)),
                ("resourceVersion", api::object::resource_version(&object)),
            ];
            let path = format!("{}{}", self.resource.collection(Some(&self.namespace)), query(&pairs));
            let mut done = false;
            self.connection
                .watch(&path, "application/json", |event| {
                    if event["type"] == "DELETED" {
                        return Err(Failure::Other(anyhow!("object has been deleted")));
                    }
                    done = progress.show(&event["object"])?;
                    Ok(!done)
                })
                .await?;
            if done {
                return Ok(());
            }
        }
    }

    /// The Deployment and its ReplicaSets with their revisions, oldest first.
    async fn revisions(&self) -> Outcome<(Value, Vec<(i64, Value)>)> {
        let deployment = self.connection.get(&self.path()).await?;
        let sets = self.resources.named("replicasets")?.collection(Some(&self.namespace));
        let list = self.connection.get(&sets).await?;
        let mut found: Vec<(i64, Value)> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|set| {
                let owners = set["metadata"]["ownerReferences"].as_array();
                owners.into_iter().flatten().any(|o| o["uid"] == deployment["metadata"]["uid"])
            })
            .map(|set| (revision(set), set.clone()))
            .collect();
        found.sort_by_key(|(revision, _)| *revision);
        Ok((deployment, found))
    }

    async fn history(&self) -> Outcome {
        let (_, revisions) = self.revisions().await?;
        println!("{}/{} ", self.resource.singular_name(), self.name);
        let mut lines = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
        for (revision, set) in revisions {
            let cause = set["metadata"]["annotations"][CHANGE_CAUSE].as_str().unwrap_or("<none>");
            lines.push(vec![revision.to_string(), cause.to_owned()]);
        }
        println!("{}", aligned(&lines).replace("   ", "  "));
        Ok(())
    }

    async fn undo(&self, to: i64) -> Outcome {
        let (deployment, revisions) = self.revisions().await?;
        if deployment["spec"]["paused"] == true {
            return Err(Failure::Other(anyhow!(
                "you cannot rollback a paused deployment; resume it first with 'gantry rollout resume' and try again"
            )));
        }
        let current = revision(&deployment);
        let wanted = match to {
            0 => revisions.iter().rev().find(|(revision, _)| *revision != current),
            to => revisions.iter().find(|(revision, _)| *revision == to),
        };
        let (_, set) = wanted.ok_or_else(|| match to {
            0 => Failure::Other(anyhow!("no rollout history found for deployment {:?}", self.name)),
            to => Failure::Other(anyhow!("unable to find specified revision {to} in history")),
        })?;
        let mut template = set["spec"]["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        if template == deployment["spec"]["template"] {
            self.say(&format!("skipped rollback (current template already matches revision {to})"));
            return Ok(());
        }
        // No precondition: status changes all the time while a roll-out is under way.
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        self.connection.patch(&self.path(), "application/json-patch+json", &patch).await?;
        self.say("rolled back");
        Ok(())
    }

    async fn pause(&self, paused: bool) -> Outcome {
        let object = self.connection.get(&self.path()).await?;
        if (object["spec"]["paused"] == true) == paused {
            let state = if paused { "already paused" } else { "not paused" };
            let what = self.resource.plural_name();
            return Err(Failure::Other(anyhow!("{what} {:?} is {state}", self.name)));
        }
        self.patch(&json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}})).await?;
        self.say(if paused { "paused" } else { "resumed" });
        Ok(())
    }

    async fn restart(&self) -> Outcome {
        let clock = component_base::clock::RealClock::shared();
        let now = component_base::clock::rfc3339_seconds(clock.now());
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        self.patch(&json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})).await?;
        self.say("restarted");
        Ok(())
    }
}

fn revision(object: &Value) -> i64 {
    object["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse().ok()).unwrap_or_default()
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

    /// Shows where a Deployment is; `true` when it is done.
    fn show(&mut self, deployment: &Value) -> Outcome<bool> {
        let (text, done) = progress(deployment)?;
        if text != self.last {
            if self.terminal && !self.last.is_empty() {
                // Back to the line's start and clear it.
                print!("\r\x1b[2K");
            }
            print!("{text}");
            if done || !self.terminal {
                println!();
            }
            std::io::stdout().flush().map_err(anyhow::Error::new)?;
            self.last = text;
        }
        Ok(done)
    }
}

/// What `kubectl rollout status` says of a Deployment, and whether it is done.
fn progress(deployment: &Value) -> Outcome<(String, bool)> {
    let name = api::object::name(deployment);
    let status = &deployment["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    if number("observedGeneration") < api::object::generation(deployment) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let stalled = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded");
    if stalled {
        return Err(Failure::Other(anyhow!("deployment {name:?} exceeded its progress deadline")));
    }
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, all, available) =
        (number("updatedReplicas"), number("replicas"), number("availableReplicas"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Value, expect: &str, done: bool) {
        let object =
            json!({"metadata": {"name": "d", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        let (text, finished) = progress(&object).expect("no failure");
        assert!(text.contains(expect), "{text}");
        assert_eq!(finished, done);
    }

    #[test]
    fn every_stage_of_a_rollout() {
        let status = |replicas: i64, updated: i64, available: i64| json!({"observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available});
        check(json!({"observedGeneration": 1}), "spec update to be observed", false);
        check(status(4, 1, 3), "1 out of 3 new replicas have been updated", false);
        check(status(4, 3, 3), "1 old replicas are pending termination", false);
        check(status(3, 3, 2), "2 of 3 updated replicas are available", false);
        check(status(3, 3, 3), "successfully rolled out", true);
    }

    #[test]
    fn a_stalled_rollout_fails() {
        let object = json!({"metadata": {"name": "d"}, "status": {"conditions": [
            {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}});
        let failure = progress(&object).expect_err("stalled").to_string();
        assert_eq!(failure, "error: deployment \"d\" exceeded its progress deadline");
    }
}
