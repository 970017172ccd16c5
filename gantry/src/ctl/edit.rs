//! `gantry edit`: an object in the user's editor; what was changed is sent, and shown again when refused.
//!
//! Entry points: [`run`], [`in_editor`].

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use super::change::{ChangeFlags, difference};
use super::connection::Connection;
use super::manifest::Files;
use super::output::{hide_managed_fields, json_text};
use super::resources::Resources;
use super::selection::{Choice, Target};
use super::{Failure, Outcome};

/// Flags of `edit`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// `status`, `scale`, …
    #[arg(long, value_name = "NAME", default_value = "")]
    subresource: String,
    /// Show the patch that was sent.
    #[arg(long)]
    output_patch: bool,
    /// Write the changed object into its apply annotation.
    #[arg(long)]
    save_config: bool,
}

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";

/// Edits objects, one after the other.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let choice = Choice { fetch: true, ..Choice::of(&arguments.words, &arguments.files) };
    let mut changed = false;
    for target in choice.exactly(connection, &resources).await? {
        changed |= one(connection, &arguments, &target).await?;
    }
    if !changed {
        println!("Edit cancelled, no changes made.");
    }
    Ok(())
}

/// Edits one object until it is accepted or given up; `false` when nothing was changed.
async fn one(connection: &Connection, arguments: &Arguments, target: &Target) -> Outcome<bool> {
    let (report, sender) = (arguments.change.report()?, arguments.change.sender(connection, "kubectl-edit")?);
    let mut shown = target.object.clone();
    hide_managed_fields(&mut shown);
    let (original, mut trouble) = (shown.clone(), String::new());
    loop {
        let Some(mut edited) = in_editor(&shown, false, &trouble)? else {
            if trouble.is_empty() {
                return Ok(false);
            }
            return Err(Failure::new("Edit cancelled, no valid changes were saved."));
        };
        if edited == original {
            return Ok(false);
        }
        if arguments.save_config {
            super::change::remember(&mut edited);
        }
        let (media, patch) = difference(&target.resource, &original, &original, &edited);
        if arguments.output_patch {
            println!("Patch: {patch}");
        }
        if !report.sends() {
            report.tell(&target.resource, &edited, "edited")?;
            return Ok(true);
        }
        match sender.patch(target, &arguments.subresource, media, &patch).await {
            Ok(object) => {
                report.tell(&target.resource, &object, "edited")?;
                return Ok(true);
            }
            Err(failure @ Failure::Server(_)) => {
                trouble = format!("{} was not valid:\n{failure}", target.label());
                eprintln!("{failure}");
                shown = edited;
            }
            Err(other) => return Err(other),
        }
    }
}

/// Shows an object in the editor; `None` when it was left as it is or emptied.
///
/// # Errors
/// When the editor cannot be started or fails, or the result is no YAML twice in a row.
pub fn in_editor(object: &Value, as_json: bool, trouble: &str) -> Outcome<Option<Value>> {
    let body = if as_json { json_text(object) } else { api::codec::yaml::emit(object) };
    let notes: String = trouble.lines().map(|line| format!("# {line}\n")).collect();
    let mut text = format!("{HEADER}{notes}{}{body}", if notes.is_empty() { "" } else { "#\n" });
    loop {
        let edited = edited(&text)?;
        let content: String =
            edited.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        if content.trim().is_empty() || content == body {
            return Ok(None);
        }
        match api::codec::yaml::decode_all(&content) {
            Ok(mut documents) if documents.len() == 1 => return Ok(documents.pop()),
            Ok(_) => return Err(Failure::new("the edited file does not hold exactly one object")),
            Err(_) if edited == text => {
                return Err(Failure::new("Edit cancelled, no valid changes were saved."));
            }
            Err(error) => {
                eprintln!("error: {error}");
                text = format!("{HEADER}# The edited file had a syntax error: {error}\n#\n{content}");
            }
        }
    }
}

/// The text as the user's editor leaves it.
fn edited(text: &str) -> Outcome<String> {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("gantry-edit-{}.yaml", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create(true).truncate(true).open(&path)?.write_all(text.as_bytes())?;
    let editor =
        ["KUBE_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // An editor may come with flags: the shell takes them apart.
    let status = Command::new("/bin/sh").arg("-c").arg(format!("{editor} \"$0\"")).arg(&path).status();
    let result = std::fs::read_to_string(&path);
    drop(std::fs::remove_file(&path));
    match status {
        Ok(status) if status.success() => Ok(result?),
        Ok(_) => Err(Failure::new(format!("there was a problem with the editor {editor:?}"))),
        Err(error) => Err(Failure::new(format!("unable to launch the editor {editor:?}: {error}"))),
    }
}
