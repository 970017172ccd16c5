//! `gantry wait`: until objects have a condition or a value, exist, or are gone.

use api::jsonpath::Template;
use serde_json::Value;

use super::connection::{Connection, query};
use super::delete::duration;
use super::manifest::Files;
use super::output;
use super::resources::Resources;
use super::selection::{Many, Target};
use super::{Failure, Outcome};

/// Flags of `wait`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…, TYPE with --all or -l
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: output::Flags,
    /// `delete`, `create`, `condition=NAME[=VALUE]`, `jsonpath='{PATH}'[=VALUE]`.
    #[arg(long = "for", value_name = "WHAT", default_value = "")]
    condition: String,
    /// How long to wait for each; 0 looks once, negative waits a week.
    #[arg(long, value_name = "DURATION", default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
    #[command(flatten)]
    many: Many,
}

/// What is waited for.
enum Goal {
    Gone,
    Exists,
    Condition { name: String, value: String },
    Path { template: Template, value: Option<String> },
}

impl Goal {
    fn parse(text: &str) -> Outcome<Self> {
        let (word, rest) = text.split_once('=').unwrap_or((text, ""));
        match (word.to_lowercase().as_str(), rest) {
            ("delete", "") => Ok(Self::Gone),
            ("create", "") => Ok(Self::Exists),
            ("condition", rest) if !rest.is_empty() => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
                Ok(Self::Condition { name: name.to_owned(), value: value.to_owned() })
            }
            ("jsonpath", rest) => Self::path(rest),
            _ => Err(Failure::new(format!("unrecognized condition: {text:?}"))),
        }
    }

    fn path(text: &str) -> Outcome<Self> {
        let text = text.trim();
        let end = text.find('}').map_or(text.len(), |at| at + 1);
        let (path, rest) = match text.starts_with('{') {
            true => text.split_at(end),
            false => text.split_at(text.find('=').unwrap_or(text.len())),
        };
        let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
        let value = match (rest.trim_start_matches('\''), rest.strip_prefix('=')) {
            ("", _) => None,
            (_, Some("")) => return Err(Failure::new("jsonpath wait value cannot be empty")),
            (_, Some(value)) => Some(quoted(value)),
            _ => {
                return Err(Failure::new(format!(
                    "jsonpath wait format must be --for=jsonpath='{{.status.readyReplicas}}'=3 or --for=jsonpath='{{.status.readyReplicas}}', not {text}"
                )));
            }
        };
        let template = Template::parse(&quoted(path)).map_err(Failure::new)?;
        Ok(Self::Path { template, value })
    }

    fn met(&self, object: Option<&Value>) -> Outcome<bool> {
        let Some(object) = object else { return Ok(matches!(self, Self::Gone)) };
        Ok(match self {
            Self::Gone => false,
            Self::Exists => true,
            Self::Condition { name, value } => {
                let conditions = object["status"]["conditions"].as_array();
                let fits = |c: &&Value| c["type"].as_str().is_some_and(|t| t.eq_ignore_ascii_case(name));
                let found = conditions.and_then(|all| all.iter().find(fits));
                let current = |c: &Value| {
                    let seen =
                        c["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
                    seen.is_none_or(|seen| seen >= api::object::generation(object))
                };
                found.is_some_and(|c| {
                    current(c)
                        && c["status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case(value))
                })
            }
            Self::Path { template, value } => match (template.values(object).as_slice(), value) {
                ([], _) => false,
                ([_, _, ..], Some(_)) => {
                    return Err(Failure::new("given jsonpath expression matches more than one value"));
                }
                ([Value::Object(_) | Value::Array(_)], Some(_)) => {
                    return Err(Failure::new(
                        "jsonpath leads to a nested object or list which is not supported",
                    ));
                }
                ([one], Some(value)) => one.as_str().map_or_else(|| one.to_string(), str::to_owned) == *value,
                (_, None) => true,
            },
        })
    }
}

/// Waits for every chosen object.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let goal = Goal::parse(&arguments.condition)?;
    let limit = match arguments.timeout.starts_with('-') {
        true => Some(std::time::Duration::from_secs(7 * 24 * 3600)),
        false => duration(&arguments.timeout, "--timeout")?,
    };
    let resources = Resources::discover(connection).await?;
    let choice = arguments.many.choice(&arguments.words, &arguments.files);
    let report = output::Report::new(&arguments.output, output::DryRun::None)?;
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    let (targets, mut failures) = choice.targets(connection, &resources).await?;
    if targets.is_empty() && failures.is_empty() && !matches!(goal, Goal::Gone) {
        return Err(Failure::new("no matching resources found"));
    }
    for target in targets {
        if let Err(failure) = one(connection, &target, &goal, deadline, &report).await {
            failures.push(failure);
        }
    }
    Failure::all(failures)
}

