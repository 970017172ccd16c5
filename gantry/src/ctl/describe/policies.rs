//! Quotas, limits, budgets, priorities, autoscalers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Row::{self, Annotations, Events, Labels, Part, Text, Time};
use super::related::Related;
use super::sheet::{Sheet, format_selector, items, number, pairs, text};

const NAME: Row = Text("Name", "/metadata/name");
const NAMESPACE: Row = Text("Namespace", "/metadata/namespace");

/// A quota's resources: used and hard.
pub fn quota_rows(quota: &Value) -> Vec<Vec<String>> {
    let status = &quota["status"];
    let hard = if status["hard"].is_object() { &status["hard"] } else { &quota["spec"]["hard"] };
    let amount = |value: &Value| if value.is_null() { "0".to_owned() } else { text(value) };
    let all = hard.as_object().into_iter().flatten();
    all.map(|(name, hard)| vec![name.clone(), amount(&status["used"][name]), text(hard)]).collect()
}

/// A limit range's lines.
pub fn limit_rows(range: &Value) -> Vec<Vec<String>> {
    const PARTS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let mut rows = Vec::new();
    for limit in items(&range["spec"]["limits"]) {
        let of_part =
            |part: &&str| limit[*part].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let names: BTreeSet<String> = PARTS.iter().flat_map(of_part).collect();
        for name in names {
            let shown = |part: &&str| match text(&limit[*part][&name]) {
                text if text.is_empty() => "-".to_owned(),
                text => text,
            };
            let mut row = vec![text(&limit["type"]), name.clone()];
            row.extend(PARTS.iter().map(shown));
            rows.push(row);
        }
    }
    rows
}

/// `ResourceQuota`.
pub const QUOTA: &[Row] = &[
    NAME,
    NAMESPACE,
    Part(|s, o, _| {
        let scopes: Vec<String> = items(&o["spec"]["scopes"]).iter().map(text).collect();
        if !scopes.is_empty() {
            s.field(0, "Scopes", scopes.join(", "));
        }
        s.table(0, "", &["Resource", "Used", "Hard"], &quota_rows(o));
    }),
];

/// `LimitRange`.
pub const LIMITS: &[Row] = &[
    NAME,
    NAMESPACE,
    Part(|s, o, _| {
        let names =
            ["Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio"];
        s.table(0, "", &names, &limit_rows(o));
    }),
];

/// `PodDisruptionBudget`.
pub const BUDGET: &[Row] = &[
    NAME,
    NAMESPACE,
    Part(|s, o, _| {
        let (spec, status) = (&o["spec"], &o["status"]);
        match (&spec["minAvailable"], &spec["maxUnavailable"]) {
            (Value::Null, Value::Null) => {}
            (Value::Null, most) => s.field(0, "Max unavailable", text(most)),
            (least, _) => s.field(0, "Min available", text(least)),
        }
        let selector = &spec["selector"];
        let selector = if selector.is_null() { "<unset>".to_owned() } else { format_selector(selector) };
        s.field(0, "Selector", selector);
        s.line(0, "Status:");
        for (title, field) in [
            ("Allowed disruptions", "disruptionsAllowed"),
            ("Current", "currentHealthy"),
            ("Desired", "desiredHealthy"),
            ("Total", "expectedPods"),
        ] {
            s.field(2, title, number(&status[field]));
        }
    }),
    Events,
];

/// `PriorityClass`.
pub const PRIORITY: &[Row] = &[
    NAME,
    Text("Value", "/value"),
    Part(|s, o, _| s.field(0, "GlobalDefault", o["globalDefault"] == true)),
    Text("PreemptionPolicy", "/preemptionPolicy"),
    Text("Description", "/description"),
    Part(|s, o, _| s.field(0, "Annotations", pairs(&o["metadata"]["annotations"]))),
    Events,
];

