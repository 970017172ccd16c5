//! `gantry rollout`: status with progress, history, undo, pause, resume, restart of Deployments,
//! DaemonSets and StatefulSets.

mod history;
mod status;

use serde_json::{Value, json};

use super::change::{ChangeFlags, STRATEGIC};
use super::connection::Connection;
use super::manifest::Files;
use super::output;
use super::resources::{Resource, Resources};
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// What to do with a roll-out.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Wait until the roll-out is done, showing its progress.
    Status(status::Arguments),
    /// List revisions.
    History(HistoryArguments),
    /// Go back to an earlier revision.
    Undo(UndoArguments),
    /// Stop rolling out changes.
    Pause(Arguments),
    /// Go on rolling out changes.
    Resume(Arguments),
    /// Replace every pod.
    Restart(Arguments),
}

/// Which workloads.
#[derive(clap::Args)]
pub struct Which {
    /// TYPE NAME or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
}

impl Which {
    async fn targets(
        &self,
        connection: &Connection,
        resources: &Resources,
    ) -> Outcome<(Vec<Target>, Vec<Failure>)> {
        let choice = Choice { selector: &self.selector, fetch: true, ..Choice::of(&self.words, &self.files) };
        choice.targets(connection, resources).await
    }
}

/// Which workloads, and how to tell of the change.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Which workload, and which of its revisions.
#[derive(clap::Args)]
pub struct HistoryArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: output::Flags,
    /// Show this revision's pod template.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    revision: i64,
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
    let resources = &Resources::discover(connection).await?;
    let (which, verb) = match &command {
        Command::Status(a) => (&a.which, "rollout status"),
        Command::History(a) => (&a.which, "history"),
        Command::Undo(a) => (&a.target.which, "undo"),
        Command::Pause(a) => (&a.which, "pause"),
        Command::Resume(a) => (&a.which, "resume"),
        Command::Restart(a) => (&a.which, "restart"),
    };
    let (targets, mut failures) = which.targets(connection, resources).await?;
    for target in &targets {
        let outcome = match &command {
            Command::Status(arguments) => status::follow(connection, target, arguments).await,
            Command::History(arguments) => history::show(connection, target, arguments).await,
            Command::Undo(arguments) => {
                history::undo(connection, target, &arguments.target.change, arguments.to_revision).await
            }
            Command::Pause(a) => pause(connection, a, target, true).await,
            Command::Resume(a) => pause(connection, a, target, false).await,
            Command::Restart(a) => restart(connection, a, target).await,
        };
        failures.extend(outcome.err());
    }
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::new(format!("no objects passed to {verb}")));
    }
    Failure::all(failures)
}

fn is_workload(resource: &Resource) -> bool {
    ["Deployment", "DaemonSet", "StatefulSet"].contains(&resource.kind.as_str())
}

async fn pause(connection: &Connection, arguments: &Arguments, target: &Target, paused: bool) -> Outcome {
    let what = format!("{} {:?}", target.resource.plural_name(), target.name);
    let verb = if paused { "pausing" } else { "resuming" };
    if target.resource.kind != "Deployment" {
        return Err(Failure::new(format!("{what} {verb} is not supported")));
    }
    if (target.object["spec"]["paused"] == true) == paused {
        let state = if paused { "already paused" } else { "not paused" };
        return Err(Failure::new(format!("{what} is {state}")));
    }
    let patch = json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}});
    change(connection, arguments, target, &patch, if paused { "paused" } else { "resumed" }).await
}

async fn restart(connection: &Connection, arguments: &Arguments, target: &Target) -> Outcome {
    let what = format!("{} {:?}", target.resource.plural_name(), target.name);
    if !is_workload(&target.resource) {
        return Err(Failure::new(format!("{what} restarting is not supported")));
    }
    if target.object["spec"]["paused"] == true {
        return Err(Failure::new(format!(
            "{what} can't restart paused deployment (run rollout resume first)"
        )));
    }
    let clock = component_base::clock::RealClock::shared();
    let now = component_base::clock::rfc3339_seconds(clock.now());
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    change(connection, arguments, target, &patch, "restarted").await
}

async fn change(
    connection: &Connection,
    arguments: &Arguments,
    target: &Target,
    patch: &Value,
    said: &str,
) -> Outcome {
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-rollout")?);
    let after = match report.sends() {
        true => sender.patch(target, "", STRATEGIC, patch).await?,
        false => target.object.clone(),
    };
    report.tell(&target.resource, &after, said)
}
