//! API services: an object per version that this server serves, as Kubernetes' aggregation layer keeps them. Those
//! that name another server's Service are [`crate::aggregator`]'s.
//!
//! Entry points: [`reconcile`] at start, then [`keep`] as long as the server lives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::aggregation_priority;
use api::{Status, object};
use serde_json::{Value, json};

use crate::bootstrap;
use crate::call::{Call, Server, parse, store_status};
use crate::deletion::{self, DeleteOptions};

const GROUP: &str = "apiregistration.k8s.io";
const VERSION: &str = "v1";
const PLURAL: &str = "apiservices";
/// Marks the objects the server keeps itself: `onstart` or `true`.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Pause before another attempt after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Follows the table of kinds.
pub(crate) async fn keep(server: Arc<Server>) {
    let mut served = server.served.subscribe();
    loop {
        if let Err(status) = reconcile(&server).await {
            tracing::warn!(message = status.message, "the API services could not be kept");
            server.clock.sleep(RETRY).await;
        } else if served.changed().await.is_err() {
            return;
        }
    }
}

/// Makes what is missing, and removes what the server kept for versions that are served no more.
pub(crate) async fn reconcile(server: &Arc<Server>) -> Result<(), Status> {
    let mut served = BTreeSet::new();
    for listing in server.kinds().discovery_order() {
        // The group of API services itself has none.
        for version in listing.versions.iter().filter(|_| listing.group != GROUP) {
            let wanted = service(&listing.group, &version.version);
            served.insert(object::name(&wanted).to_owned());
            bootstrap::ensure(server, (GROUP, VERSION, PLURAL), "", wanted, |_, _| false).await?;
        }
    }
    let Some(kind) = server.kinds().resource(GROUP, VERSION, PLURAL).cloned() else { return Ok(()) };
    let page = server.store.list(&kind.prefix(None), None, 0, None).await.map_err(store_status)?;
    for entry in &page.entries {
        let stored = parse(&entry.bytes)?;
        let name = object::name(&stored);
        if stored["metadata"]["labels"][AUTOMANAGED].is_string() && !served.contains(name) {
            let call = Call::internal(server, &kind, "", name);
            deletion::delete(&call, name, &DeleteOptions::default()).await?;
        }
    }
    Ok(())
}

fn service(group: &str, version: &str) -> Value {
    let ((of_group, of_version), fixed) = aggregation_priority(group, version);
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": {AUTOMANAGED: if fixed { "onstart" } else { "true" }},
        },
        "spec": spec,
    })
}
