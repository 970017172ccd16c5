//! What a CustomResourceDefinition itself must obey, in upstream's paths and words.
//!
//! Entry points: [`validate`] and [`validate_update`]. Upstream validates a form in which what all versions
//! share stands above them, so its paths are `spec.validation…` when all schemas are equal and
//! `spec.versions[0].schema…` otherwise; so are ours. Source: apiextensions' `validation.go`.

mod conversion;
mod defaults;
mod schema;
mod structural;
mod versions;

use serde_json::{Value, json};

use crate::names;
use crate::status::Cause;

/// Marks groups of the Kubernetes community whose API was reviewed.
pub const APPROVAL: &str = "api-approved.kubernetes.io";

/// Reasons to refuse a new definition.
pub fn validate(crd: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> = name(crd).into_iter().collect();
    causes.extend(spec(&crd["spec"]));
    causes.extend(status(crd));
    causes.extend(approval(crd, None));
    causes
}

/// Reasons to refuse a change of a definition.
pub fn validate_update(crd: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = spec(&crd["spec"]);
    let (new_spec, old_spec) = (&crd["spec"], &old["spec"]);
    let mut fixed = vec![("spec.group", "/group"), ("spec.names.plural", "/names/plural")];
    if super::condition(old, "Established").is_some_and(|c| c["status"] == "True") {
        fixed.extend([("spec.scope", "/scope"), ("spec.names.kind", "/names/kind")]);
    }
    for (field, pointer) in fixed {
        if new_spec.pointer(pointer) != old_spec.pointer(pointer) {
            let value = new_spec.pointer(pointer).cloned().unwrap_or_default();
            causes.push(Cause::invalid(field, &value, "field is immutable"));
        }
    }
    causes.extend(status(crd));
    causes.extend(approval(crd, Some(old)));
    causes
}

/// The value as a text, empty if it is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn name(crd: &Value) -> Option<Cause> {
    let wanted = format!("{}.{}", text(&crd["spec"]["names"]["plural"]), text(&crd["spec"]["group"]));
    let detail = r#"must be spec.names.plural+"."+spec.group"#;
    let name = crate::object::name(crd);
    (name != wanted).then(|| Cause::invalid("metadata.name", &json!(name), detail))
}

fn spec(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    group(spec, &mut causes);
    match text(&spec["scope"]) {
        "" => causes.push(Cause::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        _ => causes.push(Cause::not_supported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"])),
    }
    if spec["preserveUnknownFields"] == true {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", &json!(true), detail));
    }
    versions::validate(spec, &mut causes);
    names_of("spec.names", &spec["names"], &mut causes);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"][key]).is_empty() {
            causes.push(Cause::required(format!("spec.names.{key}"), ""));
        }
    }
    conversion::validate(&spec["conversion"], &mut causes);
    causes
}

fn group(spec: &Value, causes: &mut Vec<Cause>) {
    let group = text(&spec["group"]);
    let broken = names::dns1123_subdomain(group);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if !broken.is_empty() {
        causes.push(Cause::invalid("spec.group", &spec["group"], &broken.join(",")));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        causes.push(Cause::invalid("spec.group", &spec["group"], detail));
    }
}

/// Forms of the names, wherever they stand; empty ones pass.
fn names_of(path: &str, sent: &Value, causes: &mut Vec<Cause>) {
    let mut label = |field: String, value: &Value, prefix: &str, text: &str| {
        let broken = names::dns1035_label(text);
        if !text.is_empty() && !broken.is_empty() {
            causes.push(Cause::invalid(field, value, &format!("{prefix}{}", broken.join(","))));
        }
    };
    for key in ["plural", "singular"] {
        label(format!("{path}.{key}"), &sent[key], "", text(&sent[key]));
    }
    for key in ["kind", "listKind"] {
        let prefix = "may have mixed case, but should otherwise match: ";
        label(format!("{path}.{key}"), &sent[key], prefix, &text(&sent[key]).to_lowercase());
    }
    for key in ["shortNames", "categories"] {
        for (at, value) in list(&sent[key]).iter().enumerate() {
            label(format!("{path}.{key}[{at}]"), value, "", text(value));
        }
    }
    if !text(&sent["kind"]).is_empty() && sent["kind"] == sent["listKind"] {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid(format!("{path}.listKind"), &sent["listKind"], detail));
    }
}

fn status(crd: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    names_of("status.acceptedNames", &crd["status"]["acceptedNames"], &mut causes);
    let stored = &crd["status"]["storedVersions"];
    let field = "status.storedVersions";
    if list(stored).is_empty() {
        causes.push(Cause::invalid(field, &json!([]), "must have at least one stored version"));
        return causes;
    }
    let versions = list(&crd["spec"]["versions"]);
    for version in versions.iter().filter(|version| version["storage"] == true) {
        if !list(stored).contains(&version["name"]) {
            let detail = format!("must have the storage version {}", text(&version["name"]));
            causes.push(Cause::invalid(field, stored, &detail));
        }
    }
    for (at, name) in list(stored).iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let name = text(name);
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            causes.push(Cause::invalid(format!("{field}[{at}]"), &json!(name), &detail));
        }
    }
    causes
}

/// How an API of a community group stands, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn approval_state(crd: &Value) -> (Approval, String) {
    let value = text(&crd["metadata"]["annotations"][APPROVAL]);
    let more = "see https://github.com/kubernetes/enhancements/pull/1111";
    let is_url = value.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty());
    if value.is_empty() {
        let reason = format!("protected groups must have approval annotation {APPROVAL:?}, {more}");
        (Approval::Missing, reason)
    } else if value.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {value:?}"))
    } else if is_url {
        (Approval::Approved, format!("approved in {value}"))
    } else {
        let reason = format!(
            "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \"unapproved\", {more}"
        );
        (Approval::Invalid, reason)
    }
}

fn is_community(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|head| head.ends_with('.')))
}

fn approval(crd: &Value, old: Option<&Value>) -> Option<Cause> {
    let (state, reason) = approval_state(crd);
    if !is_community(text(&crd["spec"]["group"])) || old.is_some_and(|old| approval_state(old).0 == state) {
        return None;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    match state {
        Approval::Missing => Some(Cause::required(field, &reason)),
        Approval::Invalid => Some(Cause::invalid(field, &crd["metadata"]["annotations"][APPROVAL], &reason)),
        Approval::Approved | Approval::Bypassed => None,
    }
}

/// The condition that says how a community API was approved, as (status, reason, message).
pub fn approval_condition(crd: &Value) -> Option<(&'static str, &'static str, String)> {
    let (state, message) = approval_state(crd);
    is_community(text(&crd["spec"]["group"])).then_some(match state {
        Approval::Missing => ("False", "MissingAnnotation", message),
        Approval::Bypassed => ("False", "UnapprovedAnnotation", message),
        Approval::Approved => ("True", "ApprovedAnnotation", message),
        Approval::Invalid => ("False", "InvalidAnnotation", message),
    })
}

#[cfg(test)]
mod tests;
