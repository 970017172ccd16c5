//! Rows of `autoscaling`: `v2` is stored; `v1` is a view of it.
//!
//! `v1` knows one metric, CPU utilisation. Everything else of `v2` travels in annotations, with the
//! names upstream uses, so that a `v1` client's read-modify-write loses nothing.

use serde_json::{Map, Value, json};

use super::{Converted, Kind, Scope, columns, plain};
use crate::object;
use crate::strategies::autoscaling::HorizontalPodAutoscaler;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

pub(super) fn rows() -> Vec<Kind> {
    let row = |version| {
        plain(
            "autoscaling",
            version,
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            Scope::Namespaced,
        )
        .short(&["hpa"])
        .in_all()
        .status()
        .rules(HorizontalPodAutoscaler)
        .printed(columns::autoscaler())
    };
    let converted = Converted {
        group: "autoscaling".into(),
        version: "v2".into(),
        plural: "horizontalpodautoscalers".into(),
        to_storage: v1_to_v2,
        from_storage: v2_to_v1,
    };
    vec![row("v1").stored_as(converted), row("v2")]
}

/// `autoscaling/v1` to `autoscaling/v2`.
pub fn v1_to_v2(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v2".into();
    let mut metrics = parsed_annotation(object, METRICS).unwrap_or_default();
    let spec = object::section(object, "spec");
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage").filter(|v| !v.is_null()) {
        metrics.insert(0, cpu_metric("target", "averageUtilization", target));
    }
    if !metrics.is_empty() {
        spec.insert("metrics".to_owned(), Value::Array(metrics));
    }
    if let Some(behavior) = annotation(object, BEHAVIOR) {
        object::section(object, "spec").insert("behavior".to_owned(), behavior);
    }
    if object.get("status").is_some_and(Value::is_object) {
        status_to_v2(object);
    }
    if let Some(Value::Object(annotations)) = object["metadata"].get_mut("annotations") {
        for key in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
            annotations.remove(key);
        }
    }
}

fn status_to_v2(object: &mut Value) {
    let mut metrics = parsed_annotation(object, CURRENT_METRICS).unwrap_or_default();
    let conditions = parsed_annotation(object, CONDITIONS);
    let status = object::section(object, "status");
    if let Some(current) = status.remove("currentCPUUtilizationPercentage").filter(|v| !v.is_null())
        && !metrics.iter().any(is_cpu_utilization)
    {
        metrics.insert(0, cpu_metric("current", "averageUtilization", current));
    }
    if !metrics.is_empty() {
        status.insert("currentMetrics".to_owned(), Value::Array(metrics));
    }
    if let Some(conditions) = conditions {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }
}

/// `autoscaling/v2` to `autoscaling/v1`.
pub fn v2_to_v1(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v1".into();
    let mut kept: Vec<(&str, Value)> = Vec::new();
    let spec = object::section(object, "spec");
    let (target, others) = split_cpu(spec.remove("metrics"), "target");
    if let Some(target) = target {
        spec.insert("targetCPUUtilizationPercentage".to_owned(), target);
    }
    kept.extend((!others.is_empty()).then_some((METRICS, Value::Array(others))));
    kept.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    if let Some(Value::Object(status)) = object.get_mut("status") {
        let current = status.remove("currentMetrics");
        let (utilization, _) = split_cpu(current.clone(), "current");
        if let Some(utilization) = utilization {
            status.insert("currentCPUUtilizationPercentage".to_owned(), utilization);
        }
        kept.extend(current.map(|current| (CURRENT_METRICS, current)));
        kept.extend(status.remove("conditions").map(|conditions| (CONDITIONS, conditions)));
    }
    if kept.is_empty() {
        return;
    }
    let annotations = object::metadata_mut(object).entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    for (key, value) in kept {
        annotations[key] = value.to_string().into();
    }
}

fn cpu_metric(section: &str, field: &str, value: Value) -> Value {
    let mut numbers = Map::new();
    numbers.insert(field.to_owned(), value);
    if section == "target" {
        numbers.insert("type".to_owned(), "Utilization".into());
    }
    json!({"type": "Resource", "resource": {"name": "cpu", section: numbers}})
}

fn is_cpu_utilization(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && ["target", "current"].iter().any(|s| resource[*s]["averageUtilization"].is_number())
}

/// The CPU utilisation among the metrics, and the other metrics.
fn split_cpu(metrics: Option<Value>, section: &str) -> (Option<Value>, Vec<Value>) {
    let Some(Value::Array(mut metrics)) = metrics else { return (None, Vec::new()) };
    let Some(at) = metrics.iter().position(is_cpu_utilization) else { return (None, metrics) };
    let cpu = metrics.remove(at);
    (Some(cpu["resource"][section]["averageUtilization"].clone()), metrics)
}

fn annotation(object: &Value, key: &str) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][key].as_str()?).ok()
}

fn parsed_annotation(object: &Value, key: &str) -> Option<Vec<Value>> {
    match annotation(object, key)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}
