//! JSON Merge Patch, RFC 7396.

use serde_json::{Map, Value};

use super::PatchError;

/// The object with the patch applied.
///
/// # Errors
/// [`PatchError::Malformed`] if the patch is no object: it would replace the object by something else.
pub fn apply(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("Invalid JSON Patch: a merge patch must be an object".to_owned()));
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

    proptest! {
        #[test]
        fn applying_twice_is_applying_once(target in object(), patch in object()) {
            let once = apply(&target, &patch).unwrap();
            prop_assert_eq!(apply(&once, &patch).unwrap(), once);
        }

        #[test]
        fn an_empty_patch_changes_nothing(target in object()) {
            prop_assert_eq!(apply(&target, &json!({})).unwrap(), target);
        }
    }
}
