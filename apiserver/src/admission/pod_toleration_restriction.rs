//! PodTolerationRestriction: a namespace's annotations say which tolerations its pods get, and which they may have.

use api::strategies::pod::qos_class;
use api::{Reason, Status};
use serde_json::{Value, json};

use super::{Attributes, Operation, pods};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The tolerations in an annotation of the pod's namespace.
async fn of_namespace(attributes: &Attributes<'_>, annotation: &str) -> Result<Vec<Value>, Status> {
    let name = attributes.namespace();
    let found = attributes.stored(("", "namespaces"), None, name).await?;
    let namespace = found.ok_or_else(|| Status::not_found("", "namespaces", name))?;
    match namespace["metadata"]["annotations"][annotation].as_str().filter(|text| !text.is_empty()) {
        Some(text) => {
            serde_json::from_str(text).map_err(|why| Status::new(Reason::InternalError, why.to_string()))
        }
        None => Ok(Vec::new()),
    }
}

pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let mut more = match attributes.operation {
        Operation::Create => of_namespace(attributes, DEFAULTS).await?,
        _ => Vec::new(),
    };
    if qos_class(pod) != "BestEffort" {
        more.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
    }
    let tolerations = pods::tolerations(pod);
    *tolerations = merged(tolerations, &more);
    validate(attributes, pod).await
}

pub(super) async fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let tolerations = pod["spec"]["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
    let allowed = of_namespace(attributes, ALLOWED).await?;
    let covered = |toleration: &Value| allowed.iter().any(|one| covers(one, toleration));
    if allowed.is_empty() || tolerations.iter().all(covered) {
        return Ok(());
    }
    let text = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    Err(Status::new(Reason::InternalError, text))
}

/// Both lists without what another toleration covers; of equal ones the first stays.
pub(super) fn merged(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut kept: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let mut later = all.iter().skip(at + 1);
        if !kept.iter().any(|other| covers(other, one))
            && !later.any(|other| other != one && covers(other, one))
        {
            kept.push((*one).clone());
        }
    }
    kept
}

/// Whether one toleration allows all that another does.
fn covers(one: &Value, other: &Value) -> bool {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let same = |field: &str| text(one, field) == text(other, field);
    let exists = text(one, "operator") == "Exists";
    if one == other {
        return true;
    }
    let any_key = text(one, "key").is_empty() && exists;
    let longer = match (one["tolerationSeconds"].as_i64(), other["tolerationSeconds"].as_i64()) {
        (Some(most), seconds) if text(one, "effect") == "NoExecute" => seconds.is_some_and(|s| s <= most),
        _ => true,
    };
    (same("key") || any_key)
        && (same("effect") || text(one, "effect").is_empty())
        && longer
        && (exists || (text(other, "operator") != "Exists" && same("value")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage() {
        let check = |one: Value, other: Value, expect: bool| {
            assert_eq!(covers(&one, &other), expect, "{one} {other}")
        };
        let all = || json!({"operator": "Exists"});
        let exact =
            |value: &str| json!({"key": "k", "operator": "Equal", "value": value, "effect": "NoExecute"});
        check(all(), exact("v"), true);
        check(exact("v"), all(), false);
        check(exact("v"), exact("w"), false);
        check(json!({"key": "k", "operator": "Exists"}), exact("v"), true);
        let only = json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"});
        assert_eq!(
            merged(std::slice::from_ref(&only), &[only.clone(), exact("w")]),
            [only.clone(), exact("w")]
        );
        assert_eq!(merged(&[only], &[all()]), [all()]);
        let brief = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        check(brief, exact("v"), false);
    }
}
