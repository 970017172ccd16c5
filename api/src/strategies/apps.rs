//! Rules of `apps`.

mod controller_revision;
mod daemon_set;
mod stateful_set;

pub use controller_revision::ControllerRevision;
pub use daemon_set::DaemonSet;
pub use stateful_set::StatefulSet;

use serde_json::{Value, json};

use super::check::{self, text};
use super::pod;
use crate::selector::LabelSelector;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Replaces pods of one template by pods of another, in steps.
pub struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        check::not_negative(&mut causes, "spec.replicas", &spec["replicas"]);
        selector_and_template(&mut causes, spec);
        strategy(&mut causes, &spec["strategy"]);
        for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
            check::not_negative(&mut causes, &format!("spec.{field}"), &spec[field]);
        }
        let deadline = &spec["progressDeadlineSeconds"];
        if deadline.as_i64().is_some_and(|d| d <= spec["minReadySeconds"].as_i64().unwrap_or_default()) {
            let field = "spec.progressDeadlineSeconds";
            causes.push(Cause::invalid(field, deadline, "must be greater than minReadySeconds"));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        immutable_selector(object, old)
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let counts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        let others = ["unavailableReplicas", "terminatingReplicas"];
        let mut causes = replica_counts(&object["status"], &counts, &others, "readyReplicas");
        let collisions = |object: &Value| object["status"]["collisionCount"].clone();
        check::never_lower(&mut causes, "status.collisionCount", &collisions(object), &collisions(old));
        causes
    }

    /// Annotations count too: upstream's rollouts watch them through the generation.
    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        let annotations = |o: &Value| o["metadata"]["annotations"].clone();
        object["spec"] != old["spec"] || annotations(object) != annotations(old)
    }
}

/// Keeps a number of equal pods.
pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        check::not_negative(&mut causes, "spec.replicas", &spec["replicas"]);
        check::not_negative(&mut causes, "spec.minReadySeconds", &spec["minReadySeconds"]);
        selector_and_template(&mut causes, spec);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        immutable_selector(object, old)
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let counts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        replica_counts(&object["status"], &counts, &["terminatingReplicas"], "readyReplicas")
    }
}

/// Counts of a status: none negative, `counts` at most the replicas, available ones at most the ready ones;
/// `ready` is what the message calls those.
pub(in crate::strategies) fn replica_counts(
    status: &Value,
    counts: &[&str],
    others: &[&str],
    ready: &str,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["replicas", "observedGeneration", "collisionCount"].iter().chain(counts).chain(others) {
        check::not_negative(&mut causes, &format!("status.{field}"), &status[*field]);
    }
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    for field in counts.iter().filter(|field| count(field) > count("replicas")) {
        let detail = "cannot be greater than status.replicas";
        causes.push(Cause::invalid(format!("status.{field}"), &status[*field], detail));
    }
    if count("availableReplicas") > count("readyReplicas") {
        let detail = format!("cannot be greater than {ready}");
        causes.push(Cause::invalid("status.availableReplicas", &status["availableReplicas"], &detail));
    }
    causes
}

fn immutable_selector(object: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check::immutable(&mut causes, "spec.selector", &object["spec"]["selector"], &old["spec"]["selector"]);
    causes
}

fn selector_and_template(causes: &mut Vec<Cause>, spec: &Value) {
    let selector = &spec["selector"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        filled_selector(causes, selector, "empty selector is invalid for deployment");
    }
    let template = &spec["template"];
    match LabelSelector::from_object(selector) {
        Err(_) => causes.push(Cause::invalid("spec.selector", selector, "invalid label selector")),
        Ok(parsed) => {
            if !selector.is_null() && !parsed.is_everything() {
                matches_labels(causes, &parsed, template, "spec.template");
            }
            pod::validate_template(causes, template, "spec.template");
            always_running(causes, template, "ReplicaSet");
        }
    }
}

