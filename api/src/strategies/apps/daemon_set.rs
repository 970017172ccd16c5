//! Rules of daemon sets.

use serde_json::{Value, json};

use super::super::check::{self, text};
use super::super::pod;
use super::{always_running, filled_selector, matches_labels};
use crate::object;
use crate::selector::LabelSelector;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Counts changes of the template. The field has no place in `apps/v1` any more; it lives on as an
/// annotation that clients see and only the server moves.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Keeps a pod on every node that fits.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        });
        let asked = template_generation(object);
        set_template_generation(object, asked.max(1));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        let changed = object["spec"]["template"] != old["spec"]["template"];
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let (selector, template) = (&spec["selector"], &spec["template"]);
        if selector.is_null() {
            causes.push(Cause::required("spec.selector", ""));
        } else {
            filled_selector(&mut causes, selector, "empty selector is invalid for daemonset");
        }
        if let Ok(parsed) = LabelSelector::from_object(selector) {
            matches_labels(&mut causes, &parsed, template, "spec.template");
        }
        pod::validate_template(&mut causes, template, "spec.template");
        always_running(&mut causes, template, "DaemonSet");
        check::not_negative(&mut causes, "spec.minReadySeconds", &spec["minReadySeconds"]);
        update_strategy(&mut causes, &spec["updateStrategy"]);
        check::not_negative(&mut causes, "spec.revisionHistoryLimit", &spec["revisionHistoryLimit"]);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "spec.selector", &object["spec"]["selector"], &old["spec"]["selector"]);
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let mut causes = Vec::new();
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let (status, before) = (&object["status"], &old["status"]);
        check::none_negative(&mut causes, "status", status, &counts);
        let field = "collisionCount";
        check::never_lower(&mut causes, "status.collisionCount", &status[field], &before[field]);
        causes
    }
}

fn template_generation(object: &Value) -> i64 {
    let annotation = object["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    annotation.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = object::metadata_mut(object).entry("annotations").or_insert_with(|| json!({}));
    check::set(annotations, TEMPLATE_GENERATION, generation.to_string().into());
}

fn update_strategy(causes: &mut Vec<Cause>, strategy: &Value) {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => {
            causes.push(Cause::required("spec.updateStrategy.rollingUpdate", ""));
        }
        "RollingUpdate" => rolling_update(causes, rolling),
        kind => {
            // Upstream shows its internal form of the whole strategy.
            let shown = json!({"RollingUpdate": null, "Type": kind});
            let known = ["RollingUpdate", "OnDelete"];
            causes.push(Cause::not_supported("spec.updateStrategy", &shown, &known));
        }
    }
}

/// Pods go before their successors come, or the other way round, never both.
fn rolling_update(causes: &mut Vec<Cause>, rolling: &Value) {
    let path = |field: &str| format!("spec.updateStrategy.rollingUpdate.{field}");
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    check::count_or_percent(causes, &path("maxUnavailable"), unavailable);
    check::count_or_percent(causes, &path("maxSurge"), surge);
    check::at_most_all(causes, &path("maxUnavailable"), unavailable);
    check::at_most_all(causes, &path("maxSurge"), surge);
    match (check::count_of(unavailable) != 0, check::count_of(surge) != 0) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            causes.push(Cause::invalid(path("maxSurge"), surge, detail));
        }
        (false, false) => {
            causes.push(Cause::required(path("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}
