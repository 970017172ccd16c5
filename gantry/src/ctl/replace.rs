//! `gantry replace`: objects of files in the place of those that stand there.

use serde_json::json;

use super::apply::validation;
use super::change::{ChangeFlags, Sender, remember};
use super::connection::Connection;
use super::manifest::{Files, text_of};
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome, delete};

/// Flags of `replace`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Unknown fields: `strict` refuses, `warn` tells, `ignore` drops them.
    #[arg(long, value_name = "HOW", default_value = "strict", num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    validate: String,
    /// Delete, then create.
    #[arg(long)]
    force: bool,
    /// Seconds a pod gets to end, with --force.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace_period: Option<i64>,
    /// How long to wait for the deletion, with --force.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: String,
    /// What happens to dependents, with --force.
    #[arg(long, value_name = "HOW", default_value = "background", num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    cascade: String,
    /// Keep the object's own form for apply.
    #[arg(long)]
    save_config: bool,
    /// `status`, `scale`, …
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// A path of the server to put the file to.
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
}

/// Replaces objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.files.is_empty() {
        return Err(Failure::new("must specify --filename to replace"));
    }
    if let Some(path) = &arguments.raw {
        let text = text_of(arguments.files.filename.first().map_or("-", String::as_str))?;
        print!("{}", connection.raw(http::Method::PUT, path, Some(text)).await?);
        return Ok(());
    }
    let resources = Resources::discover(connection).await?;
    let report = arguments.change.report()?;
    let sender = Sender {
        validation: validation(&arguments.validate)?,
        ..arguments.change.sender(connection, "kubectl-replace")?
    };
    let choice = Choice::of(&[], &arguments.files);
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to replace"));
    }
    for mut target in targets {
        if arguments.save_config
            || target.object["metadata"]["annotations"][api::three_way::LAST_APPLIED].is_string()
        {
            remember(&mut target.object);
        }
        let outcome = async {
            if arguments.force {
                removed(connection, &arguments, &target).await?;
                let object = sender.create(&target).await?;
                return report.tell(&target.resource, &object, "replaced");
            }
            let object = sender.replace(&target, &arguments.subresource).await;
            let object = object.map_err(|failure| failure.during("replacing", &target.source))?;
            report.tell(&target.resource, &object, "replaced")
        };
        failures.extend(outcome.await.err());
    }
    Failure::all(failures)
}

/// Deletes the object that stands there, if any, and waits until it is gone.
async fn removed(connection: &Connection, arguments: &Arguments, target: &Target) -> Outcome {
    let Some(current) = connection.find(&target.path()).await? else { return Ok(()) };
    let mut options =
        json!({"propagationPolicy": if arguments.cascade == "orphan" { "Orphan" } else { "Background" }});
    if let Some(seconds) = arguments.grace_period.filter(|seconds| *seconds >= 0) {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    connection.delete(&target.path(), &options).await?;
    println!("{} {:?} deleted", target.resource.singular_name(), target.name);
    let limit = delete::duration(&arguments.timeout, "--timeout")?;
    delete::until_gone(connection, target, api::object::uid(&current), limit).await
}
