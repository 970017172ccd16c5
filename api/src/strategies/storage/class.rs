//! Classes of storage, and how much of a class is left.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::names;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::strategies::check::{self, list, text};
use crate::strategy::{Context, Strategy};

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

/// A way to get volumes.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        provisioner(&mut causes, "provisioner", &object["provisioner"]);
        parameters(&mut causes, &object["parameters"]);
        let policies = ["Delete", "Retain"];
        check::supported(&mut causes, "reclaimPolicy", &object["reclaimPolicy"], &policies);
        let (field, mode) = ("volumeBindingMode", &object["volumeBindingMode"]);
        if mode.is_null() {
            causes.push(Cause::required(field, ""));
        }
        check::supported(&mut causes, field, mode, &["Immediate", "WaitForFirstConsumer"]);
        topologies(&mut causes, list(object, "allowedTopologies"));
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = unchanged(object, old, &["parameters", "provisioner", "reclaimPolicy"]);
        let (new, old) = (&object["volumeBindingMode"], &old["volumeBindingMode"]);
        check::immutable(&mut causes, "volumeBindingMode", new, old);
        causes
    }
}

/// Fields that others have already acted upon.
fn unchanged(object: &Value, old: &Value, fields: &[&str]) -> Vec<Cause> {
    let changed = fields.iter().filter(|field| object[**field] != old[**field]);
    changed.map(|field| Cause::forbidden(*field, &format!("updates to {field} are forbidden."))).collect()
}

fn provisioner(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let name = value.as_str().unwrap_or_default().to_lowercase();
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else {
        check::rules(causes, field, &json!(name), names::qualified_name(&name));
    }
}

fn parameters(causes: &mut Vec<Cause>, map: &Value) {
    let field = "parameters";
    if map.as_object().is_some_and(|map| map.len() > MAX_PARAMETERS) {
        causes.push(Cause::too_long(field, MAX_PARAMETERS));
        return;
    }
    let mut total = 0;
    for (key, value) in check::entries(map) {
        if key.is_empty() {
            causes.push(Cause::invalid(field, &json!(key), "field can not be empty."));
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > MAX_PARAMETER_BYTES {
        causes.push(Cause::too_long(field, MAX_PARAMETER_BYTES));
    }
}

fn topologies(causes: &mut Vec<Cause>, terms: &[Value]) {
    let mut seen: Vec<BTreeMap<&str, Vec<&str>>> = Vec::new();
    for (at, term) in terms.iter().enumerate() {
        let field = format!("allowedTopologies[{at}].matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let field = format!("{field}[{index}]");
            let key = text(expression, "key");
            if keys.contains_key(key) {
                causes.push(Cause::duplicate(format!("{field}.key"), &json!(key)));
            }
            keys.insert(key, topology_values(causes, &field, expression));
            check::rules(causes, &format!("{field}.key"), &json!(key), names::qualified_name(key));
        }
        if seen.contains(&keys) {
            causes.push(Cause::duplicate(field, &json!("")));
        }
        seen.push(keys);
    }
}

fn topology_values<'a>(causes: &mut Vec<Cause>, path: &str, expression: &'a Value) -> Vec<&'a str> {
    let values = list(expression, "values");
    if values.is_empty() {
        causes.push(Cause::required(format!("{path}.values"), ""));
    }
    let mut known: Vec<&str> = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let word = value.as_str().unwrap_or_default();
        if known.contains(&word) {
            causes.push(Cause::duplicate(format!("{path}.values[{at}]"), value));
        }
        known.push(word);
    }
    known.sort_unstable();
    known
}

/// Properties of a volume that may be changed while it is used (KEP-3751).
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        provisioner(&mut causes, "driverName", &object["driverName"]);
        parameters(&mut causes, &object["parameters"]);
        if check::entries(&object["parameters"]).next().is_none() {
            causes.push(Cause::required("parameters", "must contain at least one key/value pair"));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        unchanged(object, old, &["driverName", "parameters"])
    }
}

/// How much a driver can still give in a part of the cluster.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::label_selector(&mut causes, "nodeTopology", &object["nodeTopology"]);
        let class = text(object, "storageClassName");
        check::rules(&mut causes, "storageClassName", &json!(class), names::dns1123_subdomain(class));
        let capacity = &object["capacity"];
        if Quantity::from_json(capacity).is_ok_and(|amount| amount < Quantity::ZERO) {
            causes.push(Cause::invalid("capacity", capacity, check::NEGATIVE));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for field in ["nodeTopology", "storageClassName"] {
            check::immutable(&mut causes, field, &object[field], &old[field]);
        }
        causes
    }
}
