//! `gantry history`: who changed an object, when, and what; and how the past is asked for.
//!
//! What controllers report (status, their annotations) is left out unless asked for.
//!
//! Entry points: [`run`]; [`moment`] for `get --at`; [`history_path`], [`change`] and [`is_report`] for `undo`.

use anyhow::{Context as _, anyhow, bail};
use component_base::clock::{RealClock, rfc3339_seconds};
use jiff::SignedDuration;
use serde_json::Value;

use super::connection::{Connection, query};
use super::resources::Resources;
use super::{Outcome, Scope, aligned};

/// Characters of a value in a line; `-o yaml` has it whole.
const SHOWN: usize = 60;

/// Versions looked at for changes worth telling.
pub const DEPTH: &str = "1000";
/// Annotations that controllers write; what they say is about now.
pub const CONTROLLED: [&str; 2] = ["deployment.kubernetes.io/", "gantry.dev/"];

/// Flags of `history`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME; the object may be gone.
    #[arg(required = true)]
    words: Vec<String>,
    /// The newest changes only.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Also changes of nothing but status and what controllers note in annotations.
    #[arg(long)]
    all: bool,
    /// `yaml` or `json`.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
    #[command(flatten)]
    scope: Scope,
}

/// Shows what became of an object.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let (resource, name) = resources.one(&arguments.words)?;
    let path = resource.object(&connection.namespace(&arguments.scope), &name);
    let mut document = connection.get(&history_path(&path, DEPTH)).await?;
    let hidden = choose(&mut document, arguments.limit, arguments.all);
    match arguments.output.as_str() {
        "" => {
            print!("{}", render(&document));
            if hidden > 0 {
                eprintln!("Changes of status only that are not shown: {hidden}; --all shows them.");
            }
        }
        "yaml" => print!("{}", api::codec::yaml::emit(&document)),
        "json" => println!("{}", serde_json::to_string_pretty(&document).context("cannot write JSON")?),
        other => Err(anyhow!(
            "unable to match a printer suitable for the output format {other:?}, allowed formats are: json,yaml"
        ))?,
    }
    Ok(())
}

/// Keeps the newest `limit` items, without those that only report unless `all`; returns how many of these
/// were left out.
fn choose(document: &mut Value, limit: usize, all: bool) -> usize {
    let Some(items) = document["items"].as_array_mut() else { return 0 };
    let whole = items.len();
    items.retain(|item| all || !only_reports(item));
    let hidden = whole - items.len();
    items.drain(..items.len().saturating_sub(limit));
    hidden
}

/// Whether a change is of nothing but what controllers write about the object.
fn only_reports(item: &Value) -> bool {
    let paths = item["changes"].as_array().into_iter().flatten().filter_map(|change| change["path"].as_str());
    item["change"] == "changed" && paths.into_iter().all(is_report)
}

/// Whether a field says how things are, not what somebody wants.
pub fn is_report(path: &str) -> bool {
    let annotation =
        path.strip_prefix("metadata.annotations").map(|rest| rest.trim_start_matches(['.', '[']));
    path.split(['.', '[']).next() == Some("status")
        || annotation.is_some_and(|key| CONTROLLED.iter().any(|prefix| key.starts_with(prefix)))
}

/// Where the history of an object is.
pub fn history_path(object: &str, limit: &str) -> String {
    format!("{object}{}", query(&[("gantry.dev/history", "true"), ("limit", limit)]))
}

/// A revision or a time as the server takes it: also an age such as `10m`, `2h` or `3d`.
///
/// # Errors
/// When it is none of them.
pub fn moment(text: &str) -> anyhow::Result<String> {
    if text.parse::<u64>().is_ok() || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let seconds = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((text.get(..at)?.parse::<i64>().ok()?, unit)))
        .and_then(|(number, unit)| {
            let unit = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            number.checked_mul(unit)
        });
    match seconds
        .map(SignedDuration::from_secs)
        .and_then(|age| RealClock::shared().now().checked_sub(age).ok())
    {
        Some(time) => Ok(rfc3339_seconds(time)),
        None => bail!(
            "{text:?} is neither a revision, nor a time such as 2026-01-31T12:00:00Z, nor an age such as 10m"
        ),
    }
}

