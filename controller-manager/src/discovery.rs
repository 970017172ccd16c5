//! Which kinds the API server serves, for controllers that work on all of them.

use client::execute::{Act, Failure};
use client::key::Key;
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};

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

/// Every kind whose objects can be listed and deleted, in order of group and plural.
///
/// # Errors
/// When the server does not answer.
pub async fn deletable(client: &kube::Client) -> Result<Vec<Served>, Failure> {
    let discovery = Discovery::new(client.clone()).run().await.map_err(|error| {
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
    // The client forgets the order of groups. What is said about kinds must be said the same way twice:
    // a status that differs is written, and its writing wakes its writer.
    served.sort_by(|a, b| {
        (&a.resource.group, &a.resource.plural).cmp(&(&b.resource.group, &b.resource.plural))
    });
    Ok(served)
}
