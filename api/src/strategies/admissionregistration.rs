//! Rules of `admissionregistration.k8s.io`.

mod policy;
mod rules;

pub use policy::{Binding, MutatingPolicy, ValidatingPolicy, mutation_result};

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use super::webhook;
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// Versions of `AdmissionReview` that are sent.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const MAX_TIMEOUT_SECONDS: i64 = 30;

/// Webhooks that are asked before an object is written.
pub struct WebhookConfiguration;

impl Strategy for WebhookConfiguration {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, hook) in list(object, "webhooks").iter().enumerate() {
            let path = format!("webhooks[{at}]");
            validate_webhook(&mut causes, &path, hook);
            review_versions(&mut causes, &format!("{path}.admissionReviewVersions"), hook);
            let name = text(hook, "name");
            if !name.is_empty() && !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
            }
        }
        causes
    }
}

fn validate_webhook(causes: &mut Vec<Cause>, path: &str, hook: &Value) {
    let at = |field: &str| format!("{path}.{field}");
    fully_qualified(causes, &at("name"), text(hook, "name"));
    for (index, rule) in list(hook, "rules").iter().enumerate() {
        rules::validate(causes, &format!("{path}.rules[{index}]"), rule);
    }
    check::supported(causes, &at("failurePolicy"), &hook["failurePolicy"], &FAILURE_POLICIES);
    check::supported(causes, &at("matchPolicy"), &hook["matchPolicy"], &MATCH_POLICIES);
    if hook["sideEffects"].is_null() {
        let detail = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
        causes.push(Cause::required(at("sideEffects"), &detail));
    }
    check::supported(causes, &at("sideEffects"), &hook["sideEffects"], &SIDE_EFFECTS);
    let timeout = &hook["timeoutSeconds"];
    if timeout.as_i64().is_some_and(|seconds| !(1..=MAX_TIMEOUT_SECONDS).contains(&seconds)) {
        let detail = format!("the timeout value must be between 1 and {MAX_TIMEOUT_SECONDS} seconds");
        causes.push(Cause::invalid(at("timeoutSeconds"), timeout, &detail));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        check::label_selector(causes, &at(field), &hook[field]);
    }
    check::supported(causes, &at("reinvocationPolicy"), &hook["reinvocationPolicy"], &REINVOCATION_POLICIES);
    webhook::client_config(causes, &at("clientConfig"), &hook["clientConfig"]);
    rules::match_conditions(causes, &at("matchConditions"), list(hook, "matchConditions"), false);
}

fn fully_qualified(causes: &mut Vec<Cause>, field: &str, name: &str) {
    let broken = names::dns1123_subdomain(name);
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if !broken.is_empty() {
        causes.push(Cause::invalid(field, &json!(name), &broken.join(",")));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
}

fn review_versions(causes: &mut Vec<Cause>, field: &str, hook: &Value) {
    let versions = list(hook, "admissionReviewVersions");
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        causes.push(Cause::required(field, &format!("must specify one of {known}")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, version) in versions.iter().enumerate() {
        let (field, name) = (format!("{field}[{at}]"), version.as_str().unwrap_or_default());
        if seen.insert(name) {
            check::rules(causes, &field, version, names::dns1035_label(name));
        } else {
            causes.push(Cause::invalid(field, version, "duplicate version"));
        }
    }
    if !REVIEW_VERSIONS.iter().any(|version| seen.contains(version)) {
        let detail = format!("must include at least one of {known}");
        causes.push(Cause::invalid(field, &hook["admissionReviewVersions"], &detail));
    }
}

#[cfg(test)]
mod tests;
