//! `componentstatuses`: the health of the parts of the control plane, computed when asked.
//!
//! Deprecated upstream since 1.19 but still served. Scheduler and controllers run beside the server, which
//! cannot ask them, so the store is the one component listed.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Reason, Status, object};
use axum::body::Body;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use crate::call::Call;
use crate::chain::method_not_allowed;
use crate::negotiation::negotiate;
use crate::output;

/// Answers get and list.
pub(crate) fn respond(call: &Arc<Call>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    if !call.kind.verbs.contains(&call.info.verb) || !call.info.subresource.is_empty() {
        return Err(method_not_allowed());
    }
    call.warn("v1 ComponentStatus is deprecated in v1.19+");
    let all = [store(call)];
    if call.info.verb == "get" {
        let found = all.iter().find(|component| object::name(component) == call.info.name);
        let text = || format!("Component not found: {}", call.info.name);
        let missing = || Status::new(Reason::InternalError, text());
        let found = found.ok_or_else(missing)?;
        return output::computed(call, headers, found.clone());
    }
    let labels = LabelSelector::parse(&call.options.label_selector)?;
    let items: Vec<Value> = all.into_iter().filter(|component| labels.matches_object(component)).collect();
    output::list(call, call.pretty(negotiate(&call.kind, headers)?), json!({}), items)
}

/// Upstream's name for the store is kept: scripts look for it.
fn store(call: &Call) -> Value {
    let healthy = call.server.store.revision() > 0;
    let mut condition = json!({"type": "Healthy", "status": if healthy { "True" } else { "False" }});
    let (key, text) = if healthy { ("message", "ok") } else { ("error", "the store has not opened yet") };
    condition[key] = text.into();
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": "etcd-0"}, "conditions": [condition],
    })
}
