//! Deployments and replica sets.

use serde_json::Value;

use super::{Column, NONE, age, int, items, name, number, or, str, text};
use crate::selector::LabelSelector;

pub(in crate::kinds) fn deployment() -> Vec<Column> {
    let ready = text("Ready", "Ready pods of those wanted.", |object| {
        format!("{}/{}", int(object, "/status/readyReplicas"), int(object, "/spec/replicas"))
    });
    let counted = |mut column: Column| {
        column.data_type = "string";
        column
    };
    let mut columns = vec![
        name(),
        ready,
        counted(number("Up-to-date", "Pods of the current template.", "/status/updatedReplicas")),
        counted(number("Available", "Pods ready for long enough.", "/status/availableReplicas")),
        age(),
    ];
    columns.extend(template());
    columns
}

pub(in crate::kinds) fn replica_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        number("Desired", "Pods wanted.", "/spec/replicas"),
        number("Current", "Pods that exist.", "/status/replicas"),
        number("Ready", "Pods that are ready.", "/status/readyReplicas"),
        age(),
    ];
    columns.extend(template());
    columns
}

fn template() -> [Column; 3] {
    let each = |field: &'static str| {
        move |object: &Value| {
            let containers = items(object, "/spec/template/spec/containers");
            containers.iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
        }
    };
    [
        text("Containers", "Containers of the template.", each("name")).wide(),
        text("Images", "Images of the template.", each("image")).wide(),
        text("Selector", "Which pods belong to it.", selector).wide(),
    ]
}

fn selector(object: &Value) -> String {
    match LabelSelector::from_object(&object["spec"]["selector"]) {
        Ok(selector) => or(&selector.to_string(), NONE),
        Err(_) => "<error>".to_owned(),
    }
}

/// Whether a condition of this type is true.
pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    let condition = items(object, "/status/conditions").iter().find(|c| c["type"] == kind);
    condition.is_some_and(|c| str(c, "/status") == "True")
}
