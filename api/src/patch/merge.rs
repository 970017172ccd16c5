//! JSON Merge Patch, RFC 7396.

use serde_json::{Map, Value};

use super::PatchError;

/// The object with the patch applied.
///
/// # Errors
/// [`PatchError::Malformed`] if the patch is no object: it would replace the object by something else.
pub fn apply(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        let got = super::json::word(patch);
        return Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
        )));
    }
    let mut result = object.clone();
    merge(&mut result, patch);
    Ok(result)
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::patch::tests::object;

    #[test]
    fn the_rfcs_examples() {
        for (target, patch, expect) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": 1}), json!({"a": null}), json!({"b": 1})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(&target, &patch).unwrap(), expect, "{target} + {patch}");
        }
        assert!(apply(&json!({}), &json!([1])).is_err());
    }

    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.into_iter().filter(|(_, v)| !v.is_null());
                Value::Object(kept.map(|(key, v)| (key, without_nulls(v))).collect())
            }
            other => other,
        }
    }

    fn difference(a: &Value, b: &Value) -> Value {
        let (Value::Object(from), Value::Object(to)) = (a, b) else { return b.clone() };
        let mut patch = Map::new();
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
        for (key, value) in to {
            match from.get(key) {
                Some(before) if before == value => {}
                Some(before) => {
                    patch.insert(key.clone(), difference(before, value));
                }
                None => {
                    patch.insert(key.clone(), value.clone());
                }
            }
        }
        Value::Object(patch)
    }

    proptest! {
        #[test]
        fn applying_twice_is_applying_once(target in object(), patch in object()) {
            let once = apply(&target, &patch).unwrap();
            prop_assert_eq!(apply(&once, &patch).unwrap(), once);
        }

        /// The patch that makes one object of another, where nothing in it is null.
        #[test]
        fn a_difference_applied_is_the_other(a in object(), b in object()) {
            let (a, b) = (without_nulls(a), without_nulls(b));
            prop_assert_eq!(apply(&a, &difference(&a, &b)).unwrap(), b);
        }

        #[test]
        fn an_empty_patch_changes_nothing(target in object()) {
            prop_assert_eq!(apply(&target, &json!({})).unwrap(), target);
        }
    }
}
