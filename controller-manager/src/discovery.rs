//! Which kinds the API server serves, for controllers that work on all of them: one live set, with a view of
//! the metadata of each, shared by all.
//!
//! Entry point: [`Kinds`]. Built-in kinds are asked for once; custom ones come and go with their definitions
//! (`definition`), without asking again.

mod definition;
mod kinds;

use client::execute::{Act, Failure};
use client::key::Key;
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};

pub use kinds::{Kinds, Metadata};

/// One served kind, at its preferred version.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether objects can be watched.
    pub watchable: bool,
}

/// Every kind whose objects can be listed and deleted.
async fn deletable(client: &kube::Client) -> Result<Vec<Served>, Failure> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await.map_err(|error| {
        let everything = ApiResource {
            group: String::new(),
            version: String::new(),
            api_version: String::new(),
            kind: String::new(),
            plural: "*".to_owned(),
        };
        Failure::new(Act::Observe, &everything, Key::default(), &error)
    })?;
    let mut served = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::DELETE)
            {
                let namespaced = capabilities.scope == Scope::Namespaced;
                let watchable = capabilities.supports_operation(verbs::WATCH);
                served.push(Served { resource, namespaced, watchable });
            }
        }
    }
    Ok(served)
}
