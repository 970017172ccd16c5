//! Rules of resource quotas.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::check::{self, entries, list, text};
use super::super::resources;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Scopes that exist or not, without values.
const PLAIN_SCOPES: [&str; 5] =
    ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
const OF_PODS: [&str; 7] =
    ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

/// Bounds of what all objects of a namespace may use together.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        amounts(&mut causes, "spec.hard", &spec["hard"]);
        let scopes: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
        for scope in &scopes {
            if !SCOPES.contains(scope) {
                causes.push(Cause::invalid("spec.scopes", &spec["scopes"], "unsupported scope"));
            }
            fits_resources(&mut causes, "spec.scopes", &spec["scopes"], scope, spec);
        }
        conflicts(&mut causes, "spec.scopes", spec, &scopes);
        if !spec["scopeSelector"].is_null() {
            selector(&mut causes, spec);
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let scopes = |object: &Value| -> BTreeSet<String> {
            list(&object["spec"], "scopes").iter().map(ToString::to_string).collect()
        };
        let mut causes = Vec::new();
        if scopes(object) != scopes(old) {
            causes.push(Cause::invalid("spec.scopes", &object["spec"]["scopes"], check::IMMUTABLE));
        }
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let mut causes = Vec::new();
        for field in ["hard", "used"] {
            amounts(&mut causes, &format!("status.{field}"), &object["status"][field]);
        }
        causes
    }
}

fn amounts(causes: &mut Vec<Cause>, path: &str, map: &Value) {
    for (name, value) in entries(map) {
        let field = format!("{path}[{name}]");
        resources::quota_name(causes, &field, name);
        resources::amount(causes, &field, name, value);
    }
}

/// Scopes pick pods, or claims: other things have no such properties.
fn fits_resources(causes: &mut Vec<Cause>, field: &str, shown: &Value, scope: &str, spec: &Value) {
    let fitting: &[&str] = match scope {
        "BestEffort" => &["pods"],
        "VolumeAttributesClass" => &OF_CLAIMS,
        _ if SCOPES.contains(&scope) => &OF_PODS,
        _ => return,
    };
    for (name, _) in entries(&spec["hard"]) {
        if resources::is_standard_for_quota(name) && !fitting.contains(&name.as_str()) {
            causes.push(Cause::invalid(field, shown, "unsupported scope applied to resource"));
        }
    }
}

fn conflicts(causes: &mut Vec<Cause>, field: &str, spec: &Value, scopes: &[&str]) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            causes.push(Cause::invalid(field, &spec["scopes"], "conflicting scopes"));
        }
    }
}

fn selector(causes: &mut Vec<Cause>, spec: &Value) {
    let path = "spec.scopeSelector.matchExpressions";
    let at = |field: &str| format!("{path}.{field}");
    let mut scopes = Vec::new();
    for expression in list(&spec["scopeSelector"], "matchExpressions") {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !SCOPES.contains(&scope) {
            causes.push(Cause::invalid(at("scopeName"), &json!(scope), "unsupported scope"));
        }
        fits_resources(causes, path, &spec["scopeSelector"], scope, spec);
        if PLAIN_SCOPES.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                or ResourceQuotaScopeCrossNamespacePodAffinity";
            causes.push(Cause::invalid(at("operator"), &json!(operator), detail));
        }
        let values = list(expression, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                causes.push(Cause::required(at("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                causes.push(Cause::invalid(at("values"), &expression["values"], detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(at("operator"), &json!(operator), detail));
            }
        }
        scopes.push(scope);
    }
    conflicts(causes, path, spec, &scopes);
}
