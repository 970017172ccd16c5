//! `gantry delete`: objects by name, file or selector; waits until they are gone unless told not to.

use std::io::Write as _;

use http::Method;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::manifest::Files;
use super::output::{DryRun, DryRunFlag};
use super::resources::Resources;
use super::selection::{Many, Target};
use super::{Failure, Outcome};

/// Flags of `delete`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…, TYPE with --all or -l
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    many: Many,
    /// What happens to dependents: `background`, `foreground` or `orphan`.
    #[arg(long, value_name = "HOW", default_value = "background", num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    cascade: String,
    /// Seconds a pod gets to end; 0 with --force removes it at once.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Remove at once, without waiting for containers to end.
    #[arg(long)]
    force: bool,
    /// The same as --grace-period=1.
    #[arg(long)]
    now: bool,
    /// Nothing to delete is fine.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ignore_not_found: Option<bool>,
    /// Wait until the objects are gone.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: Option<bool>,
    /// How long to wait, such as 30s; 0 is as long as it takes.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: String,
    /// Ask before anything is deleted.
    #[arg(short = 'i', long)]
    interactive: bool,
    /// `name`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
    /// A path of the server to delete.
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Deletes objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if let Some(path) = &arguments.raw {
        print!("{}", connection.raw(Method::DELETE, path, None).await?);
        return Ok(());
    }
    let (options, grace) = arguments.options()?;
    let dry_run = arguments.dry_run.parse()?;
    let resources = Resources::discover(connection).await?;
    let choice = arguments.many.choice(&arguments.words, &arguments.files);
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    if arguments.interactive && !confirmed(&targets)? {
        println!("deletion is cancelled");
        return Ok(());
    }
    if targets.iter().any(|t| t.resource.namespaced) && grace == Some(0) {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let (mut waiting, mut found) = (Vec::new(), !targets.is_empty());
    let ignore_missing =
        arguments.ignore_not_found.unwrap_or(arguments.many.all && arguments.files.is_empty());
    for target in targets {
        let outcome = match dry_run {
            DryRun::Client => connection.get(&target.path()).await,
            _ => {
                connection
                    .delete(
                        &format!("{}{}", target.path(), query(&[("dryRun", dry_run.parameter())])),
                        &options,
                    )
                    .await
            }
        };
        match outcome {
            Ok(answer) => {
                arguments.tell(&target, dry_run, grace == Some(0) && arguments.force);
                waiting.push((uid(&answer), target));
            }
            Err(failure) if failure.is_not_found() && ignore_missing => found = true,
            Err(failure @ Failure::Server(_)) => failures.push(failure.during("deleting", &target.source)),
            Err(other) => return Err(other),
        }
    }
    if !found && failures.is_empty() {
        println!("No resources found");
    }
    if dry_run == DryRun::None && arguments.wait.unwrap_or(!(arguments.force && grace == Some(0))) {
        let limit = duration(&arguments.timeout, "--timeout")?;
        for (uid, target) in &waiting {
            until_gone(connection, target, uid, limit).await?;
        }
    }
    Failure::all(failures)
}

/// A flag's duration; `None` for 0.
pub fn duration(text: &str, flag: &str) -> Outcome<Option<std::time::Duration>> {
    let nanos = api::time::parse_go_duration(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid argument {text:?} for \"{flag}\" flag: time: invalid duration {text:?}"
        ))
    })?;
    Ok(u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(std::time::Duration::from_nanos))
}

impl Arguments {
    fn options(&self) -> Outcome<(Value, Option<i64>)> {
        let policy = match self.cascade.as_str() {
            "foreground" => "Foreground",
            "orphan" | "false" => "Orphan",
            "background" | "true" | "" => "Background",
            other => {
                return Err(Failure::new(format!(
                    "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
                )));
            }
        };
        if self.many.all && !self.many.selector.is_empty() {
            return Err(Failure::new("cannot set --all and --selector at the same time"));
        }
        if !self.output.is_empty() && self.output != "name" {
            return Err(Failure::new(format!(
                "unexpected -o output mode: {}. We only support '-o name'",
                self.output
            )));
        }
        if self.now && self.grace_period >= 0 {
            return Err(Failure::new("--now and --grace-period cannot be specified together"));
        }
        let grace = match (self.now, self.grace_period, self.force) {
            (true, ..) => Some(1),
            (_, 0, false) => Some(1),
            (_, seconds @ 0.., _) => Some(seconds),
            (_, _, true) => Some(0),
            _ => None,
        };
        if self.force && grace.is_some_and(|seconds| seconds > 0) {
            return Err(Failure::new(
                "--force and --grace-period greater than 0 cannot be specified together",
            ));
        }
        let mut options = json!({"propagationPolicy": policy});
        if let Some(seconds) = grace {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        Ok((options, grace))
    }

    fn tell(&self, target: &Target, dry_run: DryRun, forced: bool) {
        if self.output == "name" {
            println!("{}", target.label());
            return;
        }
        let what = if forced { "force deleted" } else { "deleted" };
        println!("{} {:?} {what}{}", target.resource.singular_name(), target.name, dry_run.note());
    }
}

fn confirmed(targets: &[Target]) -> Outcome<bool> {
    println!("You are about to delete the following {} resource(s):", targets.len());
    targets.iter().for_each(|target| println!("{}", target.label()));
    print!("Do you want to continue? (y/N): ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// The uid of what a delete answered: an object, or a Status with details.
fn uid(answer: &Value) -> String {
    let details = answer["details"]["uid"].as_str();
    details.unwrap_or_else(|| api::object::uid(answer)).to_owned()
}

/// Watches until the object is gone or another one stands in its place.
pub async fn until_gone(
    connection: &Connection,
    target: &Target,
    uid: &str,
    limit: Option<std::time::Duration>,
) -> Outcome {
    let gone = super::wait::until(connection, target, |object| {
        Ok(object.is_none_or(|object| api::object::uid(object) != uid))
    });
    match limit {
        None => gone.await,
        Some(limit) => tokio::time::timeout(limit, gone).await.unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "timed out waiting for the condition on {}/{}",
                target.resource.plural, target.name
            )))
        }),
    }
}
