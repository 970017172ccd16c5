//! Which requests a webhook or a policy is about.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::MATCH_POLICIES;
use crate::cel::Type;
use crate::cel::admission::{Composer, Offer};
use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, list, text};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const MAX_CONDITIONS: usize = 64;

/// One rule: operations on resources.
pub(super) fn validate(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    let at = |field: &str| format!("{path}.{field}");
    let operations = list(rule, "operations");
    alone(causes, &at("operations"), &rule["operations"], "operations");
    for (index, operation) in operations.iter().enumerate() {
        check::supported(causes, &format!("{path}.operations[{index}]"), operation, &OPERATIONS);
    }
    alone(causes, &at("apiGroups"), &rule["apiGroups"], "API groups");
    alone(causes, &at("apiVersions"), &rule["apiVersions"], "API versions");
    for (index, version) in list(rule, "apiVersions").iter().enumerate() {
        check::present(causes, &format!("{path}.apiVersions[{index}]"), version, "");
    }
    resources(causes, &at("resources"), rule);
    check::supported(causes, &at("scope"), &rule["scope"], &SCOPES);
}

/// A list that must not be empty, and in which `*` stands alone.
fn alone(causes: &mut Vec<Cause>, field: &str, values: &Value, others: &str) {
    let items = values.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if items.len() > 1 && items.iter().any(|item| item == "*") {
        let detail = format!("if '*' is present, must not specify other {others}");
        causes.push(Cause::invalid(field, values, &detail));
    }
}

fn resources(causes: &mut Vec<Cause>, field: &str, rule: &Value) {
    let names: Vec<&str> = list(rule, "resources").iter().map(|r| r.as_str().unwrap_or_default()).collect();
    if names.is_empty() {
        causes.push(Cause::required(field, ""));
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (at, name) in names.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let Some((resource, sub)) = name.split_once('/') else {
            if name.is_empty() {
                causes.push(Cause::required(field, ""));
            } else {
                plain = *name != "*";
            }
            continue;
        };
        if whole.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {name}");
            causes.push(Cause::invalid(&field, &json!(name), &detail));
        }
        if everywhere.contains(sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {name}");
            causes.push(Cause::invalid(&field, &json!(name), &detail));
        }
        if sub == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    if names.len() > 1 && names.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        causes.push(Cause::invalid(field, &rule["resources"], detail));
    }
    if names.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        causes.push(Cause::invalid(field, &rule["resources"], detail));
    }
}

/// Conditions in the expression language that a request must meet besides; `params` says whether there are any
/// for them to name.
pub(super) fn match_conditions(causes: &mut Vec<Cause>, field: &str, conditions: &[Value], params: bool) {
    let (composer, offer) = (Composer::default(), Offer { params, authorizer: true, mutation: false });
    if conditions.len() > MAX_CONDITIONS {
        causes.push(Cause::too_many(field, conditions.len(), MAX_CONDITIONS));
    }
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            causes.push(Cause::required(format!("{field}[{at}].expression"), ""));
        } else if let Err(error) = composer.compile(expression, &[Type::Bool], offer) {
            causes.push(Cause::invalid(format!("{field}[{at}].expression"), &json!(expression), &error));
        }
        let name = format!("{field}[{at}].name");
        check::required(causes, &name, &condition["name"], Some(names::qualified_name));
        if !text(condition, "name").is_empty() && !seen.insert(text(condition, "name")) {
            causes.push(Cause::duplicate(name, &condition["name"]));
        }
    }
}

/// The match constraints of a policy, or of its binding.
pub(super) fn match_resources(causes: &mut Vec<Cause>, path: &str, constraints: &Value) {
    let field = format!("{path}.matchPolicy");
    check::present(causes, &field, &constraints["matchPolicy"], "");
    check::supported(causes, &field, &constraints["matchPolicy"], &MATCH_POLICIES);
    for selector in ["namespaceSelector", "objectSelector"] {
        let field = format!("{path}.{selector}");
        check::present(causes, &field, &constraints[selector], "");
        check::label_selector(causes, &field, &constraints[selector]);
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in list(constraints, key).iter().enumerate() {
            let path = format!("{path}.{key}[{at}]");
            resource_names(causes, &format!("{path}.resourceNames"), rule);
            validate(causes, &path, rule);
        }
    }
}

fn resource_names(causes: &mut Vec<Cause>, field: &str, rule: &Value) {
    let mut seen = BTreeSet::new();
    for (at, name) in list(rule, "resourceNames").iter().enumerate() {
        let field = format!("{field}[{at}]");
        let word = name.as_str().unwrap_or_default();
        check::rules(causes, &field, name, names::path_segment(word));
        if !seen.insert(word) {
            causes.push(Cause::duplicate(field, name));
        }
    }
}
