//! Checks of what says near what, and on which nodes, pods want to be.

use serde_json::{Value, json};

use super::super::check::{self, list, text};
use crate::names;
use crate::status::Cause;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks an `Affinity` at `path`.
pub(super) fn validate(causes: &mut Vec<Cause>, affinity: &Value, path: &str) {
    let (node, node_path) = (&affinity["nodeAffinity"], format!("{path}.nodeAffinity"));
    if !node[REQUIRED].is_null() {
        node_selector(causes, &node[REQUIRED], &format!("{node_path}.{REQUIRED}"));
    }
    for (at, term) in list(node, PREFERRED).iter().enumerate() {
        let path = format!("{node_path}.{PREFERRED}[{at}]");
        weight(causes, term, &path);
        node_term(causes, &term["preference"], &format!("{path}.preference"), false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, path) = (&affinity[kind], format!("{path}.{kind}"));
        for (at, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_term(causes, term, &format!("{path}.{REQUIRED}[{at}]"));
        }
        for (at, term) in list(pods, PREFERRED).iter().enumerate() {
            let path = format!("{path}.{PREFERRED}[{at}]");
            weight(causes, term, &path);
            pod_term(causes, &term["podAffinityTerm"], &format!("{path}.podAffinityTerm"));
        }
    }
}

fn weight(causes: &mut Vec<Cause>, term: &Value, path: &str) {
    let weight = term["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        causes.push(Cause::invalid(format!("{path}.weight"), &json!(weight), "must be in the range 1-100"));
    }
}

/// Checks a `NodeSelector`; volumes have one too.
pub(in crate::strategies) fn node_selector(causes: &mut Vec<Cause>, selector: &Value, path: &str) {
    let (terms, path) = (list(selector, "nodeSelectorTerms"), format!("{path}.nodeSelectorTerms"));
    if terms.is_empty() {
        causes.push(Cause::required(path.as_str(), "must have at least one node selector term"));
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(causes, term, &format!("{path}[{at}]"), true);
    }
}

/// Values that are no labels match nothing: a wish may have them, a condition may not.
fn node_term(causes: &mut Vec<Cause>, term: &Value, path: &str, strict: bool) {
    for (at, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        operator(causes, requirement, &path);
        let key = text(requirement, "key");
        check::rules(causes, &format!("{path}.key"), &json!(key), names::qualified_name(key));
        for (at, value) in list(requirement, "values").iter().enumerate().filter(|_| strict) {
            let broken = names::label_value(value.as_str().unwrap_or_default());
            check::rules(causes, &format!("{path}.values[{at}]"), value, broken);
        }
    }
    for (at, requirement) in list(term, "matchFields").iter().enumerate() {
        node_field(causes, requirement, &format!("{path}.matchFields[{at}]"));
    }
}

fn operator(causes: &mut Vec<Cause>, requirement: &Value, path: &str) {
    let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
    let field = format!("{path}.values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            causes.push(Cause::required(field, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            causes.push(Cause::forbidden(field, detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            causes.push(Cause::required(field, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => unknown_operator(causes, operator, path),
    }
}

fn unknown_operator(causes: &mut Vec<Cause>, operator: &str, path: &str) {
    let field = format!("{path}.operator");
    causes.push(Cause::invalid(field, &json!(operator), "not a valid selector operator"));
}

/// The only field is the name.
fn node_field(causes: &mut Vec<Cause>, requirement: &Value, path: &str) {
    let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
    match operator {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            causes.push(Cause::required(format!("{path}.values"), detail));
        }
        "In" | "NotIn" => {}
        _ => unknown_operator(causes, operator, path),
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        let detail = "not a valid field selector key";
        causes.push(Cause::invalid(format!("{path}.key"), &json!(key), detail));
        return;
    }
    for (at, value) in values.iter().enumerate() {
        let broken = names::dns1123_subdomain(value.as_str().unwrap_or_default());
        check::rules(causes, &format!("{path}.values[{at}]"), value, broken);
    }
}

fn pod_term(causes: &mut Vec<Cause>, term: &Value, path: &str) {
    for field in ["labelSelector", "namespaceSelector"].into_iter().filter(|field| !term[*field].is_null()) {
        check::label_selector(causes, &format!("{path}.{field}"), &term[field]);
    }
    for name in list(term, "namespaces") {
        let broken = names::dns1123_label(name.as_str().unwrap_or_default());
        check::rules(causes, &format!("{path}.namespace"), name, broken);
    }
    let (key, field) = (text(term, "topologyKey"), format!("{path}.topologyKey"));
    if key.is_empty() {
        causes.push(Cause::required(field, "can not be empty"));
    } else {
        check::rules(causes, &field, &json!(key), names::qualified_name(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(affinity: Value, expect: &[&str]) {
        let mut causes = Vec::new();
        validate(&mut causes, &affinity, "a");
        let texts: Vec<_> = causes.iter().map(Cause::to_string).collect();
        assert_eq!(texts, expect, "{affinity}");
    }

    #[test]
    fn nodes() {
        let terms = |terms: Value| json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}});
        let path = format!("a.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        refuses(
            terms(json!([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]},
                {"key": "n", "operator": "Gt", "values": ["1"]}],
                "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])),
            &[],
        );
        refuses(
            terms(json!([])),
            &[&format!("{path}: Required value: must have at least one node selector term")],
        );
        refuses(
            terms(
                json!([{"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "a", "operator": "Near"},
                {"key": "a", "operator": "Exists", "values": ["b"]}, {"key": "a", "operator": "Lt", "values": ["1", "2"]}],
                "matchFields": [{"key": "metadata.uid", "operator": "Exists"}]}]),
            ),
            &[
                &format!(
                    "{path}[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                ),
                &format!(
                    "{path}[0].matchExpressions[1].operator: Invalid value: \"Near\": not a valid selector operator"
                ),
                &format!(
                    "{path}[0].matchExpressions[2].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                ),
                &format!(
                    "{path}[0].matchExpressions[3].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
                ),
                &format!(
                    "{path}[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator"
                ),
                &format!(
                    "{path}[0].matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key"
                ),
            ],
        );
        refuses(
            json!({"nodeAffinity": {PREFERRED: [{"weight": 101, "preference": {}}]}}),
            &[&format!(
                "a.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100"
            )],
        );
    }

    #[test]
    fn pods() {
        let term = json!({"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"});
        refuses(
            json!({"podAffinity": {REQUIRED: [term]}, "podAntiAffinity": {PREFERRED: [
                {"weight": 1, "podAffinityTerm": term}]}}),
            &[],
        );
        refuses(
            json!({"podAntiAffinity": {REQUIRED: [{}], PREFERRED: [{"podAffinityTerm": {"topologyKey": "zone"}}]}}),
            &[
                &format!("a.podAntiAffinity.{REQUIRED}[0].topologyKey: Required value: can not be empty"),
                &format!(
                    "a.podAntiAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100"
                ),
            ],
        );
    }
}
