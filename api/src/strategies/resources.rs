//! Names and amounts of resources, wherever they occur: containers, quotas, limit ranges.
//!
//! Source: `pkg/apis/core/helper` and the validation that uses it.

use serde_json::{Value, json};

use super::check;
use crate::names;
use crate::quantity::Quantity;
use crate::status::Cause;

const FOR_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const INTEGERS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// With those above, what a quota may count.
const AMOUNTS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// Whether a quota may count it; names with a slash are another matter.
pub(super) fn is_standard_for_quota(name: &str) -> bool {
    AMOUNTS.contains(&name) || INTEGERS.contains(&name) || is_quota_huge_page(name)
}

fn is_quota_huge_page(name: &str) -> bool {
    name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it may be promised more often than it exists: memory and CPU yes, devices and huge pages no.
pub(super) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// A device or the like, counted by somebody else.
fn is_extended(name: &str) -> bool {
    let in_quota = format!("requests.{name}");
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&in_quota).is_empty()
}

/// A name known to the system, or one with a domain; false if nothing more need be said of it.
pub(super) fn name(causes: &mut Vec<Cause>, field: &str, name: &str) -> bool {
    let broken = names::qualified_name(name);
    if !broken.is_empty() {
        check::rules(causes, field, &json!(name), broken);
        return false;
    }
    if !name.contains('/') && !is_standard_for_quota(name) && name != "storage" {
        let detail = "must be a standard resource type or fully qualified";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
    true
}

/// A name a container may ask for.
pub(super) fn container_name(causes: &mut Vec<Cause>, field: &str, resource: &str) {
    name(causes, field, resource);
    let detail = if !resource.contains('/') {
        let known = FOR_CONTAINERS.contains(&resource) || resource.starts_with("hugepages-");
        (!known).then_some("must be a standard resource for containers")
    } else {
        (!is_native(resource) && !is_extended(resource))
            .then_some("doesn't follow extended resource name standard")
    };
    causes.extend(detail.map(|detail| Cause::invalid(field, &json!(resource), detail)));
}

/// A name a quota may bound.
pub(super) fn quota_name(causes: &mut Vec<Cause>, field: &str, resource: &str) {
    name(causes, field, resource);
    if !resource.contains('/') && !is_standard_for_quota(resource) {
        causes.push(Cause::invalid(field, &json!(resource), "must be a standard resource for quota"));
    }
}

/// An amount that must be a quantity, not negative, and whole where only whole ones exist.
pub(super) fn amount(causes: &mut Vec<Cause>, field: &str, resource: &str, value: &Value) {
    match Quantity::from_json(value) {
        Ok(amount) => {
            if amount.is_negative() {
                causes.push(Cause::invalid(field, &json!(amount.to_string()), check::NEGATIVE));
            }
            let whole = INTEGERS.contains(&resource) || is_extended(resource);
            if whole && !amount.is_whole() {
                causes.push(Cause::invalid(field, &json!(amount.to_string()), "must be an integer"));
            }
        }
        Err(error) => causes.push(Cause::invalid(field, value, &error.to_string())),
    }
}
