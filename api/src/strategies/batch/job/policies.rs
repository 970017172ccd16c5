//! What a job says of pods that fail, of early success and of replacement.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::super::check::{self, list, text};
use super::indexes;
use crate::names;
use crate::status::Cause;

const MAX_RULES: usize = 20;
const MAX_PATTERNS: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_INDEXES_BYTES: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Checks the policies of a `JobSpec` at `path`.
pub(super) fn validate(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let failure = &spec["podFailurePolicy"];
    if !failure.is_null() {
        let rules = list(failure, "rules");
        let field = format!("{path}.podFailurePolicy.rules");
        few(causes, &field, rules.len(), MAX_RULES);
        for (at, rule) in rules.iter().enumerate() {
            failure_rule(causes, spec, rule, &format!("{field}[{at}]"));
        }
    }
    let success = &spec["successPolicy"];
    let field = format!("{path}.successPolicy");
    if !success.is_null() && !super::is_indexed(spec) {
        causes.push(Cause::invalid(field, success, "requires indexed completion mode"));
    } else if !success.is_null() {
        success_policy(causes, spec, success, &format!("{field}.rules"));
    }
    let replacement = &spec["podReplacementPolicy"];
    if !replacement.is_null() {
        let allowed: &[&str] =
            if failure.is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
        let choice = text(spec, "podReplacementPolicy");
        if !allowed.contains(&choice) {
            causes.push(Cause::not_supported(
                format!("{path}.podReplacementPolicy"),
                &json!(choice),
                allowed,
            ));
        }
    }
}

fn few(causes: &mut Vec<Cause>, field: &str, count: usize, most: usize) {
    if count > most {
        causes.push(Cause::too_many(field, count, most));
    }
}

/// One of a few words, which the message of a missing one lists as Go prints them.
fn word(causes: &mut Vec<Cause>, field: &str, value: &str, allowed: &[&str]) {
    if value.is_empty() {
        let listed = allowed.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
        causes.push(Cause::required(field, &format!("valid values: [{listed}]")));
    } else if !allowed.contains(&value) {
        causes.push(Cause::not_supported(field, &json!(value), allowed));
    }
}

fn failure_rule(causes: &mut Vec<Cause>, spec: &Value, rule: &Value, path: &str) {
    let (action, field) = (text(rule, "action"), format!("{path}.action"));
    if action == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        let detail = "requires the backoffLimitPerIndex to be set";
        causes.push(Cause::invalid(field.as_str(), &json!(action), detail));
    }
    word(causes, &field, action, &ACTIONS);
    let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
    if !codes.is_null() {
        exit_codes(causes, spec, codes, &format!("{path}.onExitCodes"));
    }
    let field = format!("{path}.onPodConditions");
    few(causes, &field, conditions.len(), MAX_PATTERNS);
    for (at, pattern) in conditions.iter().enumerate() {
        let path = format!("{field}[{at}]");
        let broken = names::qualified_name(text(pattern, "type"));
        check::rules(causes, &format!("{path}.type"), &json!(text(pattern, "type")), broken);
        word(causes, &format!("{path}.status"), text(pattern, "status"), &STATUSES);
    }
    let detail = match (codes.is_null(), conditions.is_empty()) {
        (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    causes.push(Cause::invalid_unshown(path, detail));
}

fn exit_codes(causes: &mut Vec<Cause>, spec: &Value, codes: &Value, path: &str) {
    let operator = text(codes, "operator");
    word(causes, &format!("{path}.operator"), operator, &OPERATORS);
    let pod = &spec["template"]["spec"];
    let mut containers = list(pod, "containers").iter().chain(list(pod, "initContainers"));
    let name = &codes["containerName"];
    if !name.is_null() && !containers.any(|container| container["name"] == *name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        causes.push(Cause::invalid(format!("{path}.containerName"), name, detail));
    }
    let (values, field) = (list(codes, "values"), format!("{path}.values"));
    if values.is_empty() {
        causes.push(Cause::invalid(field.as_str(), &codes["values"], "at least one value is required"));
    }
    few(causes, &field, values.len(), MAX_EXIT_CODES);
    let mut seen = BTreeSet::new();
    for (at, value) in values.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let code = value.as_i64().unwrap_or_default();
        if operator == "In" && code == 0 {
            causes.push(Cause::invalid(field.as_str(), value, "must not be 0 for the In operator"));
        }
        if !seen.insert(code) {
            causes.push(Cause::duplicate(field, value));
        }
    }
    if !values.is_sorted_by_key(|value| value.as_i64().unwrap_or_default()) {
        causes.push(Cause::invalid(field, &codes["values"], "must be ordered"));
    }
}

fn success_policy(causes: &mut Vec<Cause>, spec: &Value, policy: &Value, field: &str) {
    let rules = list(policy, "rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        causes.push(Cause::required(field, detail));
    }
    few(causes, field, rules.len(), MAX_RULES);
    for (at, rule) in rules.iter().enumerate() {
        success_rule(
            causes,
            spec["completions"].as_i64().unwrap_or_default(),
            rule,
            &format!("{field}[{at}]"),
        );
    }
}

fn success_rule(causes: &mut Vec<Cause>, completions: i64, rule: &Value, path: &str) {
    let (count, indexes) = (&rule["succeededCount"], &rule["succeededIndexes"]);
    if count.is_null() && indexes.is_null() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        causes.push(Cause::required(path, detail));
    }
    let mut total = 0;
    if let Some(text) = indexes.as_str() {
        let field = format!("{path}.succeededIndexes");
        if text.len() > MAX_INDEXES_BYTES {
            causes.push(Cause::too_long(field.as_str(), MAX_INDEXES_BYTES));
        }
        match indexes::count(text, completions) {
            Ok(counted) => total = counted,
            Err(error) => {
                let detail = format!("error parsing succeededIndexes: {error}");
                causes.push(Cause::invalid(field, indexes, &detail));
            }
        }
    }
    let Some(wanted) = count.as_i64() else { return };
    let field = format!("{path}.succeededCount");
    check::not_negative(causes, &field, count);
    for (most, what) in [
        (Some(completions), "the number of specified completions"),
        (
            indexes.is_string().then_some(total),
            "the number of indexes in the specified succeededIndexes field",
        ),
    ] {
        if let Some(most) = most.filter(|most| wanted > *most) {
            let detail = format!("must be less than or equal to {most} ({what})");
            causes.push(Cause::invalid(field.as_str(), count, &detail));
        }
    }
}
