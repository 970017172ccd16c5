//! Defaults inside a schema must be valid by it, and hold no fields it does not know.

use serde_json::{Value, json};

use crate::custom::{Node, VersionSchema, validation};
use crate::pruning;
use crate::status::Cause;

pub(super) fn validate(path: &str, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(path, schema, &mut causes);
    causes
}

fn walk(path: &str, schema: &Value, causes: &mut Vec<Cause>) {
    if let Some(default) = schema.get("default") {
        check(&format!("{path}.default"), schema, default, causes);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.properties[{name}]"), property, causes);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}.items"), &schema["items"], causes);
    }
}

fn check(path: &str, schema: &Value, default: &Value, causes: &mut Vec<Cause>) {
    // A schema for one field, so that values of any type can be pruned.
    let holder = VersionSchema::new("default", &json!({"type": "object", "properties": {"d": schema}}));
    let mut pruned = json!({"d": default});
    if !pruning::prune(holder.schema(), &mut pruned).is_empty() {
        causes.push(Cause::invalid(path, default, "must not have unknown fields"));
        return;
    }
    for mut cause in validation::validate(&Node::read(schema), default, None) {
        if cause.field != "<nil>" {
            cause.field = match cause.field.as_str() {
                "" => path.to_owned(),
                inner if inner.starts_with('[') => format!("{path}{inner}"),
                inner => format!("{path}.{inner}"),
            };
        }
        causes.push(cause);
    }
}
