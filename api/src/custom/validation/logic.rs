//! `allOf`, `anyOf`, `oneOf` and `not`. Upstream reports them without a field, hence `<nil>`.

use serde_json::Value;

use super::{Place, walk};
use crate::custom::Node;
use crate::custom::checks::Checks;
use crate::status::Cause;

pub(super) fn check(checks: &Checks, place: &Place<'_>, causes: &mut Vec<Cause>) {
    let outcome = |node: &Node| {
        let mut found = Vec::new();
        // Parts of a choice are judged as a whole: the same place, unchanged or not.
        walk(node, &Place { path: place.path.clone(), new: place.new, old: None }, &mut found);
        found
    };
    let say = |text: String| {
        let detail = format!("{:?} {text}", place.path);
        Cause::invalid("<nil>", &Value::from(""), &detail)
    };
    if !checks.any_of.is_empty() {
        let outcomes: Vec<Vec<Cause>> = checks.any_of.iter().map(outcome).collect();
        if outcomes.iter().all(|found| !found.is_empty()) {
            causes.push(say("must validate at least one schema (anyOf)".to_owned()));
            causes.extend(best(outcomes));
        }
    }
    if !checks.one_of.is_empty() {
        let outcomes: Vec<Vec<Cause>> = checks.one_of.iter().map(outcome).collect();
        let valid = outcomes.iter().filter(|found| found.is_empty()).count();
        if valid == 0 {
            causes.push(say("must validate one and only one schema (oneOf). Found none valid".to_owned()));
            causes.extend(best(outcomes));
        } else if valid > 1 {
            causes.push(say(format!(
                "must validate one and only one schema (oneOf). Found {valid} valid alternatives"
            )));
        }
    }
    let outcomes: Vec<Vec<Cause>> = checks.all_of.iter().map(outcome).collect();
    let broken = outcomes.iter().filter(|found| !found.is_empty()).count();
    if broken > 0 {
        let none = if broken == outcomes.len() { ". None validated" } else { "" };
        causes.extend(outcomes.into_iter().flatten());
        causes.push(say(format!("must validate all the schemas (allOf){none}")));
    }
    if checks.not.as_ref().is_some_and(|node| outcome(node).is_empty()) {
        causes.push(say("must not validate the schema (not)".to_owned()));
    }
}

/// The alternative that comes closest.
fn best(outcomes: Vec<Vec<Cause>>) -> Vec<Cause> {
    outcomes.into_iter().min_by_key(Vec::len).unwrap_or_default()
}
