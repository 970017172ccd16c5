//! RuntimeClass: a pod's class exists, and says what running it costs and where it can run (KEP-585, KEP-688).

use api::pod_resources::list;
use api::{Status, object};
use serde_json::Value;

use super::pod_toleration_restriction::merged;
use super::{Attributes, pods};

async fn class(attributes: &Attributes<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let found = attributes.stored(("node.k8s.io", "runtimeclasses"), None, name).await?;
    let detail = format!("pod rejected: RuntimeClass {name:?} not found");
    found.map(Some).ok_or_else(|| attributes.forbidden(pod, &detail))
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Fills in overhead, node selector and tolerations.
pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let Some(class) = class(attributes, pod).await? else { return Ok(()) };
    if class["overhead"].is_object() {
        let fixed = &class["overhead"]["podFixed"];
        if pod["spec"]["overhead"].is_object() && list(&pod["spec"]["overhead"]) != list(fixed) {
            return Err(attributes.forbidden(pod, MISMATCH));
        }
        pod["spec"]["overhead"] = fixed.clone();
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        let known = &pod["spec"]["nodeSelector"][key];
        if !known.is_null() && known != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let detail = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(known)
            );
            return Err(attributes.forbidden(pod, &detail));
        }
        object::section(pod, "spec")
            .entry("nodeSelector")
            .or_insert_with(|| Value::Object(Default::default()))[key] = value.clone();
    }
    if let Some(more) = class["scheduling"]["tolerations"].as_array() {
        let tolerations = pods::tolerations(pod);
        *tolerations = merged(tolerations, more);
    }
    Ok(())
}

/// Only a class gives a pod overhead.
pub(super) async fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let class = class(attributes, pod).await?;
    let overhead = &pod["spec"]["overhead"];
    match class.as_ref().map(|class| &class["overhead"]).filter(|overhead| overhead.is_object()) {
        Some(of_class) if list(&of_class["podFixed"]) != list(overhead) => {
            Err(attributes.forbidden(pod, MISMATCH))
        }
        None if overhead.is_object() => {
            let detail = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(attributes.forbidden(pod, detail))
        }
        _ => Ok(()),
    }
}
