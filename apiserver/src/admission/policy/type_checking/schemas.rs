//! Schemas of built-in kinds as expressions' types are made of: without references.

use api::schema::{Schema, Type};
use serde_json::{Map, Value, json};

/// The schema of a kind, all of it in one tree. What holds itself is anything from there on.
pub(super) fn structural(schema: Schema<'_>) -> Value {
    below(schema, &mut Vec::new())
}

/// `above` names the definitions this stands in.
fn below<'a>(schema: Schema<'a>, above: &mut Vec<&'a str>) -> Value {
    match schema.ty() {
        Type::String | Type::Duration | Type::Quantity => json!({"type": "string"}),
        Type::Int32 | Type::Int64 => json!({"type": "integer"}),
        Type::Number => json!({"type": "number"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
        Type::IntOrString => json!({"x-kubernetes-int-or-string": true}),
        Type::Raw(_) => json!({"type": "object"}),
        Type::List(_) => {
            json!({"type": "array", "items": schema.items().map(|items| below(items, above))})
        }
        Type::Map(_) => {
            let values = schema.values().map(|values| below(values, above));
            json!({"type": "object", "additionalProperties": values})
        }
        Type::Object(_) if above.contains(&schema.name()) => json!({}),
        Type::Object(_) => {
            above.push(schema.name());
            let fields = schema.fields().map(|field| (field.name().to_owned(), below(field.schema(), above)));
            let fields: Map<String, Value> = fields.collect();
            above.pop();
            json!({"type": "object", "properties": fields})
        }
    }
}
