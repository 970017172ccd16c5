//! `gantry delete`: objects by name, file or selector; waits until they are gone unless told not to.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::resources::{Resource, Resources};
use super::{Failure, Outcome, Scope, manifest};

/// Flags of `delete`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…, TYPE with --all or -l
    words: Vec<String>,
    /// Objects named by files.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Every object of the type in the namespace.
    #[arg(long)]
    all: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// What happens to dependents.
    #[arg(long, value_name = "HOW", default_value = "background", value_parser = ["background", "foreground", "orphan"])]
    cascade: String,
    /// Seconds a pod gets to end; 0 with --force removes it at once.
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
    /// Remove at once, without waiting for containers to end.
    #[arg(long)]
    force: bool,
    /// Nothing to delete is fine.
    #[arg(long)]
    ignore_not_found: bool,
    /// Wait until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    wait: bool,
    #[command(flatten)]
    scope: Scope,
}

/// One object to delete.
struct Target<'a> {
    resource: &'a Resource,
    namespace: String,
    name: String,
}

impl Target<'_> {
    fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }
}

/// Deletes objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let targets = targets(connection, &resources, &arguments).await?;
    let policy = match arguments.cascade.as_str() {
        "foreground" => "Foreground",
        "orphan" => "Orphan",
        _ => "Background",
    };
    let mut options = json!({"propagationPolicy": policy});
    if let Some(seconds) = arguments.grace_period.or(arguments.force.then_some(0)) {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    let mut waiting = Vec::new();
    let mut failed = None;
    for target in targets {
        match connection.delete(&target.path(), &options).await {
            Ok(answer) => {
                println!("{} {:?} deleted", target.resource.singular_name(), target.name);
                waiting.push((uid(&answer), target));
            }
            Err(Failure::Server(status)) if status.code == 404 && arguments.ignore_not_found => {}
            Err(failure @ Failure::Server(_)) => {
                eprintln!("{failure}");
                failed = Some(Failure::ExitCode(1));
            }
            Err(other) => return Err(other),
        }
    }
    if arguments.wait {
        for (uid, target) in &waiting {
            until_gone(connection, target, uid).await?;
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn targets<'a>(
    connection: &Connection,
    resources: &'a Resources,
    arguments: &Arguments,
) -> Outcome<Vec<Target<'a>>> {
    let namespace = connection.namespace(&arguments.scope);
    let mut targets = Vec::new();
    if !arguments.filename.is_empty() {
        for object in manifest::read(&arguments.filename)? {
            let own = api::object::namespace(&object);
            let namespace = if own.is_empty() { namespace.clone() } else { own.to_owned() };
            let name = api::object::name(&object).to_owned();
            targets.push(Target { resource: resources.of(&object)?, namespace, name });
        }
        return Ok(targets);
    }
    for (resource, name) in resources.select(&arguments.words)? {
        if let Some(name) = name {
            targets.push(Target { resource, namespace: namespace.clone(), name });
            continue;
        }
        if !arguments.all && arguments.selector.is_empty() {
            return Err(Failure::Other(anyhow!("resource(s) were provided, but no name was specified")));
        }
        let suffix = query(&[("labelSelector", &arguments.selector)]);
        let list = connection.get(&format!("{}{suffix}", resource.collection(Some(&namespace)))).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            let name = api::object::name(item).to_owned();
            targets.push(Target { resource, namespace: namespace.clone(), name });
        }
    }
    Ok(targets)
}

/// The uid of what a delete answered: an object, or a Status with details.
fn uid(answer: &Value) -> String {
    let details = answer["details"]["uid"].as_str();
    details.unwrap_or_else(|| api::object::uid(answer)).to_owned()
}

/// Watches until the object is gone or another one stands in its place.
async fn until_gone(connection: &Connection, target: &Target<'_>, uid: &str) -> Outcome {
    loop {
        let Some(object) = connection.find(&target.path()).await? else { return Ok(()) };
        if api::object::uid(&object) != uid {
            return Ok(());
        }
        let path = format!(
            "{}{}",
            target.resource.collection(Some(&target.namespace)),
            query(&[
                ("watch", "true"),
                ("fieldSelector", &format!("metadata.name={}", target.name)),
                ("resourceVersion", api::object::resource_version(&object)),
            ])
        );
        let mut gone = false;
        connection
            .watch(&path, "application/json", |event| {
                gone = event["type"] == "DELETED";
                Ok(!gone)
            })
            .await?;
        if gone {
            return Ok(());
        }
    }
}
