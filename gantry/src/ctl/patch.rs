//! `gantry patch`: a strategic, merge or JSON patch from the command line or a file.

use anyhow::anyhow;
use serde_json::Value;

use super::change::{ChangeFlags, JSON_PATCH, MERGE, STRATEGIC};
use super::connection::Connection;
use super::manifest::{Files, text_of};
use super::output::DryRun;
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Flags of `patch`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME, TYPE/NAME
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// The patch, as JSON or YAML.
    #[arg(short, long, value_name = "PATCH", default_value = "")]
    patch: String,
    /// A file with the patch.
    #[arg(long, value_name = "FILE", default_value = "")]
    patch_file: String,
    /// `strategic`, `merge` or `json`.
    #[arg(long = "type", value_name = "TYPE", default_value = "strategic")]
    kind: String,
    /// `status`, `scale`, …
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// Do not send anything.
    #[arg(long)]
    local: bool,
}

/// Patches objects.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let text = match (arguments.patch.as_str(), arguments.patch_file.as_str()) {
        ("", "") => {
            return Err(Failure::new(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
        ("", file) => text_of(file).map_err(|e| anyhow!("unable to read patch file: {e}"))?,
        (text, "") => text.to_owned(),
        _ => return Err(Failure::new("cannot specify --patch and --patch-file together")),
    };
    let media = match arguments.kind.to_lowercase().as_str() {
        "strategic" => STRATEGIC,
        "merge" => MERGE,
        "json" => JSON_PATCH,
        other => {
            return Err(Failure::new(format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    let patch = parse(&text)?;
    let resources = Resources::discover(connection).await?;
    let choice = Choice { fetch: !arguments.local, ..Choice::of(&arguments.words, &arguments.files) };
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-patch")?);
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    for target in targets {
        let after = match arguments.local || report.dry_run() == DryRun::Client {
            true => applied(&target, media, &patch),
            false => sender.patch(&target, &arguments.subresource, media, &patch).await,
        };
        let told = after.and_then(|after| {
            let said = if after == target.object { "patched (no change)" } else { "patched" };
            report.tell(&target.resource, &after, said)
        });
        failures.extend(told.err());
    }
    Failure::all(failures)
}

/// A patch as JSON; a user may also write YAML.
fn parse(text: &str) -> Outcome<Value> {
    let mut documents = api::codec::yaml::decode_all(text)
        .map_err(|error| Failure::new(format!("unable to parse {text:?}: {error}")))?;
    match (documents.pop(), documents.is_empty()) {
        (Some(patch), true) if patch.is_object() || patch.is_array() => Ok(patch),
        _ => Err(Failure::new(format!("unable to parse {text:?}: it is no object and no list"))),
    }
}

fn applied(target: &Target, media: &str, patch: &Value) -> Outcome<Value> {
    let resource = &target.resource;
    let schema = api::schema::facts().by_gvk(&resource.group, &resource.version, &resource.kind);
    let after = match media {
        JSON_PATCH => api::patch::json::apply(&target.object, patch),
        MERGE => api::patch::merge::apply(&target.object, patch),
        _ => api::patch::strategic::apply(&target.object, patch, schema),
    };
    after.map_err(|error| Failure::new(format!("{error:?}")))
}
