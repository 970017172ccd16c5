//! What drivers offer.

use serde_json::{Value, json};

use super::{each, label, name_of, pool_name, unique};
use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, entries, list, text};
use crate::strategies::storage;
use crate::strategy::{Context, Strategy};

const MAX_DEVICES: usize = 128;
/// Devices with taints or counters take more room.
const MAX_LARGE_DEVICES: usize = 64;
const MAX_FACTS: usize = 32;
const MAX_VALUE_BYTES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const PLACES: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// Devices of one pool of one driver.
pub struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        storage::driver_name(&mut causes, "spec.driver", &spec["driver"]);
        validate_pool(&mut causes, &spec["pool"]);
        validate_place(&mut causes, spec);
        if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
            let detail = "only one of `sharedCounters` or `devices` is allowed";
            causes.push(Cause::invalid("spec", &json!(""), detail));
        }
        let devices = list(spec, "devices");
        let large = |device: &Value| {
            ["taints", "consumesCounters"].iter().any(|field| !list(device, field).is_empty())
        };
        let max = if devices.iter().any(large) { MAX_LARGE_DEVICES } else { MAX_DEVICES };
        let alone = spec["perDeviceNodeSelection"] == true;
        each(&mut causes, "spec.devices", devices, max, |causes, path, device| {
            validate_device(causes, path, device, alone);
        });
        unique(&mut causes, "spec.devices", devices, name_of);
        let counters = list(spec, "sharedCounters");
        each(&mut causes, "spec.sharedCounters", counters, MAX_COUNTER_SETS, |causes, path, set| {
            counter_set(causes, path, set, "name");
        });
        unique(&mut causes, "spec.sharedCounters", counters, name_of);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (field, pointer) in
            [("pool.name", "/pool/name"), ("driver", "/driver"), ("nodeName", "/nodeName")]
        {
            let value = |object: &Value| object["spec"].pointer(pointer).cloned().unwrap_or_default();
            check::immutable(&mut causes, &format!("spec.{field}"), &value(object), &value(old));
        }
        causes
    }
}

fn validate_pool(causes: &mut Vec<Cause>, pool: &Value) {
    pool_name(causes, "spec.pool.name", &pool["name"]);
    let number = |field: &str| pool[field].as_i64().unwrap_or_default();
    if number("resourceSliceCount") <= 0 {
        let value = json!(number("resourceSliceCount"));
        causes.push(Cause::invalid("spec.pool.resourceSliceCount", &value, "must be greater than zero"));
    }
    if number("generation") < 0 {
        let detail = "must be greater than or equal to zero";
        causes.push(Cause::invalid("spec.pool.generation", &pool["generation"], detail));
    }
}

/// Where the devices can be reached from.
fn validate_place(causes: &mut Vec<Cause>, spec: &Value) {
    let mut set = Vec::new();
    if let Some(name) = spec["nodeName"].as_str() {
        let (field, value) = ("spec.nodeName", &spec["nodeName"]);
        if name.is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            causes.push(Cause::invalid(field, value, detail));
        } else {
            set.push("`nodeName`");
            check::rules(causes, field, value, names::dns1123_subdomain(name));
        }
    }
    if !spec["nodeSelector"].is_null() {
        set.push("`nodeSelector`");
        let terms = &spec["nodeSelector"]["nodeSelectorTerms"];
        if terms.as_array().map_or(0, Vec::len) != 1 {
            let detail = "must have exactly one node selector term";
            causes.push(Cause::invalid("spec.nodeSelector.nodeSelectorTerms", terms, detail));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        match spec[field].as_bool() {
            Some(true) => set.push(shown),
            Some(false) => {
                let detail = "must be either unset or set to true";
                causes.push(Cause::invalid(format!("spec.{field}"), &spec[field], detail));
            }
            None => {}
        }
    }
    match set.len() {
        0 => causes.push(Cause::required("spec", PLACES)),
        1 => {}
        _ => {
            let shown = json!(format!("{{{}}}", set.join(", ")));
            causes.push(Cause::invalid("spec", &shown, &format!("{PLACES}, but multiple fields are set")));
        }
    }
}

