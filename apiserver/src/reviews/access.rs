//! May somebody do one thing, and what may one do at all: the `authorization.k8s.io` reviews.
//!
//! Entry points: [`access`] and [`rules`]. Source: upstream's `pkg/registry/authorization`.

use api::Status;
use api::rbac::PolicyRule;
use api::selector::{FieldSelector, FieldTerm, LabelSelector};
use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::text;
use crate::authz::{self, Attributes, Selectors, Verdict};
use crate::call::{Call, Server};

/// `SubjectAccessReviewStatus`.
pub(super) async fn access(server: &Server, user: &UserInfo, spec: &Value) -> Value {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (selectors, mut problems) = selectors(resource);
    let wish = if resource.is_object() {
        let version = text(resource, "version");
        Attributes {
            verb: text(resource, "verb"),
            namespace: text(resource, "namespace"),
            group: text(resource, "group"),
            version: if version.is_empty() { "*" } else { version },
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            path: "",
            is_resource: true,
            selectors: Some(&selectors),
        }
    } else {
        Attributes { verb: text(other, "verb"), path: text(other, "path"), ..Attributes::default() }
    };
    let decision = authz::authorize(server, user, &wish).await;
    problems.splice(0..0, decision.error);
    let mut status = json!({"allowed": decision.verdict == Verdict::Allow});
    if decision.verdict == Verdict::Deny {
        status["denied"] = true.into();
    }
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    if !problems.is_empty() {
        status["evaluationError"] = problems.join("; ").into();
    }
    status
}

/// The selectors of a question, and what of them could not be understood and is ignored.
fn selectors(resource: &Value) -> (Selectors, Vec<String>) {
    let mut problems = Vec::new();
    let mut ignored = |name: &str, how: &str| {
        problems.push(format!("spec.resourceAttributes.{name} {how}ignored due to parse error"));
    };
    let requirements = |name: &str| resource[name]["requirements"].as_array().filter(|list| !list.is_empty());
    let raw = |name: &str| text(&resource[name], "rawSelector");
    let field = match requirements("fieldSelector") {
        Some(list) => {
            let terms: Vec<FieldTerm> = list.iter().filter_map(term).collect();
            if terms.len() < list.len() {
                ignored("fieldSelector", if terms.is_empty() { "" } else { "partially " });
            }
            FieldSelector::of(terms)
        }
        None => FieldSelector::parse(raw("fieldSelector")).unwrap_or_else(|_| {
            ignored("fieldSelector", "");
            FieldSelector::default()
        }),
    };
    let label = match requirements("labelSelector") {
        Some(list) => LabelSelector::from_object(&json!({ "matchExpressions": list })),
        None => LabelSelector::parse(raw("labelSelector")),
    };
    let label = label.unwrap_or_else(|_| {
        ignored("labelSelector", "");
        LabelSelector::default()
    });
    (Selectors { field, label }, problems)
}

/// Fields can only be compared with one value.
fn term(requirement: &Value) -> Option<FieldTerm> {
    let equal = match text(requirement, "operator") {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let [value] = requirement["values"].as_array()?.as_slice() else { return None };
    let (field, value) = (text(requirement, "key").to_owned(), value.as_str()?.to_owned());
    Some(FieldTerm { field, equal, value })
}

/// `SubjectRulesReviewStatus`.
pub(super) fn rules(call: &Call, spec: &Value) -> Result<Value, Status> {
    let namespace = text(spec, "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let found = authz::rules_of(&call.server, &call.user, namespace);
    let list = |of_resources: bool| -> Vec<Value> {
        let wanted = |rule: &&PolicyRule| of_resources != rule.resources.is_empty();
        found.rules.iter().filter(wanted).map(PolicyRule::to_json).collect()
    };
    let mut status =
        json!({"resourceRules": list(true), "nonResourceRules": list(false), "incomplete": found.incomplete});
    if !found.errors.is_empty() {
        status["evaluationError"] = authz::aggregate(&found.errors).into();
    }
    Ok(status)
}
