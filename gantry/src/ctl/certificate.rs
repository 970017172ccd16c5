//! `gantry certificate approve|deny`: an administrator's word on requests for certificates.

use serde_json::json;

use super::change::ChangeFlags;
use super::connection::Connection;
use super::manifest::Files;
use super::resources::Resources;
use super::selection::Choice;
use super::{Failure, Outcome};

/// The word.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Yes.
    Approve(Arguments),
    /// No.
    Deny(Arguments),
}

/// Which requests.
#[derive(clap::Args)]
pub struct Arguments {
    /// NAME…
    names: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: ChangeFlags,
    /// Also when it is decided already.
    #[arg(long)]
    force: bool,
}

/// Decides on requests.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    let (arguments, approved) = match command {
        Command::Approve(arguments) => (arguments, true),
        Command::Deny(arguments) => (arguments, false),
    };
    if arguments.names.is_empty() && arguments.files.is_empty() {
        return Err(Failure::new("one or more CSRs must be specified as <name> or -f <filename>"));
    }
    let resources = Resources::discover(connection).await?;
    let mut words = arguments.names.clone();
    if !words.is_empty() {
        words.insert(0, "certificatesigningrequests.certificates.k8s.io".to_owned());
    }
    let choice = Choice { fetch: true, ..Choice::of(&words, &arguments.files) };
    let (report, sender) =
        (arguments.change.report()?, arguments.change.sender(connection, "kubectl-certificate")?);
    let (kind, said) = if approved { ("Approved", "approved") } else { ("Denied", "denied") };
    for mut target in choice.exactly(connection, &resources).await? {
        let mut conditions = target.object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let other = if approved { "Denied" } else { "Approved" };
        if conditions.iter().any(|c| c["type"] == other) {
            return Err(Failure::new(format!(
                "certificate signing request {:?} is already {other}",
                target.name
            )));
        }
        if conditions.iter().all(|c| c["type"] != kind) || arguments.force {
            conditions.retain(|c| c["type"] != kind);
            let now = component_base::clock::RealClock::shared().now();
            conditions.push(json!({
                "type": kind,
                "status": "True",
                "reason": if approved { "KubectlApprove" } else { "KubectlDeny" },
                "message": format!("This CSR was {said} by kubectl certificate {}.", if approved { "approve" } else { "deny" }),
                "lastUpdateTime": component_base::clock::rfc3339_seconds(now),
            }));
            target.object["status"]["conditions"] = json!(conditions);
            target.object = sender.replace(&target, "approval").await?;
        }
        report.tell(&target.resource, &target.object, said)?;
    }
    Ok(())
}
