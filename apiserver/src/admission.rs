//! Admission: an ordered table of rules that look at more than one object, or fill in what the cluster
//! decides.
//!
//! Entry points: [`on_create`] and [`on_update`]. Order matters: the namespace must exist before
//! anything is looked up in it, and mutations come before validation.

mod certificates;
mod namespace_lifecycle;
mod pods;
mod service_account;

use api::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::call::Call;
use crate::storage::Operation;

pub(crate) use namespace_lifecycle::IMMORTAL;

/// A rule: may change the object, and may return store checks that must hold when the object is written.
type Rule = for<'a> fn(&'a Call, &'a mut Value) -> BoxFuture<'a, Result<Vec<Operation>, Status>>;

/// Names are upstream's plugin names.
const ON_CREATE: &[(&str, Rule)] = &[
    // First, so that everything in a missing namespace is a plain 404.
    ("NamespaceLifecycle", |call, object| Box::pin(namespace_lifecycle::admit(call, object))),
    // Adds volumes and mounts, which validation then sees.
    ("ServiceAccount", |call, object| Box::pin(service_account::admit(call, object))),
    ("DefaultTolerationSeconds", |call, object| Box::pin(pods::default_toleration_seconds(call, object))),
    ("Priority", |call, object| Box::pin(pods::priority(call, object))),
    ("CertificateRequester", |call, object| Box::pin(certificates::requester(call, object))),
];

/// Runs all rules for a new object; the answer is what the write must be conditional on.
pub(crate) async fn on_create(call: &Call, object: &mut Value) -> Result<Vec<Operation>, Status> {
    let mut checks = Vec::new();
    for (plugin, rule) in ON_CREATE {
        let more = rule(call, object).await.inspect_err(|status| {
            tracing::debug!(plugin, message = status.message, "admission refused");
        })?;
        checks.extend(more);
    }
    Ok(checks)
}

/// Runs the rules that also hold for changed objects.
pub(crate) async fn on_update(call: &Call, object: &mut Value, old: &Value) -> Result<(), Status> {
    if is_pod(call) {
        pods::keep_priority(object, old);
        pods::default_toleration_seconds(call, object).await?;
    }
    Ok(())
}

/// Whether the call is about pods themselves.
fn is_pod(call: &Call) -> bool {
    call.stored.group.is_empty() && call.stored.kind == "Pod" && call.info.subresource.is_empty()
}
