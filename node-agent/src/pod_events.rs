//! Events about pods and this node, as `kubectl describe` shows them. Entry point: [`record`].

use client::plan::{EventDraft, EventType};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::node::Node;

/// Records an event about a pod, or about one of its containers.
pub fn record(
    node: &Node,
    pod: &Pod,
    container: Option<&str>,
    event_type: EventType,
    reason: &'static str,
    message: String,
) {
    let meta = &pod.metadata;
    let mut regarding = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    });
    if let Some(name) = container {
        let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let list =
            if inits.into_iter().any(|init| init.name == name) { "initContainers" } else { "containers" };
        regarding["fieldPath"] = json!(format!("spec.{list}{{{name}}}"));
    }
    node.recorder.record(EventDraft { regarding, event_type, reason, message });
}