/// `HorizontalPodAutoscaler`, v2.
pub const AUTOSCALER: &[Row] = &[
    NAME,
    NAMESPACE,
    Labels("Labels", "/metadata/labels"),
    Annotations,
    Time("CreationTimestamp", "/metadata/creationTimestamp"),
    Part(|s, o, _| {
        let target = &o["spec"]["scaleTargetRef"];
        s.field(0, "Reference", format!("{}/{}", text(&target["kind"]), text(&target["name"])));
    }),
    Part(metrics),
    Part(|s, o, _| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let least = &spec["minReplicas"];
        s.field(0, "Min replicas", if least.is_null() { "<unset>".to_owned() } else { text(least) });
        s.field(0, "Max replicas", number(&spec["maxReplicas"]));
        behavior(s, &spec["behavior"]);
        let (now, wanted) = (number(&status["currentReplicas"]), number(&status["desiredReplicas"]));
        let kind = text(&spec["scaleTargetRef"]["kind"]);
        s.line(0, format!("{kind} pods:\t{now} current / {wanted} desired"));
        let rows: Vec<Vec<String>> = items(&status["conditions"])
            .iter()
            .map(|c| vec![text(&c["type"]), text(&c["status"]), text(&c["reason"]), text(&c["message"])])
            .collect();
        if !rows.is_empty() {
            s.table(1, "Conditions", &["Type", "Status", "Reason", "Message"], &rows);
        }
    }),
    Events,
];

fn metrics(sheet: &mut Sheet, object: &Value, _: &Related) {
    sheet.line(0, "Metrics:\t( current / target )");
    for (at, metric) in items(&object["spec"]["metrics"]).iter().enumerate() {
        let current = object["status"]["currentMetrics"].get(at).unwrap_or(&Value::Null);
        let kind = text(&metric["type"]);
        let mut letters = kind.chars();
        let field: String =
            letters.next().map(|f| f.to_lowercase().chain(letters).collect()).unwrap_or_default();
        let (source, seen) = (&metric[&field], &current[&field]["current"]);
        let target = &source["target"];
        let title = match kind.as_str() {
            "Resource" => format!("resource {} on pods", text(&source["name"])),
            "ContainerResource" => {
                format!(
                    "resource {} of container {:?} on pods",
                    text(&source["name"]),
                    text(&source["container"])
                )
            }
            "Pods" => format!("{:?} on pods", text(&source["metric"]["name"])),
            "Object" => {
                let what = &source["describedObject"];
                format!(
                    "{:?} on {}/{}",
                    text(&source["metric"]["name"]),
                    text(&what["kind"]),
                    text(&what["name"])
                )
            }
            "External" => format!("{:?}", text(&source["metric"]["name"])),
            other => {
                sheet.line(1, format!("<unknown metric type {other:?}>"));
                continue;
            }
        };
        let known = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { text(value) };
        let line = match (kind.as_str(), &target["averageValue"], &target["value"]) {
            ("Resource" | "ContainerResource" | "Pods", wanted @ Value::String(_), _) => {
                format!("{title}:\t{} / {}", known(&seen["averageValue"]), text(wanted))
            }
            ("Resource" | "ContainerResource", ..) => {
                let now = match seen["averageUtilization"].as_i64() {
                    Some(percent) => format!("{percent}% ({})", text(&seen["averageValue"])),
                    None => "<unknown>".to_owned(),
                };
                let wanted = target["averageUtilization"].as_i64();
                let wanted = wanted.map_or_else(|| "<auto>".to_owned(), |percent| format!("{percent}%"));
                format!("{title}  (as a percentage of request):\t{now} / {wanted}")
            }
            (_, wanted @ Value::String(_), _) => {
                format!(
                    "{title} (target average value):\t{} / {}",
                    known(&seen["averageValue"]),
                    text(wanted)
                )
            }
            (.., wanted) => format!("{title} (target value):\t{} / {}", known(&seen["value"]), text(wanted)),
        };
        sheet.line(1, line);
    }
}

fn behavior(sheet: &mut Sheet, behavior: &Value) {
    if behavior.is_null() {
        return;
    }
    sheet.line(0, "Behavior:");
    for (title, field) in [("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")] {
        let rules = &behavior[field];
        if rules.is_null() {
            continue;
        }
        sheet.line(1, format!("{title}:"));
        if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
            sheet.line(2, format!("Stabilization Window: {seconds} seconds"));
        }
        if !items(&rules["policies"]).is_empty() {
            let select = text(&rules["selectPolicy"]);
            sheet.line(2, format!("Select Policy: {}", if select.is_empty() { "Max" } else { &select }));
            sheet.line(2, "Policies:");
            for policy in items(&rules["policies"]) {
                let (value, period) = (number(&policy["value"]), number(&policy["periodSeconds"]));
                sheet.line(
                    3,
                    format!("- Type: {}\tValue: {value}\tPeriod: {period} seconds", text(&policy["type"])),
                );
            }
        }
    }
}
