//! `gantry rollout history` and `undo`: a Deployment's ReplicaSets, the ControllerRevisions of the others.

use serde_json::{Value, json};

use super::HistoryArguments;
use crate::ctl::change::{ChangeFlags, JSON_PATCH, STRATEGIC};
use crate::ctl::connection::{Connection, query};
use crate::ctl::describe::pod_template;
use crate::ctl::output::Format;
use crate::ctl::selection::Target;
use crate::ctl::tabs::DESCRIPTION;
use crate::ctl::{Failure, Outcome};

/// Where a Deployment and its ReplicaSets keep their revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Why a revision was made, if its maker said so.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// A Deployment's or ReplicaSet's revision.
pub fn revision_of(object: &Value) -> i64 {
    object["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse().ok()).unwrap_or_default()
}

/// One revision: its number, the object that keeps it, and its pod template.
struct Revision {
    number: i64,
    keeper: Value,
    template: Value,
}

impl Revision {
    fn of(target: &Target, keeper: Value) -> Self {
        if target.resource.kind == "Deployment" {
            return Self {
                number: revision_of(&keeper),
                template: keeper["spec"]["template"].clone(),
                keeper,
            };
        }
        let template = keeper["data"]["spec"]["template"].clone();
        Self { number: keeper["revision"].as_i64().unwrap_or_default(), template, keeper }
    }
}

/// The revisions of a workload, oldest first.
async fn revisions(connection: &Connection, target: &Target) -> Outcome<Vec<Revision>> {
    let plural = match target.resource.kind.as_str() {
        "Deployment" => "replicasets",
        "DaemonSet" | "StatefulSet" => "controllerrevisions",
        _ => {
            return Err(Failure::new(format!(
                "no history viewer has been implemented for {:?}",
                format!("{}.{}", target.resource.kind, target.resource.group)
            )));
        }
    };
    let labels = target.object["spec"]["selector"]["matchLabels"].as_object();
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    let suffix = query(&[("labelSelector", &pairs.join(","))]);
    let path = format!("/apis/apps/v1/namespaces/{}/{plural}{suffix}", target.namespace);
    let mut list = connection.get(&path).await?;
    let items = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let owned = |keeper: &Value| {
        let owners = keeper["metadata"]["ownerReferences"].as_array();
        owners.into_iter().flatten().any(|o| o["uid"] == target.object["metadata"]["uid"])
    };
    let mut found: Vec<Revision> =
        items.into_iter().filter(owned).map(|keeper| Revision::of(target, keeper)).collect();
    found.sort_by_key(|revision| revision.number);
    Ok(found)
}

/// Lists the revisions, or shows one.
pub async fn show(connection: &Connection, target: &Target, arguments: &HistoryArguments) -> Outcome {
    let found = revisions(connection, target).await?;
    let wanted = (arguments.revision > 0).then_some(arguments.revision);
    let one = |number: i64| {
        found
            .iter()
            .find(|r| r.number == number)
            .ok_or_else(|| Failure::new("unable to find the specified revision"))
    };
    let format = Format::parse(&arguments.output, false)?;
    if !format.is_human() {
        return match wanted {
            Some(number) => format.print(&one(number)?.keeper),
            None => found.iter().try_for_each(|revision| format.print(&revision.keeper)),
        };
    }
    let name = target.label();
    if let Some(number) = wanted {
        let template = pod_template(&one(number)?.template);
        println!("{name} with revision #{number}\n{template}");
        return Ok(());
    }
    println!("{name} ");
    if found.is_empty() {
        println!("No rollout history found.");
        return Ok(());
    }
    let mut lines = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
    for revision in &found {
        let cause = revision.keeper["metadata"]["annotations"][CHANGE_CAUSE].as_str().unwrap_or("<none>");
        lines.push(vec![revision.number.to_string(), cause.to_owned()]);
    }
    println!("{}", DESCRIPTION.table(&lines));
    Ok(())
}

/// Goes back to an earlier revision; 0 is the previous one.
pub async fn undo(connection: &Connection, target: &Target, change: &ChangeFlags, to: i64) -> Outcome {
    let (report, sender) = (change.report()?, change.sender(connection, "kubectl-rollout")?);
    if target.object["spec"]["paused"] == true {
        return Err(Failure::new(format!(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume deployment/{}' and try again",
            target.name
        )));
    }
    let found = revisions(connection, target).await?;
    if to == 0 && found.len() < 2 {
        let what = if target.resource.kind == "Deployment" {
            format!("no rollout history found for deployment {:?}", target.name)
        } else {
            "no last revision to roll back to".to_owned()
        };
        return Err(Failure::new(what));
    }
    let wanted = match to {
        0 => found.iter().rev().nth(1),
        to => found.iter().find(|revision| revision.number == to),
    };
    let wanted =
        wanted.ok_or_else(|| Failure::new(format!("unable to find specified revision {to} in history")))?;
    let mut template = wanted.template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if !report.sends() {
        println!("{} rolled back (dry run)", target.label());
        return Ok(());
    }
    let same =
        |a: &Value, b: &Value| api::patch::merge::apply(a, &json!({"$patch": null})).ok() == Some(b.clone());
    if same(&template, &target.object["spec"]["template"]) {
        println!(
            "{} skipped rollback (current template already matches revision {})",
            target.label(),
            wanted.number
        );
        return Ok(());
    }
    // No precondition: status changes all the time while a roll-out is under way.
    let after = if target.resource.kind == "Deployment" {
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        sender.patch(target, "", JSON_PATCH, &patch).await?
    } else {
        sender.patch(target, "", STRATEGIC, &wanted.keeper["data"]).await?
    };
    report.tell(&target.resource, &after, "rolled back")
}
