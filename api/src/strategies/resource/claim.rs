//! Claims of devices, and the templates they are made of.

use serde_json::{Value, json};

use super::{MAX_ITEMS, configuration, each, label, name_of, pool_name, selectors, unique};
use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, list, text};
use crate::strategies::storage;
use crate::strategy::{Context, Strategy};

const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSUMERS: usize = 256;
const MODES: [&str; 2] = ["All", "ExactCount"];
const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// A wish for devices, and what it got.
pub struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        // What is stored cannot change, and needs no second look.
        let mut causes = Vec::new();
        if object["metadata"]["resourceVersion"].is_null() {
            validate_spec(&mut causes, "spec", &object["spec"]);
        }
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "spec", &object["spec"], &old["spec"]);
        if subresource == "status" {
            validate_status(&mut causes, object, old);
        }
        causes
    }
}

/// What claims of pods are made of.
pub struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if object["metadata"]["resourceVersion"].is_null() {
            let metadata = &object["spec"]["metadata"];
            check::annotations(&mut causes, "spec.metadata.annotations", &metadata["annotations"]);
            check::labels(&mut causes, "spec.metadata.labels", &metadata["labels"]);
            validate_spec(&mut causes, "spec.spec", &object["spec"]["spec"]);
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "spec", &object["spec"], &old["spec"]);
        causes
    }
}

fn validate_spec(causes: &mut Vec<Cause>, path: &str, spec: &Value) {
    let devices = &spec["devices"];
    let at = |field: &str| format!("{path}.devices.{field}");
    let requests = list(devices, "requests");
    each(causes, &at("requests"), requests, MAX_ITEMS, validate_request);
    unique(causes, &at("requests"), requests, name_of);
    each(causes, &at("constraints"), list(devices, "constraints"), MAX_ITEMS, |causes, path, constraint| {
        references(causes, path, constraint, requests);
        let attributes = ["matchAttribute", "distinctAttribute"];
        match attributes.iter().find(|field| !constraint[**field].is_null()) {
            Some(field) => qualified(causes, &format!("{path}.{field}"), &constraint[*field]),
            None => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, \
                    but multiple fields are set";
                causes.push(Cause::required(path, detail));
            }
        }
    });
    each(causes, &at("config"), list(devices, "config"), MAX_ITEMS, |causes, path, config| {
        references(causes, path, config, requests);
        configuration(causes, path, config);
    });
}

fn validate_request(causes: &mut Vec<Cause>, path: &str, request: &Value) {
    label(causes, &format!("{path}.name"), &request["name"]);
    let (exactly, alternatives) = (&request["exactly"], list(request, "firstAvailable"));
    match (exactly.is_null(), alternatives.is_empty()) {
        (true, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            causes.push(Cause::required(path, detail));
        }
        (false, false) => {
            let detail =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            causes.push(Cause::invalid(path, &Value::Null, detail));
        }
        (false, true) => validate_devices(causes, &format!("{path}.exactly"), exactly),
        (true, false) => {
            let field = format!("{path}.firstAvailable");
            each(causes, &field, alternatives, MAX_ALTERNATIVES, |causes, path, alternative| {
                label(causes, &format!("{path}.name"), &alternative["name"]);
                validate_devices(causes, path, alternative);
            });
            unique(causes, &field, alternatives, name_of);
        }
    }
}

