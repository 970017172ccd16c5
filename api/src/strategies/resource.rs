//! Rules of `resource.k8s.io`: devices, who offers them and who wants them (KEP-4381).
//!
//! Expressions in selectors are checked for length, not compiled.

mod claim;
mod slice;

pub use claim::{ResourceClaim, ResourceClaimTemplate};
pub use slice::ResourceSlice;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use super::storage;
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Upper bound of most lists of the group.
const MAX_ITEMS: usize = 32;
const MAX_EXPRESSION_BYTES: usize = 10 * 1024;
const MAX_PARAMETERS_BYTES: usize = 10 * 1024;

/// A kind of device.
pub struct DeviceClass;

impl Strategy for DeviceClass {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        selectors(&mut causes, "spec.selectors", list(spec, "selectors"));
        each(&mut causes, "spec.config", list(spec, "config"), MAX_ITEMS, configuration);
        let name = text(spec, "extendedResourceName");
        if !name.is_empty() && !is_extended(name) {
            let detail = "must be a valid extended resource name";
            causes.push(Cause::invalid("spec.extendedResourceName", &json!(name), detail));
        }
        causes
    }
}

/// A resource that is not Kubernetes' own, such as `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    let quota = format!("requests.{name}");
    !native && !name.starts_with("requests.") && names::qualified_name(&quota).is_empty()
}

/// Checks the items of a list of limited length.
fn each(
    causes: &mut Vec<Cause>,
    field: &str,
    items: &[Value],
    max: usize,
    check: impl Fn(&mut Vec<Cause>, &str, &Value),
) {
    if items.len() > max {
        causes.push(Cause::too_many(field, items.len(), max));
    }
    for (at, item) in items.iter().enumerate() {
        check(causes, &format!("{field}[{at}]"), item);
    }
}

/// Items that have the same key as one before them.
fn unique<'a>(causes: &mut Vec<Cause>, field: &str, items: &'a [Value], key: impl Fn(&'a Value) -> &'a str) {
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        if !seen.insert(key(item)) {
            causes.push(Cause::duplicate(format!("{field}[{at}]"), &json!(key(item))));
        }
    }
}

fn name_of(item: &Value) -> &str {
    text(item, "name")
}

fn selectors(causes: &mut Vec<Cause>, field: &str, items: &[Value]) {
    each(causes, field, items, MAX_ITEMS, |causes, path, selector| {
        let cel = &selector["cel"];
        if cel.is_null() {
            causes.push(Cause::required(format!("{path}.cel"), ""));
        } else if text(cel, "expression").len() > MAX_EXPRESSION_BYTES {
            causes.push(Cause::too_long(format!("{path}.cel.expression"), MAX_EXPRESSION_BYTES));
        }
    });
}

/// Settings for a driver, opaque to everybody else.
fn configuration(causes: &mut Vec<Cause>, path: &str, config: &Value) {
    let opaque = &config["opaque"];
    if opaque.is_null() {
        causes.push(Cause::required(format!("{path}.opaque"), ""));
        return;
    }
    storage::driver_name(causes, &format!("{path}.opaque.driver"), &opaque["driver"]);
    let (field, parameters) = (format!("{path}.opaque.parameters"), &opaque["parameters"]);
    if parameters.is_null() {
        causes.push(Cause::required(field, ""));
    } else if !parameters.is_object() {
        causes.push(Cause::invalid(field, parameters, "must be a valid JSON object"));
    } else if parameters.to_string().len() > MAX_PARAMETERS_BYTES {
        causes.push(Cause::too_long(field, MAX_PARAMETERS_BYTES));
    }
}

/// A label that must be there.
fn label(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let name = value.as_str().unwrap_or_default();
    check::rules(causes, field, &json!(name), names::dns1123_label(name));
}

/// The name of a pool: domain names between slashes.
fn pool_name(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    const MAX_BYTES: usize = 253;
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
        return;
    }
    if name.len() > MAX_BYTES {
        causes.push(Cause::too_long(field, MAX_BYTES));
    }
    for part in name.split('/') {
        check::rules(causes, field, &json!(part), names::dns1123_subdomain(part));
    }
}
