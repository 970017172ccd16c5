//! What of a value can only be replaced as a whole.

use serde_json::Value;

use super::{Shape, Typing};

/// Paths of atomic maps and lists in a value, as `.spec.selector`.
pub fn atomics(typing: Typing<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(typing, value, "", &mut found);
    found
}

fn walk(typing: Typing<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    let atomic = matches!(typing.shape(value), Shape::Leaf);
    match value {
        Value::Object(map) => {
            found.extend(atomic.then(|| path.to_owned()));
            for (key, inner) in map {
                if let Some(child) = typing.child(key) {
                    walk(child, inner, &format!("{path}.{key}"), found);
                }
            }
        }
        Value::Array(list) => {
            found.extend(atomic.then(|| path.to_owned()));
            for (at, item) in list.iter().enumerate() {
                walk(typing.item(), item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::facts;

    #[test]
    fn selectors_and_commands_are_atomic() {
        let typing = Typing::of(facts().by_gvk("apps", "v1", "Deployment"));
        let value = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "x", "args": ["y"]}]}},
        }});
        assert_eq!(atomics(typing, &value), [".spec.selector", ".spec.template.spec.containers[0].args"]);
    }
}