fn validate_devices(causes: &mut Vec<Cause>, path: &str, request: &Value) {
    let class = format!("{path}.deviceClassName");
    check::required(causes, &class, &request["deviceClassName"], Some(names::dns1123_subdomain));
    selectors(causes, &format!("{path}.selectors"), list(request, "selectors"));
    let (mode, count) = (text(request, "allocationMode"), request["count"].as_i64().unwrap_or_default());
    let field = format!("{path}.count");
    match mode {
        "All" if count != 0 => {
            let detail = format!("must not be specified when allocationMode is '{mode}'");
            causes.push(Cause::invalid(field, &json!(count), &detail));
        }
        "ExactCount" if count <= 0 => {
            causes.push(Cause::invalid(field, &json!(count), "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        _ => causes.push(Cause::not_supported(format!("{path}.allocationMode"), &json!(mode), &MODES)),
    }
    for (at, toleration) in list(request, "tolerations").iter().enumerate() {
        validate_toleration(causes, &format!("{path}.tolerations[{at}]"), toleration);
    }
}

fn validate_toleration(causes: &mut Vec<Cause>, path: &str, toleration: &Value) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    check::optional(causes, &format!("{path}.key"), &toleration["key"], names::qualified_name);
    let (field, value) = (format!("{path}.value"), text(toleration, "value"));
    match operator {
        "Exists" if !value.is_empty() => {
            causes.push(Cause::invalid(field, &json!(value), "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => {
            check::rules(causes, &field, &json!(value), names::label_value(value));
            if key.is_empty() {
                causes.push(Cause::required(format!("{path}.key"), ""));
            }
        }
        _ => {
            let field = format!("{path}.operator");
            check::one_of(causes, &field, &toleration["operator"], &["Equal", "Exists"]);
        }
    }
    let effects = ["NoExecute", "NoSchedule", "None"];
    check::supported(causes, &format!("{path}.effect"), &toleration["effect"], &effects);
}

/// The requests something is about.
fn references(causes: &mut Vec<Cause>, path: &str, of: &Value, requests: &[Value]) {
    let (field, wanted) = (format!("{path}.requests"), list(of, "requests"));
    each(causes, &field, wanted, MAX_ITEMS, |causes, path, name| reference(causes, path, name, requests));
    unique(causes, &field, wanted, |name| name.as_str().unwrap_or_default());
}

fn reference(causes: &mut Vec<Cause>, field: &str, value: &Value, requests: &[Value]) {
    let name = value.as_str().unwrap_or_default();
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 {
        for part in &parts {
            label(causes, field, &json!(part));
        }
        let find = |items: &[Value], name: &str| items.iter().any(|item| name_of(item) == name);
        let known = match parts.as_slice() {
            [request] => find(requests, request),
            [request, alternative] => requests
                .iter()
                .filter(|candidate| name_of(candidate) == *request)
                .any(|candidate| find(list(candidate, "firstAvailable"), alternative)),
            _ => false,
        };
        if known {
            return;
        }
    }
    causes.push(Cause::invalid(field, value, REFERENCE));
}

/// `DOMAIN/NAME`.
fn qualified(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(field, "name required"));
    } else if !name.contains('/') {
        causes.push(Cause::invalid(field, value, "must include a domain"));
    } else {
        check::rules(causes, field, value, names::qualified_name(name));
    }
}

fn validate_status(causes: &mut Vec<Cause>, object: &Value, old: &Value) {
    let (status, before) = (&object["status"], &old["status"]);
    let field = "status.reservedFor";
    let consumers = list(status, "reservedFor");
    each(causes, field, consumers, MAX_CONSUMERS, |causes, path, consumer| {
        for key in ["resource", "name", "uid"] {
            check::present(causes, &format!("{path}.{key}"), &consumer[key], "");
        }
    });
    unique(causes, field, consumers, |consumer| text(consumer, "uid"));
    let (allocation, allocated) = (&status["allocation"], &before["allocation"]);
    if !consumers.is_empty() && allocation.is_null() {
        causes.push(Cause::forbidden(field, "may not be specified when `allocated` is not set"));
    } else if crate::object::is_deleting(object) {
        let known = list(before, "reservedFor");
        if consumers.iter().any(|consumer| !known.contains(consumer)) {
            let detail =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            causes.push(Cause::forbidden(field, detail));
        }
    }
    if !allocation.is_null() && !allocated.is_null() {
        check::immutable(causes, "status.allocation", allocation, allocated);
    } else if !allocation.is_null() {
        let requests = list(&object["spec"]["devices"], "requests");
        let results = list(&allocation["devices"], "results");
        each(causes, "status.allocation.devices.results", results, MAX_ITEMS, |causes, path, result| {
            reference(causes, &format!("{path}.request"), &result["request"], requests);
            storage::driver_name(causes, &format!("{path}.driver"), &result["driver"]);
            pool_name(causes, &format!("{path}.pool"), &result["pool"]);
            label(causes, &format!("{path}.device"), &result["device"]);
        });
    }
}
