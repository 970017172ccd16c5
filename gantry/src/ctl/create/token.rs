//! `gantry create token`: a service account's token, asked for at the server.

use serde_json::json;

use super::Common;
use crate::ctl::connection::Connection;
use crate::ctl::delete::duration;
use crate::ctl::output::{Flags, Format};
use crate::ctl::{Failure, Outcome};

/// Flags of `create token`.
#[derive(clap::Args)]
pub struct Arguments {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// Who is to accept it; may be repeated.
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// How long it is good for; the server may shorten it.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    duration: String,
    /// The kind it is bound to: Pod, Secret or Node.
    #[arg(long, value_name = "KIND", default_value = "")]
    bound_object_kind: String,
    /// The object it is bound to.
    #[arg(long, value_name = "NAME", default_value = "")]
    bound_object_name: String,
    /// The uid of the object it is bound to.
    #[arg(long, value_name = "UID", default_value = "")]
    bound_object_uid: String,
}

impl Arguments {
    pub(super) async fn run(&self, connection: &Connection) -> Outcome {
        let mut spec = json!({"audiences": self.audience});
        if self.audience.is_empty() {
            spec = json!({});
        }
        if let Some(length) = duration(&self.duration, "--duration")? {
            spec["expirationSeconds"] = json!(length.as_secs());
        }
        match (self.bound_object_kind.as_str(), self.bound_object_name.as_str()) {
            ("", "") => {}
            (_, "") => {
                return Err(Failure::new(
                    "--bound-object-name is required if --bound-object-kind is provided",
                ));
            }
            (kind @ ("Pod" | "Secret" | "Node"), name) => {
                let mut bound = json!({"apiVersion": "v1", "kind": kind, "name": name});
                if !self.bound_object_uid.is_empty() {
                    bound["uid"] = json!(self.bound_object_uid);
                }
                spec["boundObjectRef"] = bound;
            }
            (kind, _) => {
                return Err(Failure::new(format!(
                    "supported --bound-object-kind values are Node, Pod, Secret, not {kind}"
                )));
            }
        }
        let namespace = connection.default_namespace();
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{}/token", self.name);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let answer = connection.post(&path, &request).await.map_err(|failure| match failure {
            Failure::Server(status) => Failure::new(format!("failed to create token: {}", status.message)),
            other => other,
        })?;
        match Format::parse(&self.flags(), false)? {
            Format::Human { .. } => println!("{}", answer["status"]["token"].as_str().unwrap_or_default()),
            format => format.print(&answer)?,
        }
        Ok(())
    }

    fn flags(&self) -> Flags {
        self.common.change.output_flags()
    }
}
