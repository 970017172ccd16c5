//! `gantry run`: one pod, made from flags; attached to if asked.

use std::time::Duration;

use serde_json::{Value, json};

use super::attach;
use super::connection::Connection;
use super::create::{Common, container, sent};
use super::resources::Resources;
use super::selection::Target;
use super::{Failure, Outcome, delete, wait};

/// Flags of `run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pod's name.
    name: String,
    #[command(flatten)]
    common: Common,
    /// The image.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Arguments of the image's command, or the command with --command; after `--`.
    #[arg(last = true)]
    words: Vec<String>,
    /// The words are the command, not its arguments.
    #[arg(long)]
    command: bool,
    /// KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// KEY=VALUE,…
    #[arg(short, long, value_name = "LABELS", default_value = "")]
    labels: String,
    /// KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// The port the container listens on.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Make a service of the port too.
    #[arg(long)]
    expose: bool,
    /// `Always`, `OnFailure` or `Never`.
    #[arg(long, value_name = "POLICY", default_value = "Always")]
    restart: String,
    /// `Always`, `IfNotPresent` or `Never`.
    #[arg(long, value_name = "POLICY", default_value = "")]
    image_pull_policy: String,
    /// More of the object, as JSON.
    #[arg(long, value_name = "JSON", default_value = "")]
    overrides: String,
    /// `merge`, `strategic` or `json`.
    #[arg(long, value_name = "TYPE", default_value = "merge")]
    override_type: String,
    /// All the container may do on its host.
    #[arg(long)]
    privileged: bool,
    /// Keep standard input open.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal.
    #[arg(short = 't', long)]
    tty: bool,
    /// Attach once the pod runs; so with -i.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    attach: Option<bool>,
    /// Delete the pod afterwards.
    #[arg(long)]
    rm: bool,
    /// Say nothing of our own.
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait for the pod to run.
    #[arg(long, value_name = "DURATION", default_value = "1m0s")]
    pod_running_timeout: String,
}

impl Arguments {
    fn labels(&self) -> Value {
        let pairs = self.labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels: serde_json::Map<_, _> = pairs.map(|(k, v)| (k.to_owned(), json!(v))).collect();
        if labels.is_empty() { json!({"run": self.name}) } else { Value::Object(labels) }
    }

    fn pod(&self) -> Outcome<Value> {
        let command: &[String] = if self.command { &self.words } else { &[] };
        let mut container = container(&self.name, &self.image, command);
        if !self.command && !self.words.is_empty() {
            container["args"] = json!(self.words);
        }
        let env: Vec<Value> = self
            .env
            .iter()
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
                _ => Err(Failure::new(format!("invalid env: {pair}"))),
            })
            .collect::<Outcome<_>>()?;
        if !env.is_empty() {
            container["env"] = Value::Array(env);
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !self.image_pull_policy.is_empty() {
            container["imagePullPolicy"] = json!(self.image_pull_policy);
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        for (flag, fields) in [(self.stdin, ["stdin", "stdinOnce"]), (self.tty, ["tty", "tty"])] {
            if flag {
                fields.iter().for_each(|field| container[*field] = json!(true));
            }
        }
        let mut metadata = json!({"labels": self.labels(), "name": self.name});
        for pair in &self.annotations {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            metadata["annotations"][key] = json!(value);
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart}, "status": {}});
        if self.overrides.is_empty() {
            return Ok(pod);
        }
        let patch = serde_json::from_str(&self.overrides)
            .map_err(|error| Failure::new(format!("Invalid JSON Patch: {error}")))?;
        let schema = api::schema::facts().by_gvk("", "v1", "Pod");
        let after = match self.override_type.as_str() {
            "json" => api::patch::json::apply(&pod, &patch),
            "strategic" => api::patch::strategic::apply(&pod, &patch, schema),
            _ => api::patch::merge::apply(&pod, &patch),
        };
        after.map_err(|error| Failure::new(format!("{error:?}")))
    }
}

/// Makes the pod.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let attached = arguments.attach.unwrap_or(arguments.stdin || arguments.tty);
    if arguments.rm && !attached {
        return Err(Failure::new("--rm should only be used for attached containers"));
    }
    if arguments.tty && !arguments.stdin {
        return Err(Failure::new("-i/--stdin is required for containers with -t/--tty=true"));
    }
    if arguments.expose && arguments.port.is_none() {
        return Err(Failure::new("--port must be set when exposing a service"));
    }
    let resources = Resources::discover(connection).await?;
    let report = arguments.common.change.report()?;
    let pod = sent(connection, &resources, &arguments.common, arguments.pod()?, "kubectl-run").await?;
    let resource = resources.of(&pod, "")?;
    if arguments.expose {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": arguments.name},
            "spec": {"ports": [{"port": arguments.port, "protocol": "TCP", "targetPort": arguments.port}],
                "selector": arguments.labels()}, "status": {"loadBalancer": {}}});
        let service = sent(connection, &resources, &arguments.common, service, "kubectl-run").await?;
        report.tell(resources.of(&service, "")?, &service, "created")?;
    }
    if !attached || !report.sends() {
        return report.tell(resource, &pod, "created");
    }
    let target = Target::of(resource, pod);
    let outcome = follow(connection, &arguments, &target).await;
    if arguments.rm {
        connection.delete(&target.path(), &json!({})).await?;
        if !arguments.quiet {
            println!("pod {:?} deleted", arguments.name);
        }
    }
    outcome
}

/// Waits for the pod to run, attaches, and ends as its container did.
async fn follow(connection: &Connection, arguments: &Arguments, target: &Target) -> Outcome {
    let phase = |object: &Value| object["status"]["phase"].as_str().unwrap_or_default().to_owned();
    let begun = wait::until(connection, target, |object| {
        let object = object.ok_or_else(|| Failure::new("the pod has been deleted"))?;
        Ok(["Running", "Succeeded", "Failed"].contains(&phase(object).as_str()))
    });
    let limit = delete::duration(&arguments.pod_running_timeout, "--pod-running-timeout")?;
    tokio::time::timeout(limit.unwrap_or(Duration::MAX), begun)
        .await
        .unwrap_or_else(|_| Err(Failure::new("timed out waiting for the condition")))?;
    let now = connection.get(&target.path()).await?;
    if phase(&now) == "Running" {
        attach::to(connection, target, &arguments.name, arguments.stdin, arguments.tty).await?;
    } else {
        print!("{}", connection.raw(http::Method::GET, &format!("{}/log", target.path()), None).await?);
    }
    if arguments.restart == "Always" {
        return Ok(());
    }
    let mut code = 0;
    wait::until(connection, target, |object| {
        let Some(object) = object else { return Ok(true) };
        let ended = &object["status"]["containerStatuses"][0]["state"]["terminated"];
        code = ended["exitCode"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Ok(ended.is_object())
    })
    .await?;
    if code == 0 { Ok(()) } else { Err(Failure::Silent(code)) }
}