async fn one(
    connection: &Connection,
    target: &Target,
    goal: &Goal,
    deadline: Option<tokio::time::Instant>,
    report: &output::Report,
) -> Outcome {
    let last = std::cell::RefCell::new(None);
    match goal {
        Goal::Condition { .. } | Goal::Path { .. } => drop(connection.get(&target.path()).await?),
        // What was gone before is not worth a line.
        Goal::Gone if connection.find(&target.path()).await?.is_none() => return Ok(()),
        Goal::Gone | Goal::Exists => {}
    }
    let waiting = until(connection, target, |object| {
        if let Some(object) = object {
            last.replace(Some(object.clone()));
        }
        goal.met(object)
    });
    let late = || {
        Failure::new(format!(
            "timed out waiting for the condition on {}/{}",
            target.resource.plural, target.name
        ))
    };
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, waiting).await.unwrap_or_else(|_| Err(late()))?,
        None => {
            let object = connection.find(&target.path()).await?;
            if !goal.met(object.as_ref())? {
                return Err(late());
            }
            last.replace(object);
        }
    }
    let mut object = last.take().unwrap_or_default();
    api::object::metadata_mut(&mut object).insert("name".to_owned(), target.name.clone().into());
    report.tell(
        &target.resource,
        &object,
        if matches!(goal, Goal::Gone) { "deleted" } else { "condition met" },
    )
}

/// Follows an object until `done` says so; `None` is that it does not exist.
///
/// # Errors
/// When `done` fails, or the server cannot be asked.
pub async fn until(
    connection: &Connection,
    target: &Target,
    mut done: impl FnMut(Option<&Value>) -> Outcome<bool>,
) -> Outcome {
    let by_name = format!("metadata.name={}", target.name);
    loop {
        let path = format!("{}{}", target.collection(), query(&[("fieldSelector", &by_name)]));
        let list = connection.get(&path).await?;
        if done(list["items"].as_array().and_then(|items| items.first()))? {
            return Ok(());
        }
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let pairs = [("watch", "true"), ("fieldSelector", &*by_name), ("resourceVersion", revision)];
        let path = format!("{}{}", target.collection(), query(&pairs));
        let mut over = false;
        let watched = connection.watch(&path, "application/json", |event| {
            let gone = event["type"] == "DELETED";
            over = done((!gone).then_some(&event["object"]))?;
            Ok(!over)
        });
        match watched.await {
            // The history is gone: begin again from a new list.
            Err(failure) if failure.is(410, "Expired") => {}
            other => other?,
        }
        if over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(goal: &str, object: Option<Value>, expect: bool) {
        let met = Goal::parse(goal).expect("a goal").met(object.as_ref()).expect("an answer");
        assert_eq!(met, expect, "{goal}");
    }

    #[test]
    fn goals() {
        let ready =
            |status: &str| Some(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}));
        check("delete", None, true);
        check("create", None, false);
        check("condition=ready", ready("True"), true);
        check("condition=Ready", ready("False"), false);
        check("condition=Ready=false", ready("False"), true);
        let phase = || Some(json!({"status": {"phase": "Running"}}));
        check("jsonpath={.status.phase}=Running", phase(), true);
        check("jsonpath='{.status.phase}'=Pending", phase(), false);
        check("jsonpath={.status.phase}", phase(), true);
        check("jsonpath={.status.none}", phase(), false);
        assert!(Goal::parse("other").is_err());
    }

    #[test]
    fn an_old_condition_does_not_count() {
        let old = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True"}]}});
        check("condition=Ready", Some(old), false);
    }
}
