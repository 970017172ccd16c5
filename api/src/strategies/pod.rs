//! Rules of pods, and of the pod templates inside other kinds.
//!
//! `defaults` fills what depends on other fields, `spec` checks a specification, `container` and
//! `volume` its parts, `update` what may change in a pod that exists.

mod affinity;
mod container;
mod defaults;
mod spec;
mod update;
mod volume;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

pub(super) use affinity::node_selector;
pub(super) use container::{quantity, requirements};
pub(super) use defaults::{default_template, default_template_at};
pub(super) use spec::validate_tolerations;
pub(super) use volume::host_path;

/// A group of containers that live and die together.
pub struct Pod;

impl Strategy for Pod {
    fn answers_deleted(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        defaults::default_pod(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(object)});
        if !list(&object["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
        }
        object["status"] = status;
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        match context.subresource.as_str() {
            "ephemeralcontainers" => update::keep_ephemeral(object, old),
            "resize" => update::keep_resources(object, old),
            _ => {}
        }
        if context.subresource == "status" {
            let class = &old["status"]["qosClass"];
            if class.is_string()
                && let Some(status) = object.get_mut("status")
                && text(status, "qosClass").is_empty()
            {
                check::set(status, "qosClass", class.clone());
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        spec::validate(&mut causes, &object["spec"], "spec", spec::Owner::Pod);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        update::validate(object, old)
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        match subresource {
            "" => update::validate(object, old),
            "ephemeralcontainers" => update::validate_ephemeral(object, old),
            "resize" => update::validate_resize(object, old),
            "status" => update::validate_status(object, old),
            // `binding` and its like write what they alone may write.
            _ => Vec::new(),
        }
    }

    fn default_grace_period_seconds(&self, object: &Value) -> Option<u64> {
        let seconds = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        // A negative period, possible in old objects, means one second.
        Some(u64::try_from(seconds).unwrap_or(1))
    }

    fn deletes_at_once(&self, object: &Value) -> bool {
        let unscheduled = text(&object["spec"], "nodeName").is_empty();
        unscheduled || ["Succeeded", "Failed"].contains(&text(&object["status"], "phase"))
    }
}

/// Checks a `PodTemplateSpec` at `path`.
pub(super) fn validate_template(causes: &mut Vec<Cause>, template: &Value, path: &str) {
    let metadata = &template["metadata"];
    check::labels(causes, &format!("{path}.labels"), &metadata["labels"]);
    check::annotations(causes, &format!("{path}.annotations"), &metadata["annotations"]);
    spec::validate(causes, &template["spec"], &format!("{path}.spec"), spec::Owner::Template);
}

/// The class by which a node ranks pods when it runs short of memory (`Guaranteed`, `Burstable`,
/// `BestEffort`), from CPU and memory alone.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let mut requests: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut limits = requests.clone();
    let mut guaranteed = true;
    for container in list(spec, "containers").iter().chain(list(spec, "initContainers")) {
        let amounts = |kind: &str| -> BTreeMap<&str, Quantity> {
            ["cpu", "memory"]
                .into_iter()
                .filter_map(|name| {
                    let amount = Quantity::from_json(&container["resources"][kind][name]).ok()?;
                    (amount > Quantity::ZERO).then_some((name, amount))
                })
                .collect()
        };
        let limited = amounts("limits");
        guaranteed &= limited.len() == 2;
        for (sums, own) in [(&mut requests, amounts("requests")), (&mut limits, limited)] {
            for (name, amount) in own {
                let sum = sums.entry(name).or_insert(Quantity::ZERO);
                *sum = *sum + amount;
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
