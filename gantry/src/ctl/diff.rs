//! `gantry diff`: what applying files would change, shown by `diff` or the program of
//! `KUBECTL_EXTERNAL_DIFF`. Exit code 1 is a difference, above 1 a failure.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::change::{APPLY, difference, last_applied, remember};
use super::connection::{Connection, query};
use super::manifest::Files;
use super::output::hide_managed_fields;
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Flags of `diff`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Only objects of the files with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// As server-side apply would change them.
    #[arg(long)]
    server_side: bool,
    /// Take fields that others manage.
    #[arg(long)]
    force_conflicts: bool,
    /// Who would be written down as having made the change.
    #[arg(long, value_name = "NAME", default_value = "")]
    field_manager: String,
    /// Show who manages which field.
    #[arg(long)]
    show_managed_fields: bool,
}

/// Shows differences.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.files.is_empty() {
        return Err(Failure::new("must specify one of -f and -k"));
    }
    let folders = Folders::new()?;
    compare(connection, &arguments, &folders).await.map_err(|failure| failure.with_code(2))?;
    let program = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_default();
    let mut words = program.split_whitespace();
    let mut command = match words.next() {
        Some(program) => Command::new(program),
        None => {
            let mut command = Command::new("diff");
            command.args(["-u", "-N"]);
            command
        }
    };
    // Only words of harmless letters are passed on, as kubectl does.
    command.args(words.filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || "-=".contains(c))));
    let status = command.arg(folders.side("LIVE")).arg(folders.side("MERGED")).status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(Failure::Silent(u8::try_from(code).unwrap_or(2))),
        Ok(None) => Err(Failure::new("the diff program was killed").with_code(2)),
        Err(error) => Err(Failure::new(format!("failed to run {command:?}: {error}")).with_code(2)),
    }
}

/// Two folders of files, removed in the end.
struct Folders;

impl Folders {
    fn new() -> Outcome<Self> {
        let folders = Self;
        for side in ["LIVE", "MERGED"] {
            std::fs::create_dir_all(folders.side(side))?;
        }
        Ok(folders)
    }

    fn side(&self, name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("{name}-{}", std::process::id()))
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for side in ["LIVE", "MERGED"] {
            drop(std::fs::remove_dir_all(self.side(side)));
        }
    }
}

async fn compare(connection: &Connection, arguments: &Arguments, folders: &Folders) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let choice = Choice { selector: &arguments.selector, ..Choice::of(&[], &arguments.files) };
    for target in choice.exactly(connection, &resources).await? {
        let live = connection.find(&target.path()).await?;
        let merged = merged(connection, arguments, &target, live.as_ref()).await?;
        let file = file_name(&target);
        let mut sides = [live.unwrap_or_default(), merged];
        if target.resource.kind == "Secret" && target.resource.group.is_empty() {
            mask(&mut sides);
        }
        for (side, object) in ["LIVE", "MERGED"].iter().zip(sides) {
            if object.is_object() {
                write(&folders.side(side).join(&file), object, arguments)?;
            }
        }
    }
    Ok(())
}

/// The object as applying would leave it: the server is asked, and keeps nothing.
async fn merged(
    connection: &Connection,
    arguments: &Arguments,
    target: &Target,
    live: Option<&Value>,
) -> Outcome<Value> {
    let default = if arguments.server_side { "kubectl" } else { "kubectl-client-side-apply" };
    let manager = if arguments.field_manager.is_empty() { default } else { &arguments.field_manager };
    let force = if arguments.force_conflicts { "true" } else { "" };
    let suffix = query(&[("dryRun", "All"), ("fieldManager", manager), ("force", force)]);
    if arguments.server_side {
        return connection.patch(&format!("{}{suffix}", target.path()), APPLY, &target.object).await;
    }
    let mut wanted = target.object.clone();
    remember(&mut wanted);
    match live {
        None => connection.post(&format!("{}{suffix}", target.collection()), &wanted).await,
        Some(live) => {
            let (media, patch) = difference(&target.resource, &last_applied(live), live, &wanted);
            if patch == json!({}) {
                return Ok(live.clone());
            }
            connection.patch(&format!("{}{suffix}", target.path()), media, &patch).await
        }
    }
}

fn file_name(target: &Target) -> String {
    let resource = &target.resource;
    let group = if resource.group.is_empty() { String::new() } else { format!("{}.", resource.group) };
    format!("{group}{}.{}.{}.{}", resource.version, resource.kind, target.namespace, target.name)
}

fn write(path: &Path, mut object: Value, arguments: &Arguments) -> Outcome {
    if !arguments.show_managed_fields {
        hide_managed_fields(&mut object);
    }
    std::fs::write(path, api::codec::yaml::emit(&object))?;
    Ok(())
}

/// What a secret holds is not shown, only whether it differs.
fn mask(sides: &mut [Value; 2]) {
    let [live, merged] = sides;
    let mut keys: Vec<String> = Vec::new();
    for side in [&*live, &*merged] {
        keys.extend(side["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()));
    }
    for key in keys {
        let same = live["data"][&key] == merged["data"][&key];
        let both = !live["data"][&key].is_null() && !merged["data"][&key].is_null();
        for (side, note) in [(&mut *live, "*** (before)"), (&mut *merged, "*** (after)")] {
            if let Some(value) = side.get_mut("data").and_then(|data| data.get_mut(&key)) {
                *value = json!(if same || !both { "***" } else { note });
            }
        }
    }
    for side in [live, merged] {
        let annotations = side.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        // The form applied last holds the same values.
        annotations.and_then(|annotations| annotations.remove(api::three_way::LAST_APPLIED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secret = |a: &str| json!({"data": {"a": a, "same": "x"}});
        let mut sides = [secret("1"), secret("2")];
        mask(&mut sides);
        let [live, merged] = &sides;
        assert_eq!(live["data"], json!({"a": "*** (before)", "same": "***"}));
        assert_eq!(merged["data"], json!({"a": "*** (after)", "same": "***"}));
    }
}
