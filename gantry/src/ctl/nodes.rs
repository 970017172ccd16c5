//! `gantry cordon`, `uncordon` and `taint`: what a node lets in.

use serde_json::{Value, json};

use super::change::{ChangeFlags, each};
use super::connection::Connection;
use super::manifest::Files;
use super::resources::{Resource, Resources};
use super::selection::Choice;
use super::{Failure, Outcome};

/// Flags of `cordon` and `uncordon`.
#[derive(clap::Args)]
pub struct Cordoning {
    /// NODE…
    nodes: Vec<String>,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    #[command(flatten)]
    change: ChangeFlags,
}

/// `node a b`, or `node` for a selector.
pub fn words(nodes: &[String]) -> Vec<String> {
    if nodes.iter().any(|node| node.contains('/')) {
        return nodes.to_vec();
    }
    std::iter::once("node".to_owned()).chain(nodes.iter().cloned()).collect()
}

/// Closes nodes to new pods, or opens them.
pub async fn cordon(connection: &Connection, arguments: Cordoning, closed: bool) -> Outcome {
    if arguments.nodes.is_empty() && arguments.selector.is_empty() {
        let verb = if closed { "cordon" } else { "uncordon" };
        return Err(Failure::Plain(format!(
            "error: USAGE: {verb} NODE [flags]\nSee 'kubectl {verb} -h' for help and examples"
        )));
    }
    let resources = Resources::discover(connection).await?;
    let (files, words) = (Files::default(), words(&arguments.nodes));
    let choice = Choice { selector: &arguments.selector, fetch: true, ..Choice::of(&words, &files) };
    each(&arguments.change, connection, &resources, choice, "kubectl-cordon", |_, node| {
        Ok(set_closed(node, closed))
    })
    .await
}

/// Closes or opens a node; what to say of it.
pub fn set_closed(node: &mut Value, closed: bool) -> String {
    let word = if closed { "cordoned" } else { "uncordoned" };
    if (node["spec"]["unschedulable"] == true) == closed {
        return format!("already {word}");
    }
    if closed {
        node["spec"]["unschedulable"] = json!(true);
    } else if let Some(spec) = node["spec"].as_object_mut() {
        spec.remove("unschedulable");
    }
    word.to_owned()
}

/// Flags of `taint`.
#[derive(clap::Args)]
pub struct Tainting {
    /// node NODE… KEY=VALUE:EFFECT… KEY[:EFFECT]-…
    words: Vec<String>,
    /// Every node.
    #[arg(long)]
    all: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Change taints that are already there.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// A taint to set, or one to remove.
#[derive(Debug, PartialEq)]
struct Change {
    key: String,
    value: Option<String>,
    /// Empty to remove the key whatever the effect.
    effect: String,
    remove: bool,
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn parse(word: &str) -> Outcome<Change> {
    let invalid = || Failure::new(format!("invalid taint spec: {word}"));
    let (body, remove) = word.strip_suffix('-').map_or((word, false), |body| (body, true));
    let (pair, effect) = body.split_once(':').unwrap_or((body, ""));
    let (key, value) = match pair.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (pair, None),
    };
    if key.is_empty() || effect.contains(':') || (!remove && effect.is_empty()) {
        return Err(invalid());
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        return Err(Failure::new(format!("invalid taint effect: {effect}, unsupported taint effect")));
    }
    Ok(Change { key: key.to_owned(), value, effect: effect.to_owned(), remove })
}

/// Sets and removes taints.
pub async fn taint(connection: &Connection, arguments: Tainting) -> Outcome {
    let is_change = |word: &&String| word.contains([':', '=']) || word.ends_with('-');
    let objects: Vec<String> = arguments.words.iter().filter(|word| !is_change(word)).cloned().collect();
    let changes: Vec<Change> =
        arguments.words.iter().filter(is_change).map(|w| parse(w)).collect::<Outcome<_>>()?;
    if changes.is_empty() {
        return Err(Failure::new("at least one taint update is required"));
    }
    let resources = Resources::discover(connection).await?;
    let files = Files::default();
    let choice = Choice {
        selector: &arguments.selector,
        all: arguments.all,
        fetch: true,
        ..Choice::of(&objects, &files)
    };
    let change = |_: &Resource, node: &mut Value| apply(node, &changes, arguments.overwrite);
    each(&arguments.change, connection, &resources, choice, "kubectl-taint", change).await
}

fn apply(node: &mut Value, changes: &[Change], overwrite: bool) -> Outcome<String> {
    let name = api::object::name(node).to_owned();
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let (mut set, mut removed) = (false, false);
    for change in changes {
        let fits = |taint: &Value| {
            taint["key"] == change.key.as_str()
                && (change.effect.is_empty() || taint["effect"] == change.effect.as_str())
        };
        let there = taints.iter().position(fits);
        if change.remove {
            if there.is_none() {
                return Err(Failure::new(format!("taint {:?} not found", described(change))));
            }
            taints.retain(|taint| !fits(taint));
            removed = true;
            continue;
        }
        if there.is_some() && !overwrite {
            return Err(Failure::new(format!(
                "node {name} already has {} taint(s) with same effect(s) and --overwrite is false",
                change.key
            )));
        }
        let mut taint = json!({"key": change.key, "effect": change.effect});
        if let Some(value) = change.value.as_ref().filter(|value| !value.is_empty()) {
            taint["value"] = json!(value);
        }
        match there.and_then(|at| taints.get_mut(at)) {
            Some(known) => *known = taint,
            None => taints.insert(0, taint),
        }
        set = true;
    }
    node["spec"]["taints"] = Value::Array(taints);
    Ok(match (set, removed) {
        (true, true) => "modified",
        (true, false) => "tainted",
        _ => "untainted",
    }
    .to_owned())
}

fn described(change: &Change) -> String {
    let effect = if change.effect.is_empty() { String::new() } else { format!(":{}", change.effect) };
    format!("{}{effect}", change.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_set_and_removed() {
        let changes = |words: &[&str]| words.iter().map(|w| parse(w).expect("a taint")).collect::<Vec<_>>();
        let mut node = json!({"metadata": {"name": "n"}, "spec": {}});
        let said = apply(&mut node, &changes(&["a=b:NoSchedule", "c:NoExecute"]), false).expect("set");
        assert_eq!(said, "tainted");
        assert_eq!(node["spec"]["taints"].as_array().map(Vec::len), Some(2));
        assert!(apply(&mut node, &changes(&["a=x:NoSchedule"]), false).is_err());
        assert_eq!(apply(&mut node, &changes(&["a-"]), false).expect("removed"), "untainted");
        assert!(apply(&mut node, &changes(&["a:NoSchedule-"]), false).is_err());
        assert!(parse("a=b").is_err());
        assert!(parse("a:Never").is_err());
    }

    #[test]
    fn a_closed_node_is_not_closed_again() {
        let mut node = json!({"spec": {}});
        assert_eq!(set_closed(&mut node, true), "cordoned");
        assert_eq!(set_closed(&mut node, true), "already cordoned");
        assert_eq!(set_closed(&mut node, false), "uncordoned");
    }
}
