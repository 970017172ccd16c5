//! Rules of `autoscaling`; objects are in the stored form, `v2`.

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Follows a measure with a number of replicas.
pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"desiredReplicas": 0});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let (low, high) = (&spec["minReplicas"], &spec["maxReplicas"]);
        if low.as_i64().is_some_and(|low| low < 1) {
            causes.push(Cause::invalid("spec.minReplicas", low, "must be greater than or equal to 1"));
        }
        let max = high.as_i64().unwrap_or_default();
        if max < 1 {
            causes.push(Cause::invalid("spec.maxReplicas", &json!(max), "must be greater than 0"));
        }
        if low.as_i64().is_some_and(|low| max < low) {
            let detail = "must be greater than or equal to `minReplicas`";
            causes.push(Cause::invalid("spec.maxReplicas", &json!(max), detail));
        }
        for field in ["kind", "name"] {
            let path = format!("spec.scaleTargetRef.{field}");
            check::required(&mut causes, &path, &spec["scaleTargetRef"][field], None);
        }
        for (at, metric) in list(spec, "metrics").iter().enumerate() {
            validate_metric(&mut causes, &format!("spec.metrics[{at}]"), metric);
        }
        for direction in ["scaleUp", "scaleDown"] {
            let rules = &spec["behavior"][direction];
            if !rules.is_null() {
                scaling_rules(&mut causes, &format!("spec.behavior.{direction}"), rules);
            }
        }
        causes
    }
}

fn validate_metric(causes: &mut Vec<Cause>, path: &str, metric: &Value) {
    let kinds = SOURCES.map(|(kind, _)| kind);
    let kind = text(metric, "type");
    if kind.is_empty() {
        causes.push(Cause::required(format!("{path}.type"), "must specify a metric source type"));
        return;
    }
    let Some((_, key)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
        causes.push(Cause::not_supported(format!("{path}.type"), &metric["type"], &kinds));
        return;
    };
    for (_, other) in SOURCES.iter().filter(|(_, other)| other != key) {
        if !metric[*other].is_null() {
            let detail = "must populate the given metric source only";
            causes.push(Cause::forbidden(format!("{path}.{other}"), detail));
        }
    }
    let source = &metric[*key];
    if source.is_null() {
        let detail = "must populate information for the given metric source";
        causes.push(Cause::required(format!("{path}.{key}"), detail));
        return;
    }
    let path = format!("{path}.{key}");
    match kind {
        "Resource" | "ContainerResource" => {
            if text(source, "name").is_empty() {
                causes.push(Cause::required(format!("{path}.name"), "must specify a resource name"));
            }
            if kind == "ContainerResource" && text(source, "container").is_empty() {
                causes.push(Cause::required(format!("{path}.container"), "must specify a container"));
            }
        }
        _ if text(&source["metric"], "name").is_empty() => {
            causes.push(Cause::required(format!("{path}.metric.name"), "must specify a metric name"));
        }
        _ => {}
    }
    validate_target(causes, &format!("{path}.target"), &source["target"]);
}

fn validate_target(causes: &mut Vec<Cause>, path: &str, target: &Value) {
    check::one_of(
        causes,
        &format!("{path}.type"),
        &target["type"],
        &["Utilization", "Value", "AverageValue"],
    );
    let utilization = &target["averageUtilization"];
    if utilization.as_i64().is_some_and(|percent| percent < 1) {
        causes.push(Cause::invalid(
            format!("{path}.averageUtilization"),
            utilization,
            "must be greater than 0",
        ));
    }
    for field in ["value", "averageValue"] {
        let amount = &target[field];
        if !amount.is_null() && Quantity::from_json(amount).is_ok_and(|q| q <= Quantity::ZERO) {
            causes.push(Cause::invalid(format!("{path}.{field}"), amount, "must be positive"));
        }
    }
    let field = match text(target, "type") {
        "Utilization" => "averageUtilization",
        "Value" => "value",
        "AverageValue" => "averageValue",
        _ => return,
    };
    if target[field].is_null() {
        let detail = match field {
            "averageUtilization" => "must set either a target raw value or a target utilization",
            _ => "must set either a target value for metric or a per-pod target",
        };
        causes.push(Cause::required(format!("{path}.{field}"), detail));
    }
}

fn scaling_rules(causes: &mut Vec<Cause>, path: &str, rules: &Value) {
    let window = &rules["stabilizationWindowSeconds"];
    check::not_negative(causes, &format!("{path}.stabilizationWindowSeconds"), window);
    if window.as_i64().is_some_and(|seconds| seconds > 3600) {
        let field = format!("{path}.stabilizationWindowSeconds");
        causes.push(Cause::invalid(field, window, "must be less than or equal to 3600"));
    }
    if !rules["selectPolicy"].is_null() {
        let field = format!("{path}.selectPolicy");
        check::one_of(causes, &field, &rules["selectPolicy"], &["Disabled", "Max", "Min"]);
    }
    let policies = list(rules, "policies");
    if policies.is_empty() {
        causes.push(Cause::required(format!("{path}.policies"), "must specify at least one Policy"));
    }
    for (at, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{at}]");
        check::one_of(causes, &format!("{path}.type"), &policy["type"], &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let number = policy[field].as_i64().unwrap_or_default();
            if number <= 0 {
                let field = format!("{path}.{field}");
                causes.push(Cause::invalid(field, &json!(number), "must be greater than zero"));
            }
        }
        if policy["periodSeconds"].as_i64().is_some_and(|seconds| seconds > 1800) {
            let field = format!("{path}.periodSeconds");
            let detail = "must be less than or equal to 1800";
            causes.push(Cause::invalid(field, &policy["periodSeconds"], detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_autoscalers() {
        let good = json!({"spec": {"minReplicas": 1, "maxReplicas": 4,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}],
            "behavior": {"scaleDown": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}}});
        assert_eq!(HorizontalPodAutoscaler.validate(&good), []);
        let bad = json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "D"},
            "metrics": [{"type": "Magic"}, {"type": "Resource", "pods": {}}],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 4000}}}});
        let texts: Vec<_> = HorizontalPodAutoscaler.validate(&bad).iter().map(Cause::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.name: Required value",
                "spec.metrics[0].type: Unsupported value: \"Magic\": supported values: \"ContainerResource\", \
                 \"External\", \"Object\", \"Pods\", \"Resource\"",
                "spec.metrics[1].pods: Forbidden: must populate the given metric source only",
                "spec.metrics[1].resource: Required value: must populate information for the given metric source",
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
                "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            ]
        );
    }
}
