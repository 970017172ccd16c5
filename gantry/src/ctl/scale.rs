//! `gantry scale`: how many replicas a workload has.

use serde_json::json;

use super::change::{ChangeFlags, MERGE};
use super::connection::Connection;
use super::manifest::Files;
use super::output::DryRun;
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome, delete, wait};

/// Flags of `scale`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// The number of replicas.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    replicas: i64,
    /// Only if it has so many now.
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    current_replicas: i64,
    /// Only if it is at this revision.
    #[arg(long, value_name = "REVISION", default_value = "")]
    resource_version: String,
    /// Wait so long for the replicas to be there; 0 does not wait.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: String,
    /// Every object of the type in the namespace.
    #[arg(long)]
    all: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
}

/// Sets replicas through the scale subresource.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.replicas < 0 {
        return Err(Failure::new(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
        ));
    }
    let resources = Resources::discover(connection).await?;
    let choice = Choice {
        selector: &arguments.selector,
        all: arguments.all,
        fetch: true,
        ..Choice::of(&arguments.words, &arguments.files)
    };
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    if targets.len() > 1 && !arguments.resource_version.is_empty() {
        return Err(Failure::new("cannot use --resource-version with multiple resources"));
    }
    if targets.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to scale"));
    }
    for target in targets {
        failures.extend(one(connection, &arguments, &target).await.err());
    }
    Failure::all(failures)
}

async fn one(connection: &Connection, arguments: &Arguments, target: &Target) -> Outcome {
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-scale")?);
    if report.dry_run() == DryRun::Client {
        return report.tell(&target.resource, &target.object, "scaled");
    }
    let mut patch = json!({"spec": {"replicas": arguments.replicas}});
    if arguments.current_replicas >= 0 || !arguments.resource_version.is_empty() {
        let scale = connection.get(&format!("{}/scale", target.path())).await?;
        let now = scale["spec"]["replicas"].as_i64().unwrap_or_default();
        if arguments.current_replicas >= 0 && now != arguments.current_replicas {
            return Err(Failure::new(format!(
                "Expected replicas to be {}, was {now}",
                arguments.current_replicas
            )));
        }
        let version = api::object::resource_version(&scale);
        if !arguments.resource_version.is_empty() && version != arguments.resource_version {
            return Err(Failure::new(format!(
                "Expected resource version to be {}, was {version}",
                arguments.resource_version
            )));
        }
        patch["metadata"] = json!({"resourceVersion": version});
    }
    let answer = sender.patch(target, "scale", MERGE, &patch).await?;
    if let Some(limit) = delete::duration(&arguments.timeout, "--timeout")? {
        let wanted = arguments.replicas;
        let reached = wait::until(connection, target, |object| {
            let object = object.ok_or_else(|| Failure::new("the object has been deleted"))?;
            let seen = object["status"]["observedGeneration"].as_i64();
            let current = seen.is_none_or(|seen| seen >= api::object::generation(object));
            let now = object["status"]["replicas"].as_i64().unwrap_or_default();
            Ok(current && now == wanted || object["spec"]["replicas"].as_i64() != Some(wanted))
        });
        tokio::time::timeout(limit, reached)
            .await
            .unwrap_or_else(|_| Err(Failure::new("timed out waiting for the condition")))?;
    }
    let mut shown = if report.is_human() { target.object.clone() } else { answer };
    api::object::metadata_mut(&mut shown).insert("name".to_owned(), json!(target.name));
    report.tell(&target.resource, &shown, "scaled")
}
