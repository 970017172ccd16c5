//! `gantry undo`: an object as it was at an earlier revision, written as a new one.
//!
//! Entry point: [`run`]. [`target`] and [`restored`] are pure. What others own stays as it is now:
//! status, owners, finalizers and what controllers keep in annotations.

mod contents;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::history::{self, CONTROLLED, DEPTH};
use super::resources::{Resource, Resources};
use super::{Failure, Outcome, Scope, undelete};

/// Who undoes, in history and in managed fields.
const MANAGER: &str = "gantry-undo";

/// Flags of `undo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME.
    #[arg(required = true)]
    words: Vec<String>,
    /// The revision to go back to [default: the one before the last change of more than status].
    #[arg(long, value_name = "REVISION")]
    to_revision: Option<u64>,
    /// The time to go back to (RFC 3339), or an age such as `10m`.
    #[arg(long, value_name = "TIME", conflicts_with = "to_revision")]
    to_time: Option<String>,
    /// Of a namespace: what it holds, as it was then. What was created since stays.
    #[arg(long)]
    contents: bool,
    /// Say what would be done: `client` decides here, `server` also has the server check it.
    #[arg(long, value_name = "none|client|server", default_value = "none", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
    #[command(flatten)]
    scope: Scope,
}

/// How much is done for real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    /// Everything.
    None,
    /// Nothing is sent.
    Client,
    /// Everything is sent, nothing is kept.
    Server,
}

impl DryRun {
    /// What output says after an act.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }

    /// Query of a write.
    pub fn query(self, manager: &str) -> String {
        let dry = if self == Self::Server { "All" } else { "" };
        query(&[("fieldManager", manager), ("dryRun", dry)])
    }
}

/// Takes back changes.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let (resource, name) = resources.one(&arguments.words)?;
    let time = arguments.to_time.as_deref().map(history::moment).transpose()?;
    if arguments.contents {
        let moment = time.or_else(|| arguments.to_revision.map(|revision| revision.to_string()));
        let Some(moment) = moment else {
            return Err(Failure::from(anyhow!("--contents needs --to-time or --to-revision")));
        };
        if (resource.group.as_str(), resource.plural.as_str()) != ("", "namespaces") {
            return Err(Failure::from(anyhow!(
                "--contents is for namespaces, not {}",
                resource.plural_name()
            )));
        }
        return contents::run(connection, &resources, &name, &moment, arguments.dry_run).await;
    }
    let namespace = connection.namespace(&arguments.scope);
    let path = resource.object(&namespace, &name);
    let shown = format!("{}/{name}", resource.singular_name());
    let current = connection.find(&path).await?;
    let moment = match time {
        Some(time) => time,
        None => {
            let document = connection.get(&history::history_path(&path, DEPTH)).await?;
            let items = document["items"].as_array().map_or(&[][..], Vec::as_slice);
            let uid = current.as_ref().map(api::object::uid);
            let revision = target(items, uid, arguments.to_revision);
            revision.map_err(|error| anyhow!("{shown}: {error}"))?.to_string()
        }
    };
    let past = connection.get(&format!("{path}{}", query(&[("gantry.dev/at", &moment)]))).await?;
    if let Some(current) = &current
        && api::object::uid(&past) != api::object::uid(current)
    {
        return Err(Failure::from(anyhow!(
            "{shown}: {} shows another object of the same name, which was deleted since; delete the present one first if the earlier is wanted",
            spoken(&moment)
        )));
    }
    let at = (namespace.as_str(), name.as_str());
    if !put_back(connection, resource, at, current, (&past, &moment), arguments.dry_run).await? {
        println!("{shown} is as it was at {}", spoken(&moment));
    }
    Ok(())
}

/// `revision 7`, or the time.
fn spoken(moment: &str) -> String {
    let is_revision = moment.bytes().all(|byte| byte.is_ascii_digit());
    if is_revision { format!("revision {moment}") } else { moment.to_owned() }
}

/// Writes an object (`current`, if there is one) as it was in the `past`, and says what that changed. Whether
/// anything did.
async fn put_back(
    connection: &Connection,
    resource: &Resource,
    (namespace, name): (&str, &str),
    current: Option<Value>,
    (past, moment): (&Value, &str),
    dry_run: DryRun,
) -> Outcome<bool> {
    let shown = format!("{}/{name}", resource.singular_name());
    let then = format!("as it was at {}{}", spoken(moment), dry_run.suffix());
    let Some(current) = current else {
        if dry_run != DryRun::Client {
            let collection = resource.collection(Some(namespace));
            let anew = undelete::recreated(past);
            connection.post(&format!("{collection}{}", dry_run.query(MANAGER)), &anew).await?;
        }
        println!("{shown} created {then}");
        return Ok(true);
    };
    let new = restored(&current, past);
    let changes = api::changes::between(&current, &new, secret_fields(resource));
    if changes.is_empty() {
        return Ok(false);
    }
    if dry_run != DryRun::Client {
        let path = resource.object(namespace, name);
        connection.put(&format!("{path}{}", dry_run.query(MANAGER)), &new).await?;
    }
    println!("{shown} is again {then}");
    for change in changes {
        println!("  {}", history::change(&change.to_json()));
    }
    Ok(true)
}

/// Fields of a resource's objects whose values are not printed.
fn secret_fields(resource: &Resource) -> &'static [&'static str] {
    let table = api::kinds::builtin();
    table
        .resource(&resource.group, &resource.version, &resource.plural)
        .map_or(&[][..], |kind| kind.strategy.secret_fields())
}

