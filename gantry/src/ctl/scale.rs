//! `gantry scale`: how many replicas a workload has.

use serde_json::json;

use super::connection::Connection;
use super::resources::Resources;
use super::{Outcome, Scope};

/// Flags of `scale`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME…, TYPE/NAME…
    #[arg(required = true)]
    words: Vec<String>,
    /// The number of replicas.
    #[arg(long, value_name = "COUNT")]
    replicas: u32,
    #[command(flatten)]
    scope: Scope,
}

/// Sets replicas through the scale subresource.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let namespace = connection.namespace(&arguments.scope);
    for (resource, name) in resources.select(&arguments.words)? {
        let name =
            name.ok_or_else(|| anyhow::anyhow!("resource(s) were provided, but no name was specified"))?;
        let path = format!("{}/scale", resource.object(&namespace, &name));
        let patch = json!({"spec": {"replicas": arguments.replicas}});
        connection.patch(&path, "application/merge-patch+json", &patch).await?;
        println!("{}/{name} scaled", resource.singular_name());
    }
    Ok(())
}
