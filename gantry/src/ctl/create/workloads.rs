//! `gantry create deployment|job|cronjob`.

use serde_json::{Value, json};

use super::{Common, with};
use crate::ctl::connection::Connection;
use crate::ctl::{Failure, Outcome};

/// Flags of `create deployment`.
#[derive(clap::Args)]
pub struct Deployment {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// A container for each.
    #[arg(long, value_name = "IMAGE", required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// A port the container listens on.
    #[arg(long, value_name = "PORT", default_value_t = -1, allow_negative_numbers = true)]
    port: i64,
    /// How many pods.
    #[arg(short, long, value_name = "COUNT", default_value_t = 1)]
    replicas: u32,
    /// The container's command.
    #[arg(last = true)]
    command: Vec<String>,
}

impl Deployment {
    pub(super) fn object(&self) -> Outcome<Value> {
        if self.image.len() > 1 && !self.command.is_empty() {
            return Err(Failure::new("cannot specify multiple --image options and command"));
        }
        let containers: Vec<Value> = self.image.iter().map(|image| self.container(image)).collect();
        let labels = json!({"app": self.name});
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"labels": labels, "name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "strategy": {},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
            "status": {},
        }))
    }

    fn container(&self, image: &str) -> Value {
        let mut container = container(&name_of(image), image, &self.command);
        if self.port >= 0 {
            container["ports"] = json!([{"containerPort": self.port}]);
        }
        container
    }
}

/// A container's name from its image: `docker.io/library/nginx:1.2` is `nginx`.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let last = last.split(['@', ':']).next().unwrap_or(last);
    let allowed: String =
        last.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    allowed.trim_matches('-').to_owned()
}

/// A container with a command, if there is one.
pub fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"image": image, "name": name, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container
}

/// Flags of `create job`.
#[derive(clap::Args)]
pub struct Job {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// The container's image.
    #[arg(long, value_name = "IMAGE", default_value = "")]
    image: String,
    /// Another object to take the job from: `cronjob/NAME`.
    #[arg(long, value_name = "TYPE/NAME", default_value = "")]
    from: String,
    /// The container's command.
    #[arg(last = true)]
    command: Vec<String>,
}

impl Job {
    pub(super) async fn object(&self, connection: &Connection) -> Outcome<Value> {
        let job = |metadata: Value, spec: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec, "status": {}});
        match (self.image.as_str(), self.from.as_str()) {
            ("", "") | (_, "") if self.image.is_empty() => {
                Err(Failure::new("either --image or --from must be specified"))
            }
            (image, "") => {
                let containers = [container(&self.name, image, &self.command)];
                let template =
                    json!({"metadata": {}, "spec": {"containers": containers, "restartPolicy": "Never"}});
                Ok(job(json!({"name": self.name}), json!({"template": template})))
            }
            ("", from) => {
                if !self.command.is_empty() {
                    return Err(Failure::new("cannot specify --from and command"));
                }
                let source = match from.split_once('/') {
                    Some(("cronjob" | "cj" | "cronjobs" | "cronjob.batch" | "cronjobs.batch", name)) => name,
                    _ => return Err(Failure::new("from must be an existing cronjob")),
                };
                let namespace = connection.default_namespace();
                let cron = connection
                    .get(&format!("/apis/batch/v1/namespaces/{namespace}/cronjobs/{source}"))
                    .await?;
                let template = &cron["spec"]["jobTemplate"];
                let mut annotations =
                    template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
                annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), json!("manual"));
                let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "controller": true,
                    "name": cron["metadata"]["name"], "uid": cron["metadata"]["uid"]});
                let mut metadata =
                    json!({"name": self.name, "annotations": annotations, "ownerReferences": [owner]});
                if template["metadata"]["labels"].is_object() {
                    metadata["labels"] = template["metadata"]["labels"].clone();
                }
                Ok(job(metadata, template["spec"].clone()))
            }
            _ => Err(Failure::new("either --image or --from must be specified")),
        }
    }
}

/// Flags of `create cronjob`.
#[derive(clap::Args)]
pub struct CronJob {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// The container's image.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// When, in cron's form.
    #[arg(long, value_name = "SCHEDULE")]
    schedule: String,
    /// `OnFailure` or `Never`.
    #[arg(long, value_name = "POLICY", default_value = "OnFailure")]
    restart: String,
    /// The container's command.
    #[arg(last = true)]
    command: Vec<String>,
}

impl CronJob {
    pub(super) fn object(&self) -> Value {
        let containers = [container(&self.name, &self.image, &self.command)];
        let pod = json!({"metadata": {}, "spec": {"containers": containers, "restartPolicy": self.restart}});
        let job = json!({"metadata": {"name": self.name}, "spec": {"template": pod}});
        let head = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": self.name}});
        with(head, json!({"spec": {"jobTemplate": job, "schedule": self.schedule}, "status": {}}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_images() {
        for (image, expect) in
            [("nginx", "nginx"), ("docker.io/library/Ng_inx:1.2", "ng-inx"), ("a.b:5000/web@sha256:0", "web")]
        {
            assert_eq!(name_of(image), expect);
        }
    }
}
