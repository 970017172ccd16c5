//! `gantry drain`: closes a node and evicts its pods, as their budgets allow.

use std::time::Duration;

use component_base::clock::RealClock;
use serde_json::{Value, json};

use super::change::{ChangeFlags, Sender};
use super::connection::{Connection, query};
use super::manifest::Files;
use super::nodes::{set_closed, words};
use super::output::DryRun;
use super::resources::{Resource, Resources};
use super::selection::{Choice, Target, items};
use super::{Failure, Outcome, delete};

/// How long to wait before an eviction that a budget forbids is asked for again, as kubectl does: nothing
/// tells a client when a budget would allow it.
const AGAIN: Duration = Duration::from_secs(5);

/// Flags of `drain`.
#[derive(clap::Args)]
pub struct Arguments {
    /// NODE…
    nodes: Vec<String>,
    #[command(flatten)]
    change: ChangeFlags,
    /// Label selector of nodes.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Only pods with these labels.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pod_selector: String,
    /// Pods that nothing makes again, too.
    #[arg(long)]
    force: bool,
    /// Leave the pods of daemon sets.
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Pods with emptyDir volumes, too.
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Delete instead of evicting, whatever budgets say.
    #[arg(long)]
    disable_eviction: bool,
    /// Seconds a pod gets to end; negative is the pod's own.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// How long to wait; 0 is as long as it takes.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: String,
    /// Do not wait for pods that have been ending for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    skip_wait_for_delete_timeout: i64,
}

/// What to do with a pod of the node.
enum Fate {
    Leaves,
    /// Stays, with a warning.
    Stays(Option<&'static str>),
    /// Leaves, with a warning.
    Warned(&'static str),
    /// Nothing may be done while it is there.
    Forbids(&'static str),
}

/// Drains nodes.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    if arguments.nodes.is_empty() && arguments.selector.is_empty() {
        return Err(Failure::Plain(
            "error: USAGE: drain NODE [flags]\nSee 'kubectl drain -h' for help and examples".to_owned(),
        ));
    }
    let resources = Resources::discover(connection).await?;
    let (files, words) = (Files::default(), words(&arguments.nodes));
    let choice = Choice { selector: &arguments.selector, fetch: true, ..Choice::of(&words, &files) };
    let nodes = choice.exactly(connection, &resources).await?;
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-drain")?);
    for node in &nodes {
        let mut after = node.object.clone();
        let said = set_closed(&mut after, true);
        sender.send(node, &node.object, &after).await?;
        report.tell(&node.resource, &node.object, &said)?;
    }
    let limit = delete::duration(&arguments.timeout, "--timeout")?;
    for node in &nodes {
        let emptied = empty(connection, &resources, &arguments, &sender, node);
        let outcome = match limit {
            None => emptied.await,
            Some(limit) => tokio::time::timeout(limit, emptied).await.unwrap_or_else(|_| {
                Err(Failure::new(format!("drain did not complete within {}", arguments.timeout)))
            }),
        };
        if let Err(failure) = outcome {
            let text = failure.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            return Err(Failure::new(format!(
                "unable to drain node {:?} due to error: {text}, continuing command...\nThere are pending nodes to be drained:\n {}\n{text}",
                node.name, node.name
            )));
        }
        report.tell(&node.resource, &node.object, "drained")?;
    }
    Ok(())
}

async fn empty(
    connection: &Connection,
    resources: &Resources,
    arguments: &Arguments,
    sender: &Sender<'_>,
    node: &Target,
) -> Outcome {
    let pod_kind = resources.named("pods")?;
    let on_node = format!("spec.nodeName={}", node.name);
    let suffix = query(&[("fieldSelector", &on_node), ("labelSelector", &arguments.pod_selector)]);
    let pods = items(connection.get(&format!("/api/v1/pods{suffix}")).await?, pod_kind);
    let (mut leaving, mut forbidden, mut warned) = (Vec::new(), Vec::new(), Vec::new());
    for pod in pods {
        let name = format!("{}/{}", api::object::namespace(&pod), api::object::name(&pod));
        match arguments.fate(&pod) {
            Fate::Leaves => leaving.push(pod),
            Fate::Stays(None) => {}
            Fate::Stays(Some(why)) => note(&mut warned, why, name),
            Fate::Warned(why) => {
                note(&mut warned, why, name);
                leaving.push(pod);
            }
            Fate::Forbids(why) => note(&mut forbidden, why, name),
        }
    }
    let listed = |all: &[(&str, Vec<String>)]| {
        all.iter().map(|(why, names)| format!("{why}: {}", names.join(", "))).collect::<Vec<_>>().join("; ")
    };
    if !forbidden.is_empty() {
        return Err(Failure::new(format!("[{}]", listed(&forbidden)).trim_matches(['[', ']'])));
    }
    if !warned.is_empty() {
        eprintln!("Warning: {}", listed(&warned));
    }
    let evictions = leaving.into_iter().map(|pod| evict(connection, arguments, sender, pod_kind, pod));
    let outcomes = futures::future::join_all(evictions).await;
    Failure::all(outcomes.into_iter().filter_map(Result::err).collect())
}

fn note<'a>(notes: &mut Vec<(&'a str, Vec<String>)>, why: &'a str, name: String) {
    match notes.iter_mut().find(|(known, _)| *known == why) {
        Some((_, names)) => names.push(name),
        None => notes.push((why, vec![name])),
    }
}

