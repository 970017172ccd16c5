//! What the cluster decides about every pod: how long it survives a sick node, and its priority.

use api::strategies::scheduling::SYSTEM_CLASSES;
use api::{Status, object};
use serde_json::{Value, json};

use super::is_pod;
use crate::call::Call;
use crate::storage::Operation;

/// Seconds a pod stays on a node that is not ready or not reachable (upstream's default).
const TOLERATION_SECONDS: i64 = 300;
const SICK_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds the two tolerations unless the pod has an opinion.
pub(super) async fn default_toleration_seconds(
    call: &Call,
    pod: &mut Value,
) -> Result<Vec<Operation>, Status> {
    if !is_pod(call) {
        return Ok(Vec::new());
    }
    let spec = object::section(pod, "spec");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Value::Array(list) = tolerations else { return Ok(Vec::new()) };
    for taint in SICK_NODE_TAINTS {
        let tolerated = list.iter().any(|t| {
            let key = t["key"].as_str().unwrap_or_default();
            let effect = t["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
                             "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
    Ok(Vec::new())
}

/// A changed pod that does not mention its priority keeps it: who replaces a pod need not know what was computed.
pub(super) fn keep_priority(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            object::section(pod, "spec").insert(field.to_owned(), old["spec"][field].clone());
        }
    }
}

/// Computes `spec.priority`; a pod may name its class, never its number.
pub(super) async fn priority(call: &Call, pod: &mut Value) -> Result<Vec<Operation>, Status> {
    if !is_pod(call) {
        return Ok(Vec::new());
    }
    let forbidden = |pod: &Value, detail: &str| Err(Status::forbidden("", "pods", object::name(pod), detail));
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let (value, preemption) = if class.is_empty() {
        (0, "PreemptLowerPriority".to_owned())
    } else if let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(name, ..)| *name == class) {
        (*value, "PreemptLowerPriority".to_owned())
    } else {
        let key = api::names::storage_key("scheduling.k8s.io", "priorityclasses", None, &class);
        match call.server.stored(&key).await? {
            Some(found) => (
                found["value"].as_i64().unwrap_or_default(),
                found["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority").to_owned(),
            ),
            None => return forbidden(pod, &format!("no PriorityClass with name {class} was found")),
        }
    };
    if let Some(sent) = pod["spec"]["priority"].as_i64().filter(|sent| *sent != value) {
        let detail = format!(
            "the integer value of priority ({sent}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return forbidden(pod, &detail);
    }
    let spec = object::section(pod, "spec");
    spec.insert("priority".to_owned(), value.into());
    spec.entry("preemptionPolicy").or_insert_with(|| preemption.into());
    Ok(Vec::new())
}
