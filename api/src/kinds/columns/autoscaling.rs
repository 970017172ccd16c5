//! Autoscalers, in both of their forms.

use std::borrow::Cow;

use serde_json::Value;

use super::{Column, NONE, age, items, name, number, str, text};
use crate::quantity;

/// Metrics shown before "more".
const MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(in crate::kinds) fn autoscaler() -> Vec<Column> {
    let quoted = |mut column: Column| {
        column.data_type = "string";
        column
    };
    vec![
        name(),
        text("Reference", "What is scaled.", |hpa| {
            format!("{}/{}", str(hpa, "/spec/scaleTargetRef/kind"), str(hpa, "/spec/scaleTargetRef/name"))
        }),
        text("Targets", "Measured and wanted, for each metric.", targets),
        text("MinPods", "Fewest replicas.", |hpa| {
            hpa["spec"]["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string())
        }),
        quoted(number("MaxPods", "Most replicas.", "/spec/maxReplicas")),
        quoted(number("Replicas", "Replicas seen last.", "/status/currentReplicas")),
        age(),
    ]
}

fn targets(hpa: &Value) -> String {
    let hpa = if hpa["apiVersion"] == "autoscaling/v1" {
        let mut converted = hpa.clone();
        crate::kinds::autoscaling::v1_to_v2(&mut converted);
        Cow::Owned(converted)
    } else {
        Cow::Borrowed(hpa)
    };
    let (specs, statuses) = (items(&hpa, "/spec/metrics"), items(&hpa, "/status/currentMetrics"));
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let all: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| metric(spec, statuses.get(at).unwrap_or(&Value::Null)))
        .collect();
    let shown = all.iter().take(MAX).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > MAX { format!("{shown} + {} more...", all.len() - MAX) } else { shown }
}

fn metric(spec: &Value, status: &Value) -> String {
    let key = match str(spec, "/type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[key]["target"], &status[key]["current"]);
    let amount = |value: &Value| quantity::canonical(value);
    let seen = |field: &str| amount(&current[field]).unwrap_or_else(|| UNKNOWN.to_owned());
    if matches!(key, "resource" | "containerResource") {
        let name = str(&spec[key], "/name");
        if let Some(wanted) = amount(&target["averageValue"]) {
            return format!("{name}: {}/{wanted}", seen("averageValue"));
        }
        let percent = |value: &Value, absent: &str| {
            value["averageUtilization"].as_i64().map_or_else(|| absent.to_owned(), |n| format!("{n}%"))
        };
        return format!("{name}: {}/{}", percent(current, UNKNOWN), percent(target, "<auto>"));
    }
    match amount(&target["averageValue"]) {
        Some(wanted) if key == "pods" => format!("{}/{wanted}", seen("averageValue")),
        Some(wanted) => format!("{}/{wanted} (avg)", seen("averageValue")),
        None => format!("{}/{}", seen("value"), amount(&target["value"]).unwrap_or_default()),
    }
}
