//! Budgets and quotas.

use serde_json::Value;

use super::{Column, age, name, number, text};
use crate::quantity;

pub(in crate::kinds) fn pod_disruption_budget() -> Vec<Column> {
    let bound = |field: &'static str| {
        move |budget: &Value| match &budget["spec"][field] {
            Value::Null => "N/A".to_owned(),
            Value::String(percent) => percent.clone(),
            count => count.to_string(),
        }
    };
    vec![
        name(),
        text("Min Available", "The minimum number of pods that must be available.", bound("minAvailable")),
        text(
            "Max Unavailable",
            "The maximum number of pods that may be unavailable.",
            bound("maxUnavailable"),
        ),
        number(
            "Allowed Disruptions",
            "Calculated number of pods that may be disrupted at this time.",
            "/status/disruptionsAllowed",
        ),
        age(),
    ]
}

pub(in crate::kinds) fn resource_quota() -> Vec<Column> {
    vec![
        name(),
        text("Request", "Counts and requests: used, of the most allowed.", |quota| used(quota, false)),
        text("Limit", "Limits: used, of the most allowed.", |quota| used(quota, true)),
        age(),
    ]
}

/// `name: used/hard` of every resource, limits of containers apart from the others.
fn used(quota: &Value, limits: bool) -> String {
    let amount = |kind: &str, name: &str| {
        quantity::canonical(&quota["status"][kind][name]).unwrap_or_else(|| "0".to_owned())
    };
    let hard = quota["status"]["hard"].as_object().into_iter().flatten();
    hard.filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, _)| format!("{name}: {}/{}", amount("used", name), amount("hard", name)))
        .collect::<Vec<_>>()
        .join(", ")
}
