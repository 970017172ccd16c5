//! `gantry logs`: what containers wrote, followed if asked.

use std::io::Write as _;

use anyhow::Context as _;
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;

use super::connection::{Connection, query};
use super::pods::{choose_container, containers, listed, pods_of};
use super::resources::Resources;
use super::{Failure, Outcome};

/// Flags of `logs`.
#[derive(clap::Args)]
pub struct Arguments {
    /// POD, or TYPE/NAME of something that owns pods.
    target: Option<String>,
    /// The container; not needed when the pod has one.
    container_name: Option<String>,
    /// The container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Every container.
    #[arg(long)]
    all_containers: bool,
    /// Every pod of the workload.
    #[arg(long)]
    all_pods: bool,
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// The container's previous run.
    #[arg(short, long)]
    previous: bool,
    /// Only so many last lines; -1 is all.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only so many bytes.
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// Only lines not older than this, such as 5s or 2m.
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Only lines after this time.
    #[arg(long, value_name = "TIME", default_value = "")]
    since_time: String,
    /// With the time of each line.
    #[arg(long)]
    timestamps: bool,
    /// With the pod and container of each line.
    #[arg(long)]
    prefix: bool,
    /// Go on with other containers when one cannot be read.
    #[arg(long)]
    ignore_errors: bool,
    /// How many containers may be followed at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    max_log_requests: usize,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Do not check the node's certificate.
    #[arg(long)]
    insecure_skip_tls_verify_backend: bool,
}

/// Prints logs.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    arguments.check()?;
    let pods = arguments.pods(connection).await?;
    let mut sources = Vec::new();
    for pod in &pods {
        sources.extend(arguments.sources(pod)?);
    }
    if arguments.follow && sources.len() > arguments.max_log_requests {
        return Err(Failure::new(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            sources.len(),
            arguments.max_log_requests
        )));
    }
    if arguments.follow && sources.len() > 1 {
        let mut running: FuturesUnordered<_> =
            sources.iter().map(|source| arguments.print(connection, source)).collect();
        while let Some(outcome) = running.next().await {
            arguments.tolerate(outcome)?;
        }
        return Ok(());
    }
    for source in &sources {
        arguments.tolerate(arguments.print(connection, source).await)?;
    }
    Ok(())
}

/// A container's log.
struct Source {
    namespace: String,
    pod: String,
    container: String,
}

impl Arguments {
    fn check(&self) -> Outcome {
        let refuse = |text: &str| Err(Failure::new(text));
        match &self.target {
            None if self.selector.is_empty() => {
                return refuse(
                    "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kubectl logs -h' for help and examples",
                );
            }
            Some(_) if !self.selector.is_empty() => {
                return refuse("only a selector (-l) or a POD name is allowed");
            }
            _ => {}
        }
        if self.all_containers && (self.container.is_some() || self.container_name.is_some()) {
            return refuse("--all-containers=true should not be specified with container name");
        }
        if self.container.is_some() && self.container_name.is_some() {
            return refuse("only one of -c or an inline [CONTAINER] arg is allowed");
        }
        if self.since.is_some() && !self.since_time.is_empty() {
            return refuse("at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        if self.tail.is_some_and(|lines| lines < -1) {
            return refuse("--tail must be greater than or equal to -1");
        }
        Ok(())
    }

    async fn pods(&self, connection: &Connection) -> Outcome<Vec<Value>> {
        let namespace = connection.default_namespace();
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let Some(target) = &self.target else {
            let list =
                connection.get(&format!("{path}{}", query(&[("labelSelector", &self.selector)]))).await?;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            if pods.is_empty() {
                eprintln!("No resources found in {namespace} namespace.");
            }
            return Ok(pods);
        };
        let Some((kind, name)) = target.split_once('/') else {
            let pod = connection.get(&format!("{path}/{target}")).await.map_err(|failure| match failure {
                Failure::Server(status) => Failure::new(format!(
                    "error from server ({}): {} in namespace {namespace:?}",
                    status.reason, status.message
                )),
                other => other,
            })?;
            return Ok(vec![pod]);
        };
        let resources = Resources::discover(connection).await?;
        let resource = resources.named(kind)?;
        let object = connection.get(&resource.object(&namespace, name)).await?;
        if resource.kind == "Pod" {
            return Ok(vec![object]);
        }
        let mut pods = pods_of(connection, resource, &object).await?;
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned());
        if pods.is_empty() {
            return Err(Failure::new("timed out waiting for the condition"));
        }
        if !self.all_pods {
            if let (true, Some(first)) = (pods.len() > 1, pods.first()) {
                eprintln!("Found {} pods, using pod/{}", pods.len(), api::object::name(first));
            }
            pods.truncate(1);
        }
        Ok(pods)
    }