fn validate_device(causes: &mut Vec<Cause>, path: &str, device: &Value, alone: bool) {
    label(causes, &format!("{path}.name"), &device["name"]);
    let total = entries(&device["attributes"]).count() + entries(&device["capacity"]).count();
    if total > MAX_FACTS {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_FACTS}");
        causes.push(Cause::invalid(path, &json!(total), &detail));
    }
    for (key, attribute) in entries(&device["attributes"]) {
        let field = format!("{path}.attributes[{key}]");
        fact_name(causes, &field, key);
        validate_attribute(causes, &field, attribute);
    }
    for (key, capacity) in entries(&device["capacity"]) {
        let field = format!("{path}.capacity[{key}]");
        fact_name(causes, &field, key);
        if !capacity["requestPolicy"].is_null() && device["allowMultipleAllocations"] != true {
            let detail = "allowMultipleAllocations must be true";
            causes.push(Cause::forbidden(format!("{field}.requestPolicy"), detail));
        }
    }
    for (at, taint) in list(device, "taints").iter().enumerate() {
        validate_taint(causes, &format!("{path}.taints[{at}]"), taint);
    }
    for (at, set) in list(device, "consumesCounters").iter().enumerate() {
        counter_set(causes, &format!("{path}.consumesCounters[{at}]"), set, "counterSet");
    }
    device_place(causes, path, device, alone);
}

fn device_place(causes: &mut Vec<Cause>, path: &str, device: &Value, alone: bool) {
    let set =
        ["nodeName", "nodeSelector", "allNodes"].iter().filter(|field| !device[**field].is_null()).count();
    if !alone && set > 0 {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` \
            is set to true in the ResourceSlice spec";
        causes.push(Cause::invalid(path, &Value::Null, detail));
    } else if alone && set != 1 {
        let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
            `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        causes.push(if set == 0 {
            Cause::required(path, detail)
        } else {
            Cause::invalid(path, device, detail)
        });
    }
}

/// `NAME` or `DOMAIN/NAME`, where the name is an identifier of C.
fn fact_name(causes: &mut Vec<Cause>, field: &str, key: &str) {
    const MAX_NAME_BYTES: usize = 32;
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    if let Some(domain) = domain {
        check::rules(causes, field, &json!(domain), names::dns1123_subdomain(domain));
    }
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() {
        causes.push(Cause::required(field, "name required"));
    } else if !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string \
            of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
            validation is '[A-Za-z_][A-Za-z0-9_]*')";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
    if name.len() > MAX_NAME_BYTES {
        causes.push(Cause::too_long(field, MAX_NAME_BYTES));
    }
}

fn validate_attribute(causes: &mut Vec<Cause>, field: &str, attribute: &Value) {
    let kinds = ["bool", "int", "string", "version"];
    let set = kinds.iter().filter(|kind| !attribute[**kind].is_null()).count();
    for kind in ["string", "version"] {
        if text(attribute, kind).len() > MAX_VALUE_BYTES {
            causes.push(Cause::too_long(format!("{field}.{kind}"), MAX_VALUE_BYTES));
        }
    }
    if set != 1 {
        let shown = if set == 0 { json!("") } else { attribute.clone() };
        causes.push(Cause::invalid(field, &shown, "exactly one value must be specified"));
    }
}

fn validate_taint(causes: &mut Vec<Cause>, path: &str, taint: &Value) {
    let key = text(taint, "key");
    check::rules(causes, &format!("{path}.key"), &json!(key), names::qualified_name(key));
    check::optional(causes, &format!("{path}.value"), &taint["value"], names::label_value);
    let effects = ["NoExecute", "NoSchedule", "None"];
    check::one_of(causes, &format!("{path}.effect"), &taint["effect"], &effects);
}

fn counter_set(causes: &mut Vec<Cause>, path: &str, set: &Value, key: &str) {
    check::required(causes, &format!("{path}.{key}"), &set[key], Some(names::dns1123_label));
    let field = format!("{path}.counters");
    if entries(&set["counters"]).next().is_none() {
        causes.push(Cause::required(&field, ""));
    }
    for (name, _) in entries(&set["counters"]) {
        check::rules(causes, &format!("{field}[{name}]"), &json!(name), names::dns1123_label(name));
    }
}
