//! `gantry logs`: what a container wrote, followed if asked.

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use futures::io::AsyncReadExt as _;
use serde_json::Value;

use super::connection::{Connection, query};
use super::resources::Resources;
use super::{Failure, Outcome, Scope};

/// Flags of `logs`.
#[derive(clap::Args)]
pub struct Arguments {
    /// POD, or TYPE/NAME of something that owns pods.
    target: String,
    /// The container; not needed when the pod has one.
    container_name: Option<String>,
    /// The container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// The container's previous run.
    #[arg(short, long)]
    previous: bool,
    /// Only so many last lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only lines not older than this, such as 5s or 2m.
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// With the time of each line.
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    scope: Scope,
}

/// Prints a log.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let namespace = connection.namespace(&arguments.scope);
    let pod = pod_of(connection, &namespace, &arguments.target).await?;
    let since = match &arguments.since {
        Some(text) => {
            let nanos = api::time::parse_go_duration(text)
                .with_context(|| format!("--since {text} is no duration"))?;
            (nanos / 1_000_000_000).max(1).to_string()
        }
        None => String::new(),
    };
    let yes = |flag: bool| if flag { "true" } else { "" };
    let tail = arguments.tail.filter(|lines| *lines >= 0).map(|lines| lines.to_string()).unwrap_or_default();
    let container = arguments.container.or(arguments.container_name).unwrap_or_default();
    let suffix = query(&[
        ("container", &container),
        ("follow", yes(arguments.follow)),
        ("previous", yes(arguments.previous)),
        ("timestamps", yes(arguments.timestamps)),
        ("sinceSeconds", &since),
        ("tailLines", &tail),
    ]);
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log{suffix}");
    let mut stream = std::pin::pin!(connection.stream(&path, "*/*").await?);
    let mut out = std::io::stdout().lock();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = stream.read(&mut buffer).await.context("the log broke off")?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read]).and_then(|()| out.flush()).context("cannot write")?;
    }
}

/// The pod a target means: itself, or the first pod that the named workload selects.
pub async fn pod_of(connection: &Connection, namespace: &str, target: &str) -> Outcome<String> {
    let Some((kind, name)) = target.split_once('/') else { return Ok(target.to_owned()) };
    let resources = Resources::discover(connection).await?;
    let resource = resources.named(kind)?;
    if resource.kind == "Pod" {
        return Ok(name.to_owned());
    }
    let object = connection.get(&resource.object(namespace, name)).await?;
    let selector = &object["spec"]["selector"];
    let labels = if selector["matchLabels"].is_object() { &selector["matchLabels"] } else { selector };
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        return Err(Failure::Other(anyhow!("{target} selects no pods")));
    }
    let path =
        format!("/api/v1/namespaces/{namespace}/pods{}", query(&[("labelSelector", &pairs.join(","))]));
    let pods = connection.get(&path).await?;
    let first = pods["items"].as_array().and_then(|items| items.first()).map(api::object::name);
    first.map(str::to_owned).ok_or_else(|| no_pods(target))
}

fn no_pods(target: &str) -> Failure {
    Failure::Other(anyhow!("error finding pods of {target}: there are none"))
}

/// The container a pod's user means when naming none: the only one, or the annotated default.
pub fn default_container(pod: &Value) -> Option<&str> {
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    annotated.or_else(|| pod["spec"]["containers"][0]["name"].as_str())
}