/// The revision to go back to, given the history and the uid of what is there now.
fn target(items: &[Value], uid: Option<&str>, asked: Option<u64>) -> anyhow::Result<u64> {
    let revision = |item: &Value| item["revision"].as_str().and_then(|text| text.parse::<u64>().ok());
    if let Some(asked) = asked {
        let stood = items.iter().rev().find(|item| revision(item).is_some_and(|at| at <= asked));
        return match stood {
            Some(item) if item["change"] != "removed" => Ok(asked),
            Some(_) => bail!("it did not exist at revision {asked}"),
            None => bail!("history does not reach back to revision {asked}"),
        };
    }
    let Some(uid) = uid else {
        // It is gone: the newest state there was.
        let last = items.iter().rev().find(|item| item["change"] != "removed").and_then(revision);
        return last.ok_or_else(|| anyhow!("history no longer has it"));
    };
    let own: Vec<&Value> = items.iter().filter(|item| item["uid"] == uid).collect();
    for (at, item) in own.iter().enumerate().rev() {
        if item["change"] == "changed" && is_wish(item) {
            return at
                .checked_sub(1)
                .and_then(|before| own.get(before))
                .and_then(|before| revision(before))
                .ok_or_else(|| anyhow!("history no longer has what was there before"));
        }
    }
    bail!("nothing was changed since it was created, as far as history reaches")
}

/// Whether a change was to more than status and what controllers keep.
fn is_wish(item: &Value) -> bool {
    let paths = item["changes"].as_array().into_iter().flatten().filter_map(|change| change["path"].as_str());
    let wished = |path: &str| {
        !path.starts_with("metadata")
            || path.starts_with("metadata.labels")
            || path.starts_with("metadata.annotations")
    };
    paths.into_iter().any(|path| wished(path) && !history::is_report(path))
}

/// The present object with the wishes of a past one.
fn restored(current: &Value, past: &Value) -> Value {
    let mut new = past.clone();
    let mut metadata = current["metadata"].clone();
    metadata["labels"] = past["metadata"]["labels"].clone();
    let controlled = |key: &String| CONTROLLED.iter().any(|prefix| key.starts_with(prefix));
    let of = |object: &Value, wanted: bool| -> serde_json::Map<String, Value> {
        let all = object["metadata"]["annotations"].as_object().into_iter().flatten();
        all.filter(|(key, _)| controlled(key) == wanted).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut annotations = of(past, false);
    annotations.extend(of(current, true));
    metadata["annotations"] = Value::Object(annotations);
    for field in ["labels", "annotations"] {
        let empty = metadata[field].is_null() || metadata[field] == json!({});
        if let Some(map) = metadata.as_object_mut().filter(|_| empty) {
            map.remove(field);
        }
    }
    new["metadata"] = metadata;
    match current.get("status") {
        Some(status) => new["status"] = status.clone(),
        None => {
            api::object::remove(&mut new, "status");
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(revision: u64, uid: &str, change: &str, paths: &[&str]) -> Value {
        let changes: Vec<Value> = paths.iter().map(|path| json!({ "path": path })).collect();
        json!({"revision": revision.to_string(), "uid": uid, "change": change, "changes": changes})
    }

    #[test]
    fn the_last_wish_is_taken_back() {
        let items = [
            item(3, "a", "created", &[]),
            item(5, "a", "changed", &["spec.replicas"]),
            item(
                6,
                "a",
                "changed",
                &["status.replicas", "metadata.annotations[deployment.kubernetes.io/revision]"],
            ),
        ];
        assert_eq!(target(&items, Some("a"), None).ok(), Some(3));
        assert_eq!(target(&items, Some("a"), Some(5)).ok(), Some(5));
        assert_eq!(target(&items[..1], Some("a"), None).ok(), None);
        assert_eq!(target(&items, Some("a"), Some(2)).ok(), None);
        let gone = [items[0].clone(), items[1].clone(), item(9, "a", "removed", &[])];
        assert_eq!(target(&gone, None, None).ok(), Some(5));
        assert_eq!(target(&gone, None, Some(9)).ok(), None);
        let labelled = [items[0].clone(), item(7, "a", "changed", &["metadata.annotations[a.b/c]"])];
        assert_eq!(target(&labelled, Some("a"), None).ok(), Some(3));
    }

    #[test]
    fn what_others_own_stays() {
        let current = json!({"metadata": {"uid": "u", "resourceVersion": "9", "labels": {"new": "1"},
            "finalizers": ["f"], "annotations": {"deployment.kubernetes.io/revision": "4", "mine": "b"}},
            "spec": {"replicas": 5}, "status": {"replicas": 5}});
        let past = json!({"metadata": {"uid": "u", "resourceVersion": "3",
            "annotations": {"deployment.kubernetes.io/revision": "2", "mine": "a"}},
            "spec": {"replicas": 1}, "data": 1, "status": {"replicas": 1}});
        let expected = json!({"metadata": {"uid": "u", "resourceVersion": "9", "finalizers": ["f"],
            "annotations": {"deployment.kubernetes.io/revision": "4", "mine": "a"}},
            "spec": {"replicas": 1}, "data": 1, "status": {"replicas": 5}});
        assert_eq!(restored(&current, &past), expected);
    }
}
