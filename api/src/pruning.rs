//! Drops fields a schema does not know and says which, as Kubernetes words it (KEP-2885).
//!
//! Entry points: [`prune`] for the walk, [`FieldValidation`] for what a caller wants done about it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema::Schema;

/// At most so many unknown or duplicate fields are reported, as upstream does: a body full of nonsense
/// must not become an answer many times its size.
pub(crate) const MOST_REPORTED: usize = 100;

/// The `fieldValidation` parameter: what unknown and duplicate fields lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped without a word.
    Ignore,
    /// They are dropped and a `Warning` header names each. The default.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

impl FieldValidation {
    /// From the query parameter; `None` if it has another value. An empty one means the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// Removes unknown fields below `value` and returns their paths (`spec.containers[0].imge`).
pub fn prune(schema: Schema<'_>, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, value, &mut String::new(), &mut unknown);
    unknown
}

/// `unknown field "spec.foo"`.
pub fn unknown_field(path: &str) -> String {
    format!("unknown field {path:?}")
}

/// `duplicate field "spec.foo"`.
pub fn duplicate_field(path: &str) -> String {
    format!("duplicate field {path:?}")
}

fn walk(schema: Schema<'_>, value: &mut Value, path: &mut String, unknown: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(map) if schema.def().is_some() => {
            let keep_unknown = schema.preserves_unknown();
            map.retain(|key, inner| {
                push_key(path, key);
                let known = match schema.field(key) {
                    Some(field) => {
                        walk(field.schema(), inner, path, unknown);
                        true
                    }
                    None => keep_unknown,
                };
                if !known && unknown.len() < MOST_REPORTED {
                    unknown.push(path.clone());
                }
                path.truncate(length);
                known
            });
        }
        Value::Object(map) => {
            let Some(values) = schema.values() else { return };
            for (key, inner) in map {
                push_key(path, key);
                walk(values, inner, path, unknown);
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.items() else { return };
            for (index, inner) in list.iter_mut().enumerate() {
                // Writing into a String cannot fail.
                let _ = write!(path, "[{index}]");
                walk(items, inner, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

pub(crate) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::facts;

    #[test]
    fn unknown_fields_go_and_are_named() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "extra": 1,
            "metadata": {"name": "a", "labels": {"any": "thing"}, "labls": {}, "managedFields": [{"fieldsV1": {"f:x": {}}}]},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "imge": "x", "resources": {"limits": {"cpu": 1}}}]},
        });
        let schema = facts().schema("io.k8s.api.core.v1.Pod").unwrap();
        let mut unknown = prune(schema, &mut pod);
        unknown.sort();
        assert_eq!(unknown, ["extra", "metadata.labls", "spec.containers[1].imge"]);
        assert_eq!(
            pod,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "labels": {"any": "thing"}, "managedFields": [{"fieldsV1": {"f:x": {}}}]},
                "spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": 1}}}]},
            })
        );
        assert_eq!(prune(schema, &mut pod), Vec::<String>::new());
    }
}
