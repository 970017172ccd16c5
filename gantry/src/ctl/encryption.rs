//! `gantry encryption status|rotate`: what is encrypted in the store, and a new key for it.
//!
//! Upstream has no tool for this. Both speak to the server, so they work from elsewhere, for administrators.

use std::path::PathBuf;
use std::time::Duration;

use client::kubeconfig::ADMIN_KUBECONFIG;
use component_base::clock::RealClock;
use http::Method;
use serde_json::Value;

use super::connection::Connection;
use super::{Failure, Outcome};

/// Where the server answers.
const PATH: &str = "/gantry.dev/encryption";

/// Between looks at how far rewriting is.
const PAUSE: Duration = Duration::from_millis(200);

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show what is encrypted, with which keys, and whether all that is stored is.
    Status(Place),
    /// Make a new key, encrypt everything with it, history included, and drop the old one when nothing needs it. The
    /// cluster goes on meanwhile. Snapshots taken before need the old key: keep a copy of its file as long as them.
    Rotate(Place),
}

/// Which cluster.
#[derive(clap::Args)]
pub struct Place {
    /// The data directory of a cluster on this machine, to speak as its administrator.
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    data_dir: Option<PathBuf>,
}

impl Command {
    /// The kubeconfig of the cluster that is asked for by its data directory.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        let (Self::Status(place) | Self::Rotate(place)) = self;
        place.data_dir.as_ref().map(|directory| directory.join(ADMIN_KUBECONFIG))
    }
}

/// Shows or rotates.
pub async fn run(connection: &Connection, command: Command) -> Outcome {
    match command {
        Command::Status(_) => show(&connection.get(PATH).await?),
        Command::Rotate(_) => {
            connection.raw(Method::POST, PATH, None).await?;
            let status = loop {
                let status = connection.get(PATH).await?;
                if status["rewriting"] != true {
                    break status;
                }
                RealClock::shared().sleep(PAUSE).await;
            };
            if let Some(failure) = status["failure"].as_str() {
                return Err(Failure::new(format!(
                    "the new key writes, but what is stored could not be rewritten yet: {failure}"
                )));
            }
            show(&status);
        }
    }
    Ok(())
}

fn show(status: &Value) {
    print!("{}", told(status));
}

fn told(status: &Value) -> String {
    if status["enabled"] != true {
        return "nothing is encrypted: the store is in memory\n".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| {
        value.as_array().map(|all| all.iter().map(text).collect::<Vec<_>>()).unwrap_or_default()
    };
    let mut lines = format!("keys: {}\n", text(&status["file"]));
    for rule in status["rules"].as_array().into_iter().flatten() {
        let providers = list(&rule["providers"]);
        let (first, others) =
            providers.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        lines += &format!("{}: written with {first}", list(&rule["resources"]).join(", "));
        if !others.is_empty() {
            lines += &format!("; read with {}, too", others.join(", "));
        }
        lines += if rule["writable"] == false { "; writing does not work now\n" } else { "\n" };
    }
    lines += &match (status["rewriting"] == true, status["finished"].as_str(), status["failure"].as_str()) {
        (true, ..) => "what is stored is being rewritten\n".to_owned(),
        (_, _, Some(failure)) => format!("rewriting failed: {failure}\n"),
        (_, Some(time), None) => {
            format!(
                "everything stored was looked at {time}; {} versions were rewritten\n",
                status["rewritten"]
            )
        }
        _ => "what is stored was not looked at yet\n".to_owned(),
    };
    if status["unreadable"].as_u64().is_some_and(|count| count > 0) {
        lines += &format!(
            "{} versions cannot be read: no key in the file opens them; put back the file they were written with\n",
            status["unreadable"]
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::told;

    #[test]
    fn what_is_stored_and_how() {
        let status = json!({
            "enabled": true, "file": "/d/pki/encryption.yaml", "rewriting": false, "finished": "2026-01-01T00:00:00Z",
            "rewritten": 3, "unreadable": 1, "failure": null,
            "rules": [{"resources": ["secrets"], "providers": ["aesgcm key \"b\"", "identity"], "writable": true}],
        });
        let expected = "keys: /d/pki/encryption.yaml\n\
            secrets: written with aesgcm key \"b\"; read with identity, too\n\
            everything stored was looked at 2026-01-01T00:00:00Z; 3 versions were rewritten\n\
            1 versions cannot be read: no key in the file opens them; put back the file they were written with\n";
        assert_eq!(told(&status), expected);
    }
}
