//! Rules of `policy`.

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// How many pods of a kind may be missing by choice.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        });
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
        if !least.is_null() && !most.is_null() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            causes.push(Cause::invalid("spec", spec, detail));
        }
        for (field, value) in [("spec.minAvailable", least), ("spec.maxUnavailable", most)] {
            if !value.is_null() {
                check::count_or_percent(&mut causes, field, value);
                check::at_most_all(&mut causes, field, value);
            }
        }
        if !spec["selector"].is_null() {
            check::label_selector(&mut causes, "spec.selector", &spec["selector"]);
        }
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        let choice = text(spec, "unhealthyPodEvictionPolicy");
        if !spec["unhealthyPodEvictionPolicy"].is_null() && !policies.contains(&choice) {
            let field = "spec.unhealthyPodEvictionPolicy";
            causes.push(Cause::not_supported(field, &json!(choice), &policies));
        }
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let mut causes = Vec::new();
        let status = &object["status"];
        check::conditions(&mut causes, "status.conditions", list(status, "conditions"));
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        check::none_negative(&mut causes, "status", status, &counts);
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use super::*;

    fn budget() -> Trial {
        let selector = json!({"matchLabels": {"a": "b"}});
        Trial::of(
            "pdb",
            json!({"metadata": {"name": "p"}, "spec": {"minAvailable": 1, "selector": selector}}),
        )
    }

    #[test]
    fn one_bound_of_two() {
        let budget = budget();
        budget.refuses(json!({"spec": {"minAvailable": "100%"}}), &[]);
        budget.refuses(
            json!({"spec": {"maxUnavailable": 1, "selector": null}}),
            &[
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            ],
        );
        budget.refuses(
            json!({"spec": {"minAvailable": "101%", "unhealthyPodEvictionPolicy": "Never"}}),
            &[
                "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        );
        budget.refuses(
            json!({"spec": {"minAvailable": "half"}}),
            &[
                "spec.minAvailable: Invalid value: \"half\": a valid percent string must be a numeric string followed by an \
                 ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            ],
        );
        budget.refuses(
            json!({"spec": {"minAvailable": -1}}),
            &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
        );
    }

    #[test]
    fn reports() {
        budget().refuses_status(
            json!({}),
            json!({"disruptionsAllowed": -1, "conditions": [
                {"type": "A", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "A", "status": "Yes", "reason": "-"}]}),
            &[
                "status.conditions[1]: Duplicate value: \"A\"",
                "status.conditions[1].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[1].lastTransitionTime: Required value",
                "status.conditions[1].reason: Invalid value: \"-\": a condition reason must start with alphabetic \
                 character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
                 alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or \
                 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
    }
}