/// A well-formed selector that selects something.
fn filled_selector(causes: &mut Vec<Cause>, selector: &Value, when_empty: &str) {
    check::label_selector(causes, "spec.selector", selector);
    let empty = |key: &str| match &selector[key] {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if empty("matchLabels") && empty("matchExpressions") {
        causes.push(Cause::invalid("spec.selector", selector, when_empty));
    }
}

/// The selector must find the pods of the template at `path`.
pub(in crate::strategies) fn matches_labels(
    causes: &mut Vec<Cause>,
    selector: &LabelSelector,
    template: &Value,
    path: &str,
) {
    let labels = &template["metadata"]["labels"];
    if !selector.matches_json(labels) {
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid(format!("{path}.metadata.labels"), labels, detail));
    }
}

/// Pods of what keeps pods running restart, and have no deadline.
pub(in crate::strategies) fn always_running(causes: &mut Vec<Cause>, template: &Value, kind: &str) {
    let restart = &template["spec"]["restartPolicy"];
    if restart != "Always" {
        let shown = json!(restart.as_str().unwrap_or_default());
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", &shown, &["Always"]));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let field = "spec.template.spec.activeDeadlineSeconds";
        causes.push(Cause::forbidden(field, &format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

fn strategy(causes: &mut Vec<Cause>, strategy: &Value) {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            causes.push(Cause::forbidden("spec.strategy.rollingUpdate", detail));
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            let detail = "this should be defaulted and never be nil";
            causes.push(Cause::required("spec.strategy.rollingUpdate", detail));
        }
        "RollingUpdate" => rolling_update(causes, rolling),
        kind => {
            // Upstream shows its internal form of the whole strategy.
            let shown = json!({"RollingUpdate": null, "Type": kind});
            causes.push(Cause::not_supported("spec.strategy", &shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn rolling_update(causes: &mut Vec<Cause>, rolling: &Value) {
    let field = "spec.strategy.rollingUpdate.maxUnavailable";
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    check::count_or_percent(causes, field, unavailable);
    check::count_or_percent(causes, "spec.strategy.rollingUpdate.maxSurge", surge);
    if check::count_of(unavailable) == 0 && check::count_of(surge) == 0 {
        causes.push(Cause::invalid(field, unavailable, "may not be 0 when `maxSurge` is 0"));
    }
    check::at_most_all(causes, field, unavailable);
}

#[cfg(test)]
mod set_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(patch: Value) -> Value {
        let mut object = json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}},
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod::tests::spec()}}});
        object = crate::patch::merge::apply(&object, &patch).unwrap();
        object
    }

    #[test]
    fn rules_of_deployments() {
        for (patch, expect) in [
            (json!({}), &[][..]),
            (
                json!({"spec": {"replicas": -1}}),
                &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (json!({"spec": {"selector": null}}), &["spec.selector: Required value"]),
            (
                json!({"spec": {"template": {"metadata": {"labels": {"a": "c"}}}}}),
                &[
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}}}),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}}),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                ],
            ),
            (
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
                &[
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
                ],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                ],
            ),
            (
                json!({"spec": {"minReadySeconds": 600}}),
                &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
            ),
        ] {
            let causes = Deployment.validate(&deployment(patch.clone()));
            let texts: Vec<_> = causes.iter().map(Cause::to_string).collect();
            assert_eq!(texts, expect, "{patch}");
        }
    }

    #[test]
    fn the_selector_never_changes() {
        let (old, new) =
            (deployment(json!({})), deployment(json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}})));
        let causes = Deployment.validate_update(&new, &old);
        assert_eq!(
            causes[0].to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"
        );
        assert_eq!(ReplicaSet.validate_update(&old, &old), []);
    }

    #[test]
    fn annotations_raise_a_deployments_generation() {
        let old = deployment(json!({}));
        let mut new = old.clone();
        new["metadata"] = json!({"annotations": {"x": "y"}});
        assert!(Deployment.generation_changes(&new, &old));
        assert!(!ReplicaSet.generation_changes(&new, &old));
    }
}
