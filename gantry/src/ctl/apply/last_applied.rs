//! `gantry apply view-last-applied|set-last-applied|edit-last-applied`.

use api::three_way::LAST_APPLIED;
use serde_json::{Value, json};

use crate::ctl::change::{ChangeFlags, MERGE, last_applied, last_applied_text};
use crate::ctl::connection::Connection;
use crate::ctl::edit;
use crate::ctl::manifest::Files;
use crate::ctl::output::json_text;
use crate::ctl::resources::Resources;
use crate::ctl::selection::{Choice, Target};
use crate::ctl::{Failure, Outcome};

/// What to do with the form applied last.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show it.
    #[command(name = "view-last-applied")]
    View(View),
    /// Write it from files.
    #[command(name = "set-last-applied")]
    Set(Set),
    /// Change it in an editor and apply the result.
    #[command(name = "edit-last-applied")]
    Edit(View),
}

/// Which objects, and how to show them.
#[derive(clap::Args)]
pub struct View {
    /// TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// All of a type.
    #[arg(long)]
    all: bool,
    /// `yaml` or `json`.
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: String,
}

/// Which files.
#[derive(clap::Args)]
pub struct Set {
    #[command(flatten)]
    files: Files,
    /// Also where there is no annotation yet.
    #[arg(long)]
    create_annotation: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

impl View {
    fn choice(&self) -> Choice<'_> {
        Choice {
            selector: &self.selector,
            all: self.all,
            fetch: true,
            ..Choice::of(&self.words, &self.files)
        }
    }
}

/// Runs a command.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    let resources = Resources::discover(connection).await?;
    match command {
        Command::View(view) => {
            for target in view.choice().exactly(connection, &resources).await? {
                let last = remembered(&target)?;
                match view.output.as_str() {
                    "json" => print!("{}", json_text(&last)),
                    "yaml" | "" => print!("{}", api::codec::yaml::emit(&last)),
                    other => {
                        return Err(Failure::new(format!(
                            "Unexpected -o output mode: {other}, the flag 'output' must be one of yaml|json"
                        )));
                    }
                }
            }
            Ok(())
        }
        Command::Set(set) => set.run(connection, &resources).await,
        Command::Edit(view) => {
            for target in view.choice().exactly(connection, &resources).await? {
                let mut shown = target.clone();
                shown.object = remembered(&target)?;
                let Some(edited) = edit::in_editor(&shown.object, view.output == "json", "")? else {
                    println!("Edit cancelled, no changes made.");
                    continue;
                };
                let path = target.path();
                connection.patch(&path, MERGE, &annotation(&edited)).await?;
                println!("{} edited", target.label());
            }
            Ok(())
        }
    }
}

fn remembered(target: &Target) -> Outcome<Value> {
    let last = last_applied(&target.object);
    if last == json!({}) {
        return Err(Failure::new(format!(
            "no last-applied-configuration annotation found on resource: {}",
            target.name
        )));
    }
    Ok(last)
}

fn annotation(object: &Value) -> Value {
    json!({"metadata": {"annotations": {LAST_APPLIED: last_applied_text(object)}}})
}

impl Set {
    async fn run(&self, connection: &Connection, resources: &Resources) -> Outcome {
        let (report, sender) =
            (self.change.report()?, self.change.sender(connection, "kubectl-last-applied")?);
        let choice = Choice::of(&[], &self.files);
        for target in choice.exactly(connection, resources).await? {
            let current = connection.get(&target.path()).await?;
            if current["metadata"]["annotations"][LAST_APPLIED].is_null() && !self.create_annotation {
                return Err(Failure::new(format!(
                    "no last-applied-configuration annotation found on resource: {}, to create the annotation, run the command with --create-annotation",
                    target.name
                )));
            }
            let after = match report.sends() {
                true => sender.patch(&target, "", MERGE, &annotation(&target.object)).await?,
                false => current,
            };
            report.tell(&target.resource, &after, "configured")?;
        }
        Ok(())
    }
}