/// Items of a history, each a line or more.
fn render(document: &Value) -> String {
    let mut lines =
        vec![["REVISION", "TIME", "USER", "MANAGER", "VERB", "CHANGE"].map(str::to_owned).to_vec()];
    for item in document["items"].as_array().into_iter().flatten() {
        let text = |field: &str| match item[field].as_str() {
            None | Some("") => "<none>".to_owned(),
            Some(text) => text.to_owned(),
        };
        let mut changes: Vec<String> = item["changes"].as_array().into_iter().flatten().map(change).collect();
        if changes.is_empty() {
            changes.push(text("change"));
        }
        for (number, change) in changes.into_iter().enumerate() {
            let mut line: Vec<String> = match number {
                0 => ["revision", "time", "user", "manager", "verb"].map(&text).to_vec(),
                _ => vec![String::new(); 5],
            };
            line.push(change);
            lines.push(line);
        }
    }
    aligned(&lines)
}

/// One changed field in a line.
pub fn change(change: &Value) -> String {
    let path = change["path"].as_str().unwrap_or_default();
    if change["secret"] == true {
        return format!("{path}: changed");
    }
    match (change.get("old"), change.get("new")) {
        (Some(old), Some(new)) => format!("{path}: {} -> {}", short(old), short(new)),
        (None, Some(new)) => format!("{path}: added {}", short(new)),
        (Some(old), None) => format!("{path}: removed {}", short(old)),
        (None, None) => format!("{path}: changed"),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("17").ok().as_deref(), Some("17"));
        assert_eq!(moment("2026-01-01T00:00:00Z").ok().as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(moment("10m").is_ok_and(|text| text.ends_with('Z')));
        for bad in ["", "m", "10x", "yesterday", "99999999999999999d"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reports_are_left_out() {
        let item = |change: &str, paths: &[&str]| {
            let changes: Vec<Value> = paths.iter().map(|path| json!({ "path": path })).collect();
            json!({"change": change, "changes": changes})
        };
        let document = json!({"items": [
            item("created", &[]),
            item("changed", &["status.replicas", "metadata.annotations[deployment.kubernetes.io/revision]"]),
            item("changed", &["spec.replicas", "status.replicas"]),
            item("changed", &["metadata.annotations[a.b/c]"]),
            item("changed", &["metadata.deletionTimestamp"]),
            item("removed", &[]),
        ]});
        let chosen = |limit: usize, all: bool| {
            let mut document = document.clone();
            let hidden = choose(&mut document, limit, all);
            (document["items"].as_array().map_or(0, Vec::len), hidden)
        };
        assert_eq!(chosen(100, false), (5, 1));
        assert_eq!(chosen(100, true), (6, 0));
        assert_eq!(chosen(2, false), (2, 1));
        assert_eq!(chosen(0, false), (0, 1));
    }

    #[test]
    fn histories_are_tables() {
        let document = json!({"items": [
            {"revision": "7", "time": "2026-01-01T00:00:00Z", "user": "ann", "manager": "", "verb": "create", "change": "created"},
            {"revision": "9", "time": "2026-01-01T00:01:00Z", "user": "bob", "manager": "kubectl", "verb": "patch", "change": "changed",
             "changes": [{"path": "data.a", "old": 1, "new": 2}, {"path": "data.b", "secret": true}]},
        ]});
        let expected = "\
REVISION   TIME                   USER   MANAGER   VERB     CHANGE
7          2026-01-01T00:00:00Z   ann    <none>    create   created
9          2026-01-01T00:01:00Z   bob    kubectl   patch    data.a: 1 -> 2
                                                            data.b: changed
";
        assert_eq!(render(&document), expected);
    }
}
