//! What differs between two states of an object, as field paths with old and new values.
//!
//! Entry point: [`between`]. What the server writes by itself (`resourceVersion`, `generation`,
//! `managedFields`, the annotation `apply` keeps) is no change. Lists whose elements all have a distinct
//! `name` are compared by it, so that a new container does not change all after it. Values below the
//! fields a kind keeps secret are never shown.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::three_way::LAST_APPLIED;

/// Fields of `metadata` that say nothing about what somebody wanted.
const BOOKKEEPING: [&str; 4] = ["resourceVersion", "generation", "managedFields", "selfLink"];

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Such as `spec.template.spec.containers[name=web].image`.
    pub path: String,
    /// `None` when the field was not there, or is secret.
    pub old: Option<Value>,
    /// `None` when the field is gone, or is secret.
    pub new: Option<Value>,
    /// The values are not shown.
    pub secret: bool,
}

impl Change {
    /// The change as the API shows it.
    pub fn to_json(&self) -> Value {
        let mut shown = json!({ "path": self.path });
        for (name, value) in [("old", &self.old), ("new", &self.new)] {
            if let Some(value) = value {
                shown[name] = value.clone();
            }
        }
        if self.secret {
            shown["secret"] = true.into();
        }
        shown
    }
}

/// The changes that lead from `old` to `new`, in order of their paths; `secret` are the top-level fields
/// whose values are hidden.
pub fn between(old: &Value, new: &Value, secret: &[&str]) -> Vec<Change> {
    let mut found = Found { secret, changes: Vec::new() };
    found.values("", old, new);
    found.changes
}

struct Found<'a> {
    secret: &'a [&'a str],
    changes: Vec<Change>,
}

impl Found<'_> {
    fn values(&mut self, path: &str, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.maps(path, old, new),
            (Value::Array(old), Value::Array(new)) => match (names(old), names(new)) {
                (Some(before), Some(after)) => {
                    for name in before.union(&after) {
                        let path = format!("{path}[name={name}]");
                        self.members(&path, named(old, name), named(new, name));
                    }
                    // The same elements in another order differ nowhere else.
                    if before == after && old.iter().all(|element| new.contains(element)) {
                        self.add(path, Some(&Value::Array(old.clone())), Some(&Value::Array(new.clone())));
                    }
                }
                _ => {
                    for at in 0..old.len().max(new.len()) {
                        self.members(&format!("{path}[{at}]"), old.get(at), new.get(at));
                    }
                }
            },
            _ => self.add(path, Some(old), Some(new)),
        }
    }

    fn maps(&mut self, path: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let bookkeeping = match path {
                "" => ["kind", "apiVersion"].contains(&key.as_str()),
                "metadata" => BOOKKEEPING.contains(&key.as_str()),
                "metadata.annotations" => key == LAST_APPLIED,
                _ => false,
            };
            if !bookkeeping {
                self.members(&below(path, key), old.get(key), new.get(key));
            }
        }
    }

    fn members(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(old), Some(new)) => self.values(path, old, new),
            // A map that comes or goes is told field by field: its parts may be bookkeeping, or secret.
            (None, Some(Value::Object(map))) if !map.is_empty() => self.maps(path, &Map::new(), map),
            (Some(Value::Object(map)), None) if !map.is_empty() => self.maps(path, map, &Map::new()),
            (None, None) => {}
            _ => self.add(path, old, new),
        }
    }

    fn add(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>) {
        let top = path.split(['.', '[']).next().unwrap_or_default();
        let secret = self.secret.contains(&top);
        let shown = |value: Option<&Value>| value.filter(|_| !secret).cloned();
        self.changes.push(Change { path: path.to_owned(), old: shown(old), new: shown(new), secret });
    }
}

/// `spec.replicas`, `metadata.labels[app.kubernetes.io/name]`.
fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ if key.contains(['.', '/', '[']) => format!("{path}[{key}]"),
        _ => format!("{path}.{key}"),
    }
}

/// The names of a list's elements, if all have one and no two the same.
fn names(list: &[Value]) -> Option<BTreeSet<&str>> {
    let names: BTreeSet<&str> = list.iter().map(|element| element["name"].as_str()).collect::<Option<_>>()?;
    (names.len() == list.len()).then_some(names)
}

fn named<'a>(list: &'a [Value], name: &str) -> Option<&'a Value> {
    list.iter().find(|element| element["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &Value, new: &Value, secret: &[&str]) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        between(old, new, secret)
            .iter()
            .map(|change| format!("{} {} {}", change.path, text(&change.old), text(&change.new)))
            .collect()
    }

    #[test]
    fn fields_are_named_by_their_paths() {
        let old = json!({"metadata": {"resourceVersion": "1", "labels": {"a.b/c": "1"}},
            "spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}], "args": ["1", "2"]}});
        let new = json!({"metadata": {"resourceVersion": "2", "labels": {"a.b/c": "2"}, "generation": 4},
            "spec": {"containers": [{"name": "b", "image": "z"}, {"name": "a", "image": "y"}], "args": ["1"],
                     "strategy": {"type": "Recreate"}}});
        let expected = [
            r#"metadata.labels[a.b/c] "1" "2""#,
            r#"spec.args[1] "2" -"#,
            r#"spec.containers[name=a].image "x" "y""#,
            r#"spec.containers[name=b].image - "z""#,
            r#"spec.containers[name=b].name - "b""#,
            "spec.replicas 1 -",
            r#"spec.strategy.type - "Recreate""#,
        ];
        assert_eq!(told(&old, &new, &[]), expected);
    }

    #[test]
    fn order_is_a_change_of_its_own() {
        let (old, new) =
            (json!({"l": [{"name": "a"}, {"name": "b"}]}), json!({"l": [{"name": "b"}, {"name": "a"}]}));
        assert_eq!(told(&old, &new, &[]).len(), 1);
        assert_eq!(told(&old, &old, &[]), [""; 0]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let old = json!({"data": {"password": "aHVudGVyMg=="}, "type": "Opaque"});
        let last = json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"data\":\"aHVudGVyMg==\"}"});
        let new = json!({"metadata": {"annotations": last}, "data": {"password": "czNjcjN0", "more": "eA=="}, "type": "x"});
        let changes = between(&old, &new, &["data"]);
        let text = Value::Array(changes.iter().map(Change::to_json).collect()).to_string();
        assert!(
            text.contains("data.password") && text.contains("data.more") && text.contains("Opaque"),
            "{text}"
        );
        assert!(
            !text.contains("aHVudGVyMg") && !text.contains("czNjcjN0") && !text.contains("eA=="),
            "{text}"
        );
        assert_eq!(told(&json!({}), &json!({"data": "x"}), &["data"]), ["data - -"]);
    }
}