impl Arguments {
    fn fate(&self, pod: &Value) -> Fate {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let done = ["Succeeded", "Failed"].contains(&phase);
        let deleting = api::object::is_deleting(pod);
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let local =
            pod["spec"]["volumes"].as_array().into_iter().flatten().any(|v| v["emptyDir"].is_object());
        if pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string() {
            return Fate::Stays(None);
        }
        if self.skip_wait_for_delete_timeout > 0 && deleting {
            return Fate::Stays(None);
        }
        if owner.is_some_and(|owner| owner["kind"] == "DaemonSet") && !done {
            return match self.ignore_daemonsets {
                true => Fate::Stays(Some("ignoring DaemonSet-managed Pods")),
                false => {
                    Fate::Forbids("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
                }
            };
        }
        if local && !done && !self.delete_emptydir_data {
            return Fate::Forbids(
                "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
            );
        }
        match owner {
            None if done => Fate::Leaves,
            None if self.force => Fate::Warned("deleting Pods that declare no controller"),
            None => Fate::Forbids("cannot delete Pods that declare no controller (use --force to override)"),
            Some(_) => Fate::Leaves,
        }
    }
}

async fn evict(
    connection: &Connection,
    arguments: &Arguments,
    sender: &Sender<'_>,
    pod_kind: &Resource,
    pod: Value,
) -> Outcome {
    let (uid, target) = (api::object::uid(&pod).to_owned(), Target::of(pod_kind, pod));
    let name = format!("{}/{}", target.namespace, target.name);
    if sender.dry_run == DryRun::Client {
        println!("evicting pod {name} (dry run)");
        return Ok(());
    }
    let mut options = json!({});
    if arguments.grace_period >= 0 {
        options["gracePeriodSeconds"] = json!(arguments.grace_period);
    }
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace}, "deleteOptions": options});
    loop {
        let dry = query(&[("dryRun", sender.dry_run.parameter())]);
        eprintln!(
            "{} pod {name}{}",
            if arguments.disable_eviction { "deleting" } else { "evicting" },
            sender.dry_run.note()
        );
        let sent = match arguments.disable_eviction {
            true => connection.delete(&format!("{}{dry}", target.path()), &options).await,
            false => connection.post(&format!("{}/eviction{dry}", target.path()), &eviction).await,
        };
        match sent {
            Ok(_) if sender.dry_run == DryRun::Server => return Ok(()),
            Ok(_) => break,
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) if failure.is(429, "TooManyRequests") => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {}",
                    target.name,
                    target.namespace,
                    message(&failure)
                );
                RealClock::shared().sleep(AGAIN).await;
            }
            Err(failure) => {
                return Err(Failure::new(format!(
                    "error when evicting pods/{:?} -n {:?}: {}",
                    target.name,
                    target.namespace,
                    message(&failure)
                )));
            }
        }
    }
    delete::until_gone(connection, &target, &uid, None).await?;
    println!("pod/{} evicted", target.name);
    Ok(())
}

fn message(failure: &Failure) -> String {
    match failure {
        Failure::Server(status) => status.message.clone(),
        other => other.to_string(),
    }
}
