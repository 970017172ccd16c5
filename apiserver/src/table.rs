//! Projection of the table of kinds: printed columns (`as=Table`).

use api::object;
use serde_json::{Value, json};

use crate::call::Call;
use crate::output;

/// A `meta.k8s.io/v1 Table`.
pub(crate) fn render(call: &Call, metadata: Value, objects: &[Value], columns: bool) -> Value {
    let now = call.server.clock.now();
    let kind = &call.kind;
    let definitions: Vec<Value> = if columns {
        let name =
            json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
        let rest = kind.columns.iter().map(|c| {
            json!({"name": c.name, "type": c.data_type, "format": c.format, "description": c.description,
                   "priority": c.priority})
        });
        std::iter::once(name).chain(rest).collect()
    } else {
        Vec::new()
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = std::iter::once(Value::from(object::name(object)))
                .chain(kind.columns.iter().map(|c| (c.cell)(object, now)))
                .collect();
            let shown = match call.options.include_object.as_str() {
                "None" => Value::Null,
                "Object" => object.clone(),
                _ => output::metadata_only(object),
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
           "columnDefinitions": definitions, "rows": rows})
}
