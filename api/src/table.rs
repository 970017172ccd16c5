//! `meta.k8s.io/v1` Tables: what `kubectl get` asks for and prints as it comes.
//!
//! Entry point: [`render`]. Source: KEP-492 (server-side printing).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kinds::{Column, Kind, columns};

/// What of each object comes with its row (`?includeObject=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, as `PartialObjectMetadata`; the default.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// From the query parameter; `None` for a value that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The columns of a kind; name and age if it has none of its own.
fn columns_of(kind: &Kind) -> Cow<'_, [Column]> {
    if kind.columns.is_empty() { Cow::Owned(columns::generic()) } else { Cow::Borrowed(&kind.columns) }
}

/// A Table of objects in the kind's own form. `metadata` is that of the list, or of the single object
/// (`resourceVersion`, `continue`, `remainingItemCount`); ages are as of `now`.
pub fn render<'a>(
    kind: &Kind,
    items: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
    include: IncludeObject,
    metadata: Value,
) -> Value {
    let columns = columns_of(kind);
    let rows: Vec<Value> = items.into_iter().map(|item| row(&columns, item, now, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": if metadata.is_object() { metadata } else { json!({}) },
        "columnDefinitions": definitions(&columns),
        "rows": rows,
    })
}

/// Takes the column definitions away: a watch sends them with its first Table only.
pub fn without_headers(table: &mut Value) {
    if let Value::Object(fields) = table {
        fields.insert("columnDefinitions".to_owned(), Value::Null);
    }
}

fn definitions(columns: &[Column]) -> Value {
    columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name, "type": column.data_type, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        })
        .collect()
}

fn row(columns: &[Column], item: &Value, now: Timestamp, include: IncludeObject) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), columns.iter().map(|column| (column.cell)(item, now)).collect());
    if let Some(conditions) = completed(item) {
        row.insert("conditions".to_owned(), conditions);
    }
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": item["metadata"],
            });
            row.insert("object".to_owned(), partial);
        }
        IncludeObject::Object => {
            row.insert("object".to_owned(), item.clone());
        }
    }
    Value::Object(row)
}

/// Rows of finished pods say so, which lets clients hide them.
fn completed(item: &Value) -> Option<Value> {
    if item["kind"] != "Pod" {
        return None;
    }
    let (reason, message) = match item["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests;
