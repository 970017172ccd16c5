//! The patch `apply` sends: from what was applied last, what is wanted now and what stands there, the
//! strategic merge patch that brings wanted fields, removes fields no longer wanted, and leaves alone
//! what others have set.
//!
//! Entry point: [`patch`]. Source: kubectl's documentation of declarative object management.

use serde_json::{Map, Value, json};

use crate::schema::Schema;

/// Where apply keeps the last applied form of an object.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The strategic merge patch from `current` to what `wanted` asks for, given `last` (an empty object when
/// the object was never applied). Without a schema lists are atomic, as in a JSON merge patch. Returns an
/// empty object when there is nothing to do.
pub fn patch(last: &Value, wanted: &Value, current: &Value, schema: Option<Schema<'_>>) -> Value {
    Value::Object(objects(&map_of(last), &map_of(wanted), &map_of(current), schema))
}

fn map_of(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn objects(
    last: &Map<String, Value>,
    wanted: &Map<String, Value>,
    current: &Map<String, Value>,
    schema: Option<Schema<'_>>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, want) in wanted {
        let empty = Value::Null;
        let have = current.get(name).unwrap_or(&empty);
        let before = last.get(name).unwrap_or(&empty);
        field(name, before, want, have, schema, &mut out);
    }
    for name in last.keys().filter(|name| !wanted.contains_key(*name) && current.contains_key(*name)) {
        out.insert(name.clone(), Value::Null);
    }
    out
}

fn field(
    name: &str,
    before: &Value,
    want: &Value,
    have: &Value,
    schema: Option<Schema<'_>>,
    out: &mut Map<String, Value>,
) {
    let field = schema.and_then(|s| s.field(name));
    let inner = field.map(|f| f.schema()).or_else(|| schema.and_then(Schema::values));
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            let changes = objects(&map_of(before), want, have, inner);
            if !changes.is_empty() {
                out.insert(name.to_owned(), Value::Object(changes));
            }
        }
        (Value::Array(want), Value::Array(have)) => {
            let key = field.and_then(|f| f.patch_merge_key());
            match key {
                Some(key) => {
                    let before = before.as_array().map_or(&[][..], Vec::as_slice);
                    let items = inner.and_then(Schema::items);
                    merged_list(name, key, before, want, have, items, out);
                }
                None if want != have => {
                    out.insert(name.to_owned(), Value::Array(want.clone()));
                }
                None => {}
            }
        }
        // A null in a manifest asks for nothing.
        (Value::Null, _) => {}
        _ if want == have => {}
        _ => {
            out.insert(name.to_owned(), want.clone());
        }
    }
}

fn merged_list(
    name: &str,
    key: &str,
    before: &[Value],
    want: &[Value],
    have: &[Value],
    items: Option<Schema<'_>>,
    out: &mut Map<String, Value>,
) {
    let find = |list: &[Value], id: &Value| list.iter().find(|item| &item[key] == id).cloned();
    let mut changes = Vec::new();
    for item in want {
        let id = &item[key];
        match find(have, id) {
            None => changes.push(item.clone()),
            Some(current) => {
                let last = find(before, id).unwrap_or_else(|| json!({}));
                let mut change = objects(&map_of(&last), &map_of(item), &map_of(&current), items);
                if !change.is_empty() {
                    change.insert(key.to_owned(), id.clone());
                    changes.push(Value::Object(change));
                }
            }
        }
    }
    for item in before {
        let id = &item[key];
        if find(want, id).is_none() && find(have, id).is_some() {
            changes.push(json!({"$patch": "delete", key: id}));
        }
    }
    if !changes.is_empty() {
        let order = want.iter().map(|item| json!({key: item[key]})).collect();
        out.insert(format!("$setElementOrder/{name}"), Value::Array(order));
        out.insert(name.to_owned(), Value::Array(changes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: Value, wanted: Value, current: Value, expect: Value) {
        let schema = crate::schema::facts().schema("io.k8s.api.apps.v1.Deployment");
        assert_eq!(patch(&last, &wanted, &current, schema), expect);
    }

    #[test]
    fn only_what_changed() {
        check(
            json!({}),
            json!({"spec": {"replicas": 2}}),
            json!({"spec": {"replicas": 2, "paused": true}}),
            json!({}),
        );
        check(
            json!({"spec": {"replicas": 1, "paused": true}}),
            json!({"spec": {"replicas": 2}}),
            json!({"spec": {"replicas": 1, "paused": true, "minReadySeconds": 3}}),
            json!({"spec": {"replicas": 2, "paused": null}}),
        );
    }

    #[test]
    fn containers_merge_by_name() {
        let pod = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        check(
            pod(json!([{"name": "a", "image": "1"}, {"name": "gone", "image": "1"}])),
            pod(json!([{"name": "a", "image": "2"}])),
            pod(json!([
                {"name": "a", "image": "1", "imagePullPolicy": "Always"}, {"name": "gone", "image": "1"},
                {"name": "injected", "image": "1"}])),
            json!({"spec": {"template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"image": "2", "name": "a"}, {"$patch": "delete", "name": "gone"}]}}}}),
        );
    }
}
