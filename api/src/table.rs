//! `meta.k8s.io/v1` Tables: what `kubectl get` asks for and prints as it comes.
//!
//! Entry point: [`Tables`], which makes a Table as a whole or row by row. Source: KEP-492 (server-side printing).

mod shape;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kinds::{Column, Kind, columns};

pub use shape::Shape;

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

/// Makes Tables of objects in the kind's own form.
pub struct Tables {
    api_version: &'static str,
    columns: Vec<Column>,
    now: Timestamp,
    include: IncludeObject,
}

impl Tables {
    /// Tables of a kind; `api_version` is that of the Table and of the metadata in its rows
    /// (`meta.k8s.io/v1`, `meta.k8s.io/v1beta1`), ages are as of `now`.
    pub fn of(kind: &Kind, api_version: &'static str, now: Timestamp, include: IncludeObject) -> Self {
        Self { api_version, columns: columns_of(kind).into_owned(), now, include }
    }

    /// A Table of these objects; `metadata` is that of the list, or of the single object
    /// (`resourceVersion`, `continue`, `remainingItemCount`).
    pub fn table<'a>(&self, items: impl IntoIterator<Item = &'a Value>, metadata: Value) -> Value {
        let mut table = self.without_rows(metadata);
        table["rows"] = items.into_iter().map(|item| self.row(item)).collect();
        table
    }

    /// A Table that still lacks its rows.
    pub fn without_rows(&self, metadata: Value) -> Value {
        json!({
            "kind": "Table",
            "apiVersion": self.api_version,
            "metadata": if metadata.is_object() { metadata } else { json!({}) },
            "columnDefinitions": definitions(&self.columns),
        })
    }

    /// The row of an object.
    pub fn row(&self, item: &Value) -> Value {
        let mut row = Map::new();
        let cells = self.columns.iter().map(|column| (column.cell)(item, self.now));
        row.insert("cells".to_owned(), cells.collect());
        if let Some(conditions) = completed(item) {
            row.insert("conditions".to_owned(), conditions);
        }
        match self.include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                let partial = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": self.api_version,
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
