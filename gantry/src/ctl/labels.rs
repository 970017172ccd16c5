//! `gantry label` and `gantry annotate`: set, change and remove a key's value in metadata.

use serde_json::{Map, Value, json};

use super::change::{ChangeFlags, MERGE};
use super::connection::Connection;
use super::manifest::Files;
use super::output::{DryRun, Report};
use super::resources::Resources;
use super::selection::{Choice, Many, Target};
use super::{Failure, Outcome};

/// Flags of both.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME… KEY=VALUE… KEY-…
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Change values that are already there.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    overwrite: Option<bool>,
    /// Show what is there.
    #[arg(long)]
    list: bool,
    /// Do not send anything.
    #[arg(long)]
    local: bool,
    /// Only if the object is at this revision.
    #[arg(long, value_name = "REVISION", default_value = "")]
    resource_version: String,
    #[command(flatten)]
    many: Many,
}

/// Which part of metadata.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    /// `metadata.labels`.
    Labels,
    /// `metadata.annotations`.
    Annotations,
}

impl Part {
    fn field(self) -> &'static str {
        if self == Self::Labels { "labels" } else { "annotations" }
    }

    fn one(self) -> &'static str {
        if self == Self::Labels { "label" } else { "annotation" }
    }

    fn manager(self) -> &'static str {
        if self == Self::Labels { "kubectl-label" } else { "kubectl-annotate" }
    }
}

/// What to set (a value) and what to remove (none).
type Changes = Vec<(String, Option<String>)>;

/// Splits arguments into objects and changes: a change has a `=` or ends with `-`.
fn split(words: &[String], part: Part) -> Outcome<(Vec<String>, Changes)> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_change).unwrap_or(words.len());
    let (objects, rest) = words.split_at(first);
    let mut changes: Changes = Vec::new();
    for word in rest {
        let change = match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.to_owned(), Some(value.to_owned())),
            None if word.len() > 1 && word.ends_with('-') => (word.trim_end_matches('-').to_owned(), None),
            _ if part == Part::Labels => return Err(Failure::new(format!("unknown label spec: {word}"))),
            _ => return Err(Failure::new(format!("unexpected {} format: {word}", part.one()))),
        };
        if changes.iter().any(|(key, value)| *key == change.0 && value.is_some() != change.1.is_some()) {
            return Err(Failure::new(format!(
                "can not both modify and remove {} in the same command",
                if part == Part::Labels { "a label" } else { "an annotation" }
            )));
        }
        changes.push(change);
    }
    Ok((objects.to_vec(), changes))
}

/// Sets and removes.
pub async fn run(connection: &Connection, arguments: Arguments, part: Part) -> Outcome {
    let (words, changes) = split(&arguments.words, part)?;
    if changes.is_empty() && !arguments.list {
        return Err(Failure::new(match part {
            Part::Labels => "at least one label update is required",
            Part::Annotations => "at least one annotation update is required",
        }));
    }
    let resources = Resources::discover(connection).await?;
    let choice = Choice { fetch: !arguments.local, ..arguments.many.choice(&words, &arguments.files) };
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    let work = Work { connection, report: arguments.change.report()?, arguments: &arguments, changes, part };
    for target in &targets {
        if let Err(failure) = work.one(target, targets.len() > 1).await {
            failures.push(failure);
        }
    }
    Failure::all(failures)
}

struct Work<'a> {
    connection: &'a Connection,
    report: Report,
    arguments: &'a Arguments,
    changes: Changes,
    part: Part,
}

impl Work<'_> {
    async fn one(&self, target: &Target, several: bool) -> Outcome {
        let (field, resource) = (self.part.field(), &target.resource);
        let present = target.object["metadata"][field].as_object().cloned().unwrap_or_default();
        if self.arguments.list {
            if several {
                println!("Listing {field} for {}.{}/{}:", resource.kind, resource.group, target.name);
            }
            present.iter().for_each(|(key, value)| println!("{key}={}", value.as_str().unwrap_or_default()));
            return Ok(());
        }
        self.refuse_overwriting(&present)?;
        let (said, patch) = (self.said(&present), self.patch());
        let mut after = target.object.clone();
        match self.arguments.local || self.report.dry_run() == DryRun::Client {
            true => {
                after =
                    api::patch::merge::apply(&after, &patch).map_err(|e| Failure::new(format!("{e:?}")))?
            }
            false if said.starts_with("not ") => {}
            false => {
                let sender = self.arguments.change.sender(self.connection, self.part.manager())?;
                after = sender.patch(target, "", MERGE, &patch).await?;
            }
        }
        self.report.tell(resource, &after, said)
    }

    fn refuse_overwriting(&self, present: &Map<String, Value>) -> Outcome {
        if self.arguments.overwrite.unwrap_or(false) {
            return Ok(());
        }
        let conflicts = self.changes.iter().filter_map(|(key, value)| {
            let (have, want) = (present.get(key)?.as_str()?, value.as_deref()?);
            (have != want).then_some((key, have))
        });
        let texts: Vec<String> = conflicts
            .map(|(key, have)| match self.part {
                Part::Labels => format!("'{key}' already has a value ({have}), and --overwrite is false"),
                Part::Annotations => format!("--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({have})"),
            })
            .collect();
        if texts.is_empty() { Ok(()) } else { Err(Failure::new(texts.join("\nerror: "))) }
    }

    fn said(&self, present: &Map<String, Value>) -> &'static str {
        if self.part == Part::Annotations {
            return "annotated";
        }
        for (key, _) in
            self.changes.iter().filter(|(key, value)| value.is_none() && !present.contains_key(key))
        {
            println!("label {key:?} not found.");
        }
        let sets = self.changes.iter().any(|(key, value)| {
            value.as_deref().is_some_and(|value| present.get(key).and_then(Value::as_str) != Some(value))
        });
        let removes = self.changes.iter().any(|(key, value)| value.is_none() && present.contains_key(key));
        match (sets, removes) {
            (true, _) => "labeled",
            (false, true) => "unlabeled",
            (false, false) => "not labeled",
        }
    }

    fn patch(&self) -> Value {
        let values: Map<String, Value> =
            self.changes.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut metadata = json!({self.part.field(): values});
        if !self.arguments.resource_version.is_empty() {
            metadata["resourceVersion"] = json!(self.arguments.resource_version);
        }
        json!({"metadata": metadata})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn objects_and_changes_are_told_apart() {
        let (objects, changes) = split(&words("pod a b=c d- e="), Part::Labels).expect("changes");
        assert_eq!(objects, ["pod", "a"]);
        let expect = [("b", Some("c")), ("d", None), ("e", Some(""))]
            .map(|(k, v)| (k.to_owned(), v.map(str::to_owned)));
        assert_eq!(changes, expect);
        assert!(split(&words("pod a b=c b-"), Part::Labels).is_err());
        assert!(split(&words("pod a b=c d"), Part::Labels).is_err());
    }
}
