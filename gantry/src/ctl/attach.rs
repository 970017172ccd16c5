//! `gantry attach`: the streams of a container that runs.

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;

use super::connection::Connection;
use super::exec::{RawTerminal, copy, is_terminal, parameters};
use super::pods::{choose_container, pod_of};
use super::selection::Target;
use super::{Failure, Outcome};

/// Flags of `attach`.
#[derive(clap::Args)]
pub struct Arguments {
    /// POD, or TYPE/NAME of something that owns pods.
    target: String,
    /// The container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal.
    #[arg(short = 't', long)]
    tty: bool,
    /// Say nothing of our own.
    #[arg(short, long)]
    quiet: bool,
}

/// Attaches to a container.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let pod = pod_of(connection, &arguments.target).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if ["Succeeded", "Failed"].contains(&phase) {
        return Err(Failure::new(format!(
            "cannot attach a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = choose_container(&pod, arguments.container.as_deref(), !arguments.quiet)?;
    streams(
        connection,
        (api::object::namespace(&pod), api::object::name(&pod)),
        container,
        arguments.stdin,
        arguments.tty,
    )
    .await
}

/// Attaches to a container of a pod that is known to run.
pub async fn to(connection: &Connection, pod: &Target, container: &str, stdin: bool, tty: bool) -> Outcome {
    streams(connection, (&pod.namespace, &pod.name), container.to_owned(), stdin, tty).await
}

async fn streams(
    connection: &Connection,
    (namespace, name): (&str, &str),
    container: String,
    stdin: bool,
    tty: bool,
) -> Outcome {
    let tty = is_terminal(tty);
    let pods: Api<Pod> = Api::namespaced(connection.client(), namespace);
    let process = pods.attach(name, &parameters(container, stdin, tty)).await?;
    if stdin {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let _raw = if tty { Some(RawTerminal::enter()?) } else { None };
    copy(process, tty).await
}
