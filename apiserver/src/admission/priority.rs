//! Priority: a pod's class becomes its number and its way with others; a pod may name its class, never its number.

use api::strategies::scheduling::SYSTEM_CLASSES;
use api::{Status, object};
use serde_json::Value;

use super::Attributes;

const CLASSES: (&str, &str) = ("scheduling.k8s.io", "priorityclasses");
const PREEMPT: &str = "PreemptLowerPriority";

/// Computes `spec.priority` and `spec.preemptionPolicy` of a new pod; a changed one keeps them.
pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if attributes.call.kind.plural != "pods" {
        return Ok(());
    }
    if let Some(old) = attributes.old {
        keep(pod, old);
        return Ok(());
    }
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let (value, policy) = if named.is_empty() {
        match default_class(attributes).await? {
            Some(class) => {
                pod["spec"]["priorityClassName"] = object::name(&class).into();
                of_class(&class)
            }
            None => (0, PREEMPT.to_owned()),
        }
    } else if let Some(class) = attributes.stored(CLASSES, None, &named).await? {
        of_class(&class)
    } else if let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(name, ..)| *name == named) {
        (*value, PREEMPT.to_owned())
    } else {
        let detail = format!("no PriorityClass with name {named} was found");
        return Err(attributes.forbidden(pod, &detail));
    };
    if let Some(sent) = pod["spec"]["priority"].as_i64().filter(|sent| *sent != value) {
        let detail = format!(
            "the integer value of priority ({sent}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(pod, &detail));
    }
    if let Some(sent) = pod["spec"]["preemptionPolicy"].as_str().filter(|sent| *sent != policy) {
        let detail = format!(
            "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(pod, &detail));
    }
    let spec = object::section(pod, "spec");
    spec.insert("priority".to_owned(), value.into());
    spec.insert("preemptionPolicy".to_owned(), policy.into());
    Ok(())
}

/// Who replaces a pod need not know what was computed.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            object::section(pod, "spec").insert(field.to_owned(), old["spec"][field].clone());
        }
    }
}

fn of_class(class: &Value) -> (i64, String) {
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPT);
    (class["value"].as_i64().unwrap_or_default(), policy.to_owned())
}

/// The class of pods that name none. Two could only come of a race; the lower one counts then.
async fn default_class(attributes: &Attributes<'_>) -> Result<Option<Value>, Status> {
    let mut classes = attributes.stored_all(CLASSES, None).await?;
    classes.retain(|class| class["globalDefault"] == true);
    Ok(classes.into_iter().min_by_key(|class| class["value"].as_i64()))
}

/// There is one default class at most.
pub(super) async fn validate(attributes: &Attributes<'_>, class: &Value) -> Result<(), Status> {
    if attributes.call.kind.plural != "priorityclasses" || class["globalDefault"] != true {
        return Ok(());
    }
    match default_class(attributes).await? {
        Some(other) if object::name(&other) != object::name(class) => {
            let detail = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                object::name(&other)
            );
            Err(attributes.forbidden(class, &detail))
        }
        _ => Ok(()),
    }
}
