//! `gantry audit who-deleted`: answers from the audit log, and from history where the log does not reach.

use std::path::PathBuf;

use anyhow::Context as _;
use apiserver::audit::log::backups;
use serde_json::Value;

use super::connection::Connection;
use super::history::{DEPTH, history_path};
use super::resources::Resources;
use super::{Failure, Outcome, Scope, aligned};
use crate::config::{DEFAULT_DATA_DIR, audit_log};

/// What to ask.
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:
  gantry audit who-deleted deployment/guestbook
  gantry audit who-deleted secret/tls -n shop --limit 3
  gantry audit who-deleted ns/test --log /var/log/kubernetes/audit.log
  grep '\"verb\":\"create\"' /var/lib/gantry/audit/audit.log | jq .user.username")]
pub enum Command {
    /// Who deleted an object, when and from where. Read on the machine of the API server; elsewhere history answers.
    WhoDeleted(WhoDeleted),
}

/// Flags of `audit who-deleted`.
#[derive(clap::Args)]
pub struct WhoDeleted {
    /// KIND/NAME or KIND NAME; the object is gone, or goes.
    #[arg(required = true)]
    words: Vec<String>,
    /// The cluster's data directory, in which the log is.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// The log, where `gantry up` was told of another one.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The newest answers only.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    scope: Scope,
}

/// What was deleted.
struct Wanted {
    group: String,
    plural: String,
    namespace: String,
    name: String,
}

/// Asks.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    let Command::WhoDeleted(arguments) = command;
    let resources = Resources::discover(connection).await?;
    let (resource, name) = resources.one(&arguments.words)?;
    let namespace = connection.namespace(&arguments.scope);
    let wanted = Wanted {
        group: resource.group.clone(),
        plural: resource.plural.clone(),
        namespace: if resource.namespaced { namespace.clone() } else { String::new() },
        name: name.clone(),
    };
    let log = arguments.log.clone().unwrap_or_else(|| audit_log(&arguments.data_dir));
    let mut found = in_log(&log, &wanted, arguments.limit)?;
    let mut from = format!("{}", log.display());
    if found.is_empty() {
        let path = history_path(&resource.object(&namespace, &name), DEPTH);
        found = match connection.find(&path).await? {
            Some(history) => in_history(&history),
            None => Vec::new(),
        };
        from = "history: the audit log has nothing of it, or is not on this machine".to_owned();
    }
    if found.is_empty() {
        return Err(Failure::new(format!("nobody is known to have deleted {}/{name}", wanted.plural)));
    }
    let mut lines = vec![["TIME", "USER", "VERB", "CODE", "SOURCE", "AGENT"].map(str::to_owned).to_vec()];
    lines.extend(found.into_iter().take(arguments.limit).map(|row| row.to_vec()));
    print!("{}", aligned(&lines));
    eprintln!("From {from}.");
    Ok(())
}

/// Deletions in a log and its rotated files, newest first.
fn in_log(log: &std::path::Path, wanted: &Wanted, limit: usize) -> anyhow::Result<Vec<[String; 6]>> {
    let mut found = Vec::new();
    for path in std::iter::once(log.to_owned()).chain(backups(log)) {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().rev().filter(|line| line.contains("\"verb\":\"delete"));
        found.extend(
            lines.filter_map(|line| serde_json::from_str(line).ok()).filter_map(|event| told(&event, wanted)),
        );
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// An event as a row, if it deleted what is wanted or the collection that it was in.
fn told(event: &Value, wanted: &Wanted) -> Option<[String; 6]> {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let whole = event["verb"] == "deletecollection";
    let of_kind = text(&object["apiGroup"]) == wanted.group
        && text(&object["resource"]) == wanted.plural
        && text(&object["subresource"]).is_empty();
    // Deleting a namespace deletes what is in it, and stands in the log under its own name.
    let meant =
        text(&object["namespace"]) == wanted.namespace && (whole || text(&object["name"]) == wanted.name);
    let stage = ["ResponseComplete", "Panic"].contains(&text(&event["stage"]).as_str());
    if !(of_kind && meant && stage) {
        return None;
    }
    let user = match &event["impersonatedUser"]["username"] {
        Value::String(acting) => format!("{} as {acting}", text(&event["user"]["username"])),
        _ => text(&event["user"]["username"]),
    };
    let sources = event["sourceIPs"].as_array().map(|ips| ips.iter().map(text).collect::<Vec<_>>().join(","));
    Some([
        text(&event["requestReceivedTimestamp"]),
        user,
        text(&event["verb"]),
        event["responseStatus"]["code"].to_string(),
        sources.unwrap_or_else(|| "<in process>".to_owned()),
        text(&event["userAgent"]),
    ])
}

/// The ends of an object in its history, newest first: who asked for its deletion, and who made it go.
fn in_history(history: &Value) -> Vec<[String; 6]> {
    let text = |value: &Value| value.as_str().unwrap_or("<unknown>").to_owned();
    let items = history["items"].as_array().into_iter().flatten().rev();
    let ends = items.filter(|item| {
        let mut changes = item["changes"].as_array().into_iter().flatten();
        item["change"] == "removed" || changes.any(|change| change["path"] == "metadata.deletionTimestamp")
    });
    let row = |item: &Value| {
        [
            text(&item["time"]),
            text(&item["user"]),
            text(&item["verb"]),
            String::new(),
            String::new(),
            text(&item["manager"]),
        ]
    };
    ends.map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(verb: &str, name: &str, code: u16) -> String {
        json!({"kind": "Event", "stage": "ResponseComplete", "verb": verb, "user": {"username": "ann"},
               "objectRef": {"resource": "secrets", "namespace": "a", "name": name, "apiVersion": "v1"},
               "responseStatus": {"code": code}, "sourceIPs": ["192.0.2.1"], "userAgent": "kubectl",
               "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z"})
        .to_string()
    }

    #[test]
    fn deletions_are_found_in_the_log_and_in_older_ones() {
        let place = tempfile::tempdir().expect("a directory");
        let log = place.path().join("audit.log");
        let lines = [event("delete", "one", 200), event("delete", "two", 200), event("update", "one", 200)]
            .join("\n");
        std::fs::write(&log, lines).expect("written");
        let older = place.path().join("audit-2025-12-31T00-00-00.000.log");
        std::fs::write(older, event("deletecollection", "", 200)).expect("written");
        let wanted = Wanted {
            group: String::new(),
            plural: "secrets".to_owned(),
            namespace: "a".to_owned(),
            name: "one".to_owned(),
        };
        let found = in_log(&log, &wanted, 10).expect("read");
        let verbs: Vec<&str> = found.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(verbs, ["delete", "deletecollection"]);
        assert_eq!(found[0].join(" "), "2026-01-01T00:00:00.000000Z ann delete 200 192.0.2.1 kubectl");
        assert!(in_log(&place.path().join("none.log"), &wanted, 10).expect("no log").is_empty());
    }

    #[test]
    fn history_tells_who_asked_and_who_let_go() {
        let history = json!({"items": [
            {"change": "created", "user": "ann"},
            {"change": "changed", "user": "bob", "verb": "delete", "time": "t", "manager": "kubectl",
             "changes": [{"path": "metadata.deletionTimestamp"}]},
            {"change": "removed", "user": "gc", "verb": "update", "time": "u", "manager": "m"}]});
        let users: Vec<String> = in_history(&history).into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(users, ["gc", "bob"]);
    }
}
