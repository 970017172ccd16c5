//! Printed columns of the built-in kinds: what `kubectl get` and `-o wide` show, cell by cell.
//!
//! Headings, order and cell texts are upstream's (`pkg/printers/internalversion/printers.go`), because
//! people's scripts cut them apart.

mod autoscaling;
mod event;
mod extensions;
mod network;
mod networking;
mod node;
mod pod;
mod policy;
mod rbac;
mod resource;
mod small;
mod storage;
mod volume;
mod workload;

pub(super) use autoscaling::autoscaler;
pub(super) use event::event;
pub(super) use extensions::{
    api_service, flow_schema, mutating_policy, policy_binding, priority_level, signing_request, trust_bundle,
    validating_policy, webhooks,
};
pub(super) use network::{endpoint_slice, endpoints, service};
pub(super) use networking::{ingress, ingress_class, ip_address, network_policy, service_cidr};
pub(super) use node::node;
pub(super) use pod::{POD_FIELDS, pod};
pub(super) use policy::{pod_disruption_budget, resource_quota};
pub(super) use rbac::{role, role_binding};
pub(super) use resource::{resource_claim, resource_slice};
pub(super) use small::{
    component_status, config_map, controller_revision, lease, namespace, runtime_class, secret,
    service_account,
};
pub(super) use storage::{
    csi_driver, csi_node, csi_storage_capacity, priority_class, storage_class, volume_attachment,
    volume_attributes_class,
};
pub(super) use volume::{persistent_volume, persistent_volume_claim};
pub(super) use workload::{
    cron_job, daemon_set, deployment, job, pod_template, replica_set, replication_controller, stateful_set,
};

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::Column;
use crate::selector::LabelSelector;
use crate::{object, time};

pub(crate) const NONE: &str = "<none>";

impl Column {
    /// A column that always shows.
    pub fn new(
        name: &'static str,
        data_type: &'static str,
        description: &'static str,
        cell: impl Fn(&Value, Timestamp) -> Value + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            data_type,
            format: "",
            description: description.into(),
            priority: 0,
            cell: Arc::new(cell),
        }
    }

    /// Shows only with `-o wide`.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// Columns of a kind that has none of its own.
pub fn generic() -> Vec<Column> {
    vec![name(), age()]
}

/// Columns of the built-in kinds upstream has no printer for (its `NewDefaultTableConvertor`).
pub(super) fn name_and_creation() -> Vec<Column> {
    let created = Column::new("Created At", "date", "Time of creation.", |object, _| {
        object["metadata"]["creationTimestamp"].clone()
    });
    vec![name(), created]
}

fn text(
    name: &'static str,
    description: &'static str,
    cell: impl Fn(&Value) -> String + Send + Sync + 'static,
) -> Column {
    Column::new(name, "string", description, move |object, _| cell(object).into())
}

fn number(name: &'static str, description: &'static str, path: &'static str) -> Column {
    Column::new(name, "integer", description, move |object, _| int(object, path).into())
}

fn name() -> Column {
    let mut column = text("Name", "Unique within its namespace.", |object| object::name(object).to_owned());
    column.format = "name";
    column
}

fn age() -> Column {
    Column::new("Age", "string", "Time since creation.", |object, now| {
        time::age(time::read(&object["metadata"]["creationTimestamp"]), now).into()
    })
}

/// The moment of creation itself, which kinds without a printer show.
fn created_at() -> Column {
    Column::new("Created At", "date", "When it was created.", |object, _| {
        object["metadata"]["creationTimestamp"].clone()
    })
}

/// The name, with `(default)` behind it where an annotation of these names says `true`.
fn is_marked(annotations: &'static [&'static str]) -> Column {
    let mut column = text("Name", "Unique within its namespace.", |object| {
        let marks = &object["metadata"]["annotations"];
        let default = annotations.iter().any(|name| marks[*name] == "true");
        format!("{}{}", object::name(object), if default { " (default)" } else { "" })
    });
    column.format = "name";
    column
}

/// What stands at a path such as `/spec/replicas`. Not a JSON pointer, for which every step would be unescaped into
/// a text of its own: a list of many objects takes dozens of such steps for each.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').skip(1).try_fold(object, |value, key| value.get(key))
}

/// A yes or no at a path.
fn flag(name: &'static str, description: &'static str, path: &'static str, absent: bool) -> Column {
    Column::new(name, "boolean", description, move |object, _| {
        at(object, path).and_then(Value::as_bool).unwrap_or(absent).into()
    })
}

/// A whole number at a path, 0 if absent.
fn int(object: &Value, path: &str) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or_default()
}

/// A text at a path, empty if absent.
fn str<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a path.
fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or a placeholder for an empty one.
fn or(text: &str, placeholder: &str) -> String {
    if text.is_empty() { placeholder.to_owned() } else { text.to_owned() }
}

/// Texts joined by commas.
fn list_text(items: &[Value]) -> String {
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// A `LabelSelector` in words.
fn selector_text(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Ok(selector) => or(&selector.to_string(), NONE),
        Err(_) => "<error>".to_owned(),
    }
}

/// The first few entries and how many follow; empty if there are none.
fn few(all: &[String], max: usize) -> String {
    let shown = all.iter().take(max).cloned().collect::<Vec<_>>().join(",");
    if all.len() > max { format!("{shown} + {} more...", all.len() - max) } else { shown }
}

/// `a=b,c=d`, or `<none>`.
fn label_text(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or(&pairs.join(","), NONE)
}
