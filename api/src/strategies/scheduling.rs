//! Rules of `scheduling.k8s.io`.

use serde_json::Value;

use super::check;
use crate::object;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Names with this prefix are the cluster's own.
const SYSTEM_PREFIX: &str = "system-";
/// Larger values are for the cluster's own classes.
const MAX_USER_VALUE: i64 = 1_000_000_000;
/// The cluster's own classes, each with its value and what it is for.
pub const SYSTEM_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// How much a pod matters.
pub struct PriorityClass;

impl Strategy for PriorityClass {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let value = object["value"].as_i64().unwrap_or_default();
        if object::name(object).starts_with(SYSTEM_PREFIX) {
            if let Some(error) = not_a_system_class(object, value) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {error}"
                );
                causes.push(Cause::forbidden("metadata.name", &detail));
            }
        } else if value > MAX_USER_VALUE {
            let detail = format!("maximum allowed value of a user defined priority is {MAX_USER_VALUE}");
            causes.push(Cause::forbidden("value", &detail));
        }
        if !object["preemptionPolicy"].is_null() {
            let allowed = ["PreemptLowerPriority", "Never"];
            check::one_of(&mut causes, "preemptionPolicy", &object["preemptionPolicy"], &allowed);
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if object["value"] != old["value"] {
            causes.push(Cause::forbidden("value", "may not be changed in an update."));
        }
        let (new, old) = (&object["preemptionPolicy"], &old["preemptionPolicy"]);
        check::immutable(&mut causes, "preemptionPolicy", new, old);
        causes
    }

    fn generation_changes(&self, _object: &Value, _old: &Value) -> bool {
        false
    }
}

fn not_a_system_class(object: &Value, value: i64) -> Option<String> {
    let name = object::name(object);
    let Some((_, wanted, _)) = SYSTEM_CLASSES.iter().find(|(known, ..)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *wanted {
        return Some(format!("value of {name} PriorityClass must be {wanted}"));
    }
    (object["globalDefault"] == true).then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
