//! `componentstatuses`: the health of the parts of the control plane, computed when asked.
//!
//! Deprecated upstream since 1.19 but still served. Listed are the store, and the parts that run beside the server in
//! its process: one of them is ill once a task of it has panicked.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Reason, Status, object};
use axum::body::Body;
use component_base::shutdown::Shutdown;
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
    let all: Vec<Value> = call
        .server
        .config
        .parts
        .iter()
        .map(|(name, part)| status(name, part_health(part)))
        .chain([store(call)])
        .collect();
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
    let opened = call.server.store.revision() > 0;
    status("etcd-0", if opened { Ok(()) } else { Err("the store has not opened yet") })
}

fn part_health(part: &Shutdown) -> Result<(), &'static str> {
    if part.has_panicked() { Err("a task of it panicked, as the log says: restart gantry") } else { Ok(()) }
}

fn status(name: &str, health: Result<(), &str>) -> Value {
    let condition = match health {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "error": why}),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": name}, "conditions": [condition],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_ill_once_a_task_of_it_panicked() {
        let part = Shutdown::new();
        assert_eq!(part_health(&part), Ok(()));
        assert!(part.spawn(async { panic!("on purpose") }).await.is_err());
        let told = status("scheduler", part_health(&part));
        assert_eq!(told["metadata"]["name"], "scheduler");
        assert_eq!(told["conditions"][0]["status"], "False");
        assert!(
            told["conditions"][0]["error"].as_str().is_some_and(|text| text.contains("panicked")),
            "{told}"
        );
    }
}
