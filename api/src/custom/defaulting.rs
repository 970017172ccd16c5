//! Defaults of a structural schema.
//!
//! Entry point: [`apply`]. A field gets its default when it is absent, or null where null is no value;
//! other such nulls go. Unlike built-in kinds, zero is a value.

use serde_json::{Map, Value};

use super::{Additional, Node};

/// Fills all defaults below `value`. Applying twice changes nothing.
pub fn apply(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => object(node, map),
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for item in list {
                if let Some(default) = stand_in(items, item) {
                    *item = default.clone();
                }
                apply(items, item);
            }
        }
        _ => {}
    }
}

fn object(node: &Node, map: &mut Map<String, Value>) {
    let values = match &node.additional {
        Some(Additional::Schema(values)) => Some(values.as_ref()),
        _ => None,
    };
    map.retain(|key, value| {
        let inner = node.properties.get(key).or(values);
        !inner.is_some_and(|inner| value.is_null() && !inner.nullable && inner.default.is_none())
    });
    for (key, property) in &node.properties {
        let Some(default) = &property.default else { continue };
        if map.get(key).is_none_or(|value| value.is_null() && !property.nullable) {
            map.insert(key.clone(), default.clone());
        }
    }
    for (key, value) in map.iter_mut() {
        match (node.properties.get(key), values) {
            (Some(property), _) => apply(property, value),
            (None, Some(values)) => {
                if let Some(default) = stand_in(values, value) {
                    *value = default.clone();
                }
                apply(values, value);
            }
            (None, None) => {}
        }
    }
}

/// What a null that is no value is replaced by.
fn stand_in<'a>(node: &'a Node, value: &Value) -> Option<&'a Value> {
    node.default.as_ref().filter(|_| value.is_null() && !node.nullable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: Value, mut value: Value, expect: Value) {
        let node = Node::read(&schema);
        apply(&node, &mut value);
        assert_eq!(value, expect, "{schema}");
        apply(&node, &mut value);
        assert_eq!(value, expect, "applied twice: {schema}");
    }

    #[test]
    fn absence_and_wrong_nulls_are_filled() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "string", "nullable": true, "default": "x"},
            "c": {"type": "string"},
            "d": {"type": "object", "default": {}, "properties": {"e": {"type": "string", "default": "in"}}},
        }});
        check(schema.clone(), json!({}), json!({"a": 1, "b": "x", "d": {"e": "in"}}));
        check(
            schema.clone(),
            json!({"a": null, "b": null, "c": null, "d": null}),
            json!({"a": 1, "b": null, "d": {"e": "in"}}),
        );
        check(schema, json!({"a": 0, "b": "", "d": {"e": ""}}), json!({"a": 0, "b": "", "d": {"e": ""}}));
    }

    #[test]
    fn items_and_values() {
        let inner = json!({"type": "object", "default": {"k": 2}, "properties": {"k": {"type": "integer", "default": 1}}});
        check(json!({"type": "array", "items": inner}), json!([{}, null]), json!([{"k": 1}, {"k": 2}]));
        let map = json!({"type": "object", "additionalProperties": inner});
        check(map, json!({"x": {}, "y": null}), json!({"x": {"k": 1}, "y": {"k": 2}}));
        let plain = json!({"type": "object", "additionalProperties": {"type": "string"}});
        check(plain, json!({"x": "1", "y": null}), json!({"x": "1"}));
    }
}
