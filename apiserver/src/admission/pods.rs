//! What the cluster decides about every pod: how long it survives a sick node, and its priority.

use api::strategies::scheduling::SYSTEM_CLASSES;
use api::{Status, object};
use serde_json::{Value, json};

use super::Attributes;

/// Seconds a pod stays on a node that is not ready or not reachable (upstream's default).
const TOLERATION_SECONDS: i64 = 300;
const SICK_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds the two tolerations unless the pod has an opinion.
pub(super) async fn default_toleration_seconds(_: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let spec = object::section(pod, "spec");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Value::Array(list) = tolerations else { return Ok(()) };
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
    Ok(())
}

/// A changed pod that does not mention its priority keeps it: who replaces a pod need not know what was computed.
fn keep_priority(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            object::section(pod, "spec").insert(field.to_owned(), old["spec"][field].clone());
        }
    }
}

/// Computes `spec.priority`; a pod may name its class, never its number.
pub(super) async fn priority(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if let Some(old) = attributes.old {
        keep_priority(pod, old);
        return Ok(());
    }
    let forbidden = |pod: &Value, detail: &str| Err(attributes.forbidden(pod, detail));
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let (value, preemption) = if class.is_empty() {
        (0, "PreemptLowerPriority".to_owned())
    } else if let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(name, ..)| *name == class) {
        (*value, "PreemptLowerPriority".to_owned())
    } else {
        match attributes.stored(("scheduling.k8s.io", "priorityclasses"), None, &class).await? {
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
    Ok(())
}