    fn sources(&self, pod: &Value) -> Outcome<Vec<Source>> {
        let source = |container: String| Source {
            namespace: api::object::namespace(pod).to_owned(),
            pod: api::object::name(pod).to_owned(),
            container,
        };
        if self.all_containers {
            return Ok(containers(pod).into_iter().map(source).collect());
        }
        let wanted = self.container.as_deref().or(self.container_name.as_deref());
        if let Some(wanted) = wanted.filter(|wanted| !containers(pod).iter().any(|c| c == wanted)) {
            return Err(Failure::new(format!(
                "container {wanted} is not valid for pod {}",
                api::object::name(pod)
            )));
        }
        let several = pod["spec"]["containers"].as_array().is_some_and(|all| all.len() > 1);
        let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].is_string();
        if wanted.is_none() && several && !annotated {
            let first = pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
            eprintln!("Defaulted container {first:?} out of: {}", listed(pod));
        }
        Ok(vec![source(choose_container(pod, wanted, false)?)])
    }

    fn tolerate(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Err(failure) if self.ignore_errors => {
                eprintln!("{failure}");
                Ok(())
            }
            other => other,
        }
    }

    async fn print(&self, connection: &Connection, source: &Source) -> Outcome {
        let since = match &self.since {
            Some(text) => {
                let nanos = api::time::parse_go_duration(text).ok_or_else(|| {
                    Failure::new(format!(
                        "invalid argument {text:?} for \"--since\" flag: time: invalid duration {text:?}"
                    ))
                })?;
                (nanos / 1_000_000_000).max(1).to_string()
            }
            None => String::new(),
        };
        let yes = |flag: bool| if flag { "true" } else { "" };
        // By label, a few lines of each are what a user looks for.
        let tail = self.tail.or((!self.selector.is_empty()).then_some(10)).filter(|lines| *lines >= 0);
        let suffix = query(&[
            ("container", &source.container),
            ("follow", yes(self.follow)),
            ("previous", yes(self.previous)),
            ("timestamps", yes(self.timestamps)),
            ("sinceSeconds", &since),
            ("sinceTime", &self.since_time),
            ("tailLines", &tail.map(|lines| lines.to_string()).unwrap_or_default()),
            ("limitBytes", &self.limit_bytes.map(|bytes| bytes.to_string()).unwrap_or_default()),
            ("insecureSkipTLSVerifyBackend", yes(self.insecure_skip_tls_verify_backend)),
        ]);
        let path = format!("/api/v1/namespaces/{}/pods/{}/log{suffix}", source.namespace, source.pod);
        let prefix = match self.prefix {
            true => format!("[pod/{}/{}] ", source.pod, source.container),
            false => String::new(),
        };
        copy_lines(connection.stream(&path, "*/*").await?, &prefix).await
    }
}

/// Copies lines to standard output as they come, the last one even when it does not end.
async fn copy_lines(stream: impl AsyncBufRead, prefix: &str) -> Outcome {
    let mut stream = std::pin::pin!(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = stream.read_until(b'\n', &mut line).await.context("the log broke off")?;
        if read == 0 {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(prefix.as_bytes())
            .and_then(|()| out.write_all(&line))
            .and_then(|()| out.flush())
            .context("cannot write")?;
    }
}
