//! JSON Patch, RFC 6902.

use serde_json::Value;

use super::PatchError;

/// More operations than this are refused, so that one request cannot keep a thread busy for long.
const MAX_OPERATIONS: usize = 10_000;
/// All that a patch copies, as JSON: copies of copies would else grow without bound (upstream's
/// `JSONPatchMaxCopyBytes`).
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// The object with all operations applied in order, as the library upstream uses does it: `replace` of a
/// key that is not there adds it, and the whole document can be replaced and tested, not added.
///
/// # Errors
/// [`PatchError`] for a malformed patch, a path that does not exist, a failed test.
pub fn apply(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) if operations.iter().all(Value::is_object) => operations,
        wrong => {
            let (got, into) = match wrong {
                Value::Array(_) => ("value", "handlers.jsonPatchOp"),
                other => (word(other), "[]handlers.jsonPatchOp"),
            };
            let text =
                format!("error decoding patch: json: cannot unmarshal {got} into Go value of type {into}");
            return Err(PatchError::Malformed(text));
        }
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooMany { max: MAX_OPERATIONS, got: operations.len() });
    }
    let mut result = object.clone();
    let mut copied = 0;
    for operation in operations {
        perform(&mut result, operation, &mut copied)?;
    }
    Ok(result)
}

/// JSON's name of a value's type.
pub(super) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn perform(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let value = || operation.get("value").cloned().unwrap_or_default();
    match name {
        "add" => add(document, text(operation, "path")?, value(), name),
        "replace" => replace(document, text(operation, "path")?, value()),
        "remove" => remove(document, text(operation, "path")?, name).map(drop),
        "move" => {
            let taken = remove(document, text(operation, "from")?, name)?;
            add(document, text(operation, "path")?, taken, name)
        }
        "copy" => {
            let from = text(operation, "from")?;
            let value = get(document, from).ok_or_else(|| missing(name, from))?.clone();
            *copied += value.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                let why = format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED_BYTES}"
                );
                return Err(PatchError::DoesNotApply(why));
            }
            add(document, text(operation, "path")?, value, name)
        }
        "test" => {
            let path = text(operation, "path")?;
            let actual = if path.is_empty() {
                &*document
            } else {
                get(document, path).ok_or_else(|| missing(name, path))?
            };
            if same(actual, &value()) {
                Ok(())
            } else {
                Err(PatchError::TestFailed(format!("testing value {path} failed: test failed")))
            }
        }
        other => Err(PatchError::DoesNotApply(format!("Unexpected kind: {other}"))),
    }
}

/// Structural equality; numbers by value.
fn same(a: &Value, b: &Value) -> bool {
    super::field_set::compare(a, b).is_eq()
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            let why = "replace operation value must be object or array".to_owned();
            return Err(PatchError::DoesNotApply(why));
        }
        *document = value;
        return Ok(());
    }
    let (parent, key) = split(path).ok_or_else(|| missing("replace", path))?;
    match find_mut(document, parent) {
        Some(Value::Object(fields)) => {
            fields.insert(key, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = index(&key, items.len());
            let slot = at.and_then(|at| items.get_mut(at)).ok_or_else(|| missing("replace", path))?;
            *slot = value;
            Ok(())
        }
        _ => Err(missing("replace", path)),
    }
}

fn text<'a>(operation: &'a Value, field: &str) -> Result<&'a str, PatchError> {
    let value = operation.get(field).and_then(Value::as_str);
    value.ok_or_else(|| {
        let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
        PatchError::DoesNotApply(format!("{name} operation failed to decode {field}: missing value"))
    })
}

fn missing(operation: &str, path: &str) -> PatchError {
    PatchError::DoesNotApply(format!(
        "{operation} operation does not apply: doc is missing path: {path:?}: missing value"
    ))
}

/// One reference token, RFC 6901: `~1` is `/`, `~0` is `~`.
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// `/a/b/c` as `/a/b` and `c`; `None` for the root or a path without a leading slash.
fn split(path: &str) -> Option<(&str, String)> {
    let at = path.rfind('/')?;
    Some((&path[..at], unescape(&path[at + 1..])))
}

/// What a path leads to. A key that is missing in an object that is there reads as null.
fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let (parent, key) = split(path)?;
    let mut at = document;
    for token in tokens(parent)? {
        at = match at {
            Value::Object(fields) => fields.get(&token)?,
            Value::Array(items) => items.get(index(&token, items.len())?)?,
            _ => return None,
        };
    }
    match at {
        Value::Object(fields) => Some(fields.get(&key).unwrap_or(&Value::Null)),
        Value::Array(items) => items.get(index(&key, items.len())?),
        _ => None,
    }
}

fn find_mut<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut at = document;
    for token in tokens(path)? {
        at = match at {
            Value::Object(fields) => fields.get_mut(&token)?,
            Value::Array(items) => {
                let index = index(&token, items.len())?;
                items.get_mut(index)?
            }
            _ => return None,
        };
    }
    Some(at)
}

fn tokens(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    Some(path.strip_prefix('/')?.split('/').map(unescape).collect())
}

/// An existing position; negative ones count from the end, as the library upstream uses does.
fn index(token: &str, length: usize) -> Option<usize> {
    if let Some(back) = token.strip_prefix('-') {
        return length.checked_sub(back.parse().ok()?).filter(|at| *at < length);
    }
    token.parse().ok().filter(|at| *at < length)
}

fn add(document: &mut Value, path: &str, value: Value, operation: &str) -> Result<(), PatchError> {
    let (parent, key) = split(path).ok_or_else(|| missing(operation, path))?;
    match find_mut(document, parent) {
        Some(Value::Object(fields)) => {
            fields.insert(key, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            // One place more than there are items: `-1` is behind the last.
            let at = if key == "-" { Some(items.len()) } else { index(&key, items.len() + 1) };
            let Some(at) = at else {
                let why =
                    format!("{operation} operation does not apply: Unable to access invalid index: {key}");
                return Err(PatchError::DoesNotApply(why));
            };
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing(operation, path)),
    }
}

fn remove(document: &mut Value, path: &str, operation: &str) -> Result<Value, PatchError> {
    let Some((parent, key)) = split(path) else { return Err(missing(operation, path)) };
    let removed = match find_mut(document, parent) {
        Some(Value::Object(fields)) => fields.remove(&key),
        Some(Value::Array(items)) => index(&key, items.len()).map(|at| items.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing(operation, path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations() {
        let document = json!({"a": {"b": [1, 2]}, "c~d/e": 1});
        for (patch, expect) in [
            (
                json!([{"op": "add", "path": "/a/x", "value": 3}]),
                json!({"a": {"b": [1, 2], "x": 3}, "c~d/e": 1}),
            ),
            (
                json!([{"op": "add", "path": "/a/b/-", "value": 3}]),
                json!({"a": {"b": [1, 2, 3]}, "c~d/e": 1}),
            ),
            (
                json!([{"op": "add", "path": "/a/b/0", "value": 3}]),
                json!({"a": {"b": [3, 1, 2]}, "c~d/e": 1}),
            ),
            (
                json!([{"op": "replace", "path": "/c~0d~1e", "value": 3}]),
                json!({"a": {"b": [1, 2]}, "c~d/e": 3}),
            ),
            (json!([{"op": "remove", "path": "/a/b/1"}]), json!({"a": {"b": [1]}, "c~d/e": 1})),
            (
                json!([{"op": "move", "from": "/a/b", "path": "/m"}]),
                json!({"a": {}, "m": [1, 2], "c~d/e": 1}),
            ),
            (
                json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/2"}]),
                json!({"a": {"b": [1, 2, 1]}, "c~d/e": 1}),
            ),
            (json!([{"op": "test", "path": "/a/b", "value": [1, 2]}]), document.clone()),
        ] {
            assert_eq!(apply(&document, &patch).unwrap(), expect, "{patch}");
        }
    }

    #[test]
    fn as_the_library_does_it() {
        let document = json!({"a": [1, 2], "n": {"x": 1}});
        for (patch, expect) in [
            // A missing key is added by replace, tests as null, and copies as null.
            (
                json!([{"op": "replace", "path": "/n/y", "value": 2}]),
                json!({"a": [1, 2], "n": {"x": 1, "y": 2}}),
            ),
            (json!([{"op": "test", "path": "/n/y", "value": null}]), document.clone()),
            (
                json!([{"op": "copy", "from": "/n/y", "path": "/z"}]),
                json!({"a": [1, 2], "n": {"x": 1}, "z": null}),
            ),
            (json!([{"op": "add", "path": "/n/y"}]), json!({"a": [1, 2], "n": {"x": 1, "y": null}})),
            // Negative indices count from the end; for add the end is behind the last item.
            (json!([{"op": "add", "path": "/a/-1", "value": 3}]), json!({"a": [1, 2, 3], "n": {"x": 1}})),
            (json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1], "n": {"x": 1}})),
            (json!([{"op": "replace", "path": "/a/-2", "value": 0}]), json!({"a": [0, 2], "n": {"x": 1}})),
            (json!([{"op": "replace", "path": "", "value": {}}]), json!({})),
            (json!([{"op": "test", "path": "", "value": {"a": [1, 2.0], "n": {"x": 1}}}]), document.clone()),
        ] {
            assert_eq!(apply(&document, &patch).unwrap(), expect, "{patch}");
        }
        for patch in [
            json!([{"op": "add", "path": "", "value": {}}]),
            json!([{"op": "remove", "path": ""}]),
            json!([{"op": "replace", "path": "", "value": 1}]),
            json!([{"op": "replace", "path": "/none/x", "value": 1}]),
            json!([{"op": "test", "path": "/none/x", "value": null}]),
            json!([{"op": "test", "path": "/a/7", "value": null}]),
            json!([{"op": "move", "from": "/n/y", "path": "/z"}]),
            json!([{"op": "move", "from": "/n", "path": "/n/x"}]),
            json!([{"op": "add", "path": "/a/-4", "value": 1}]),
            json!([{"op": "add", "path": "/n/x/y", "value": 1}]),
            json!([{"op": "flip", "path": "/a"}]),
            json!([{"path": "/a"}]),
            json!([{"op": "add"}]),
        ] {
            assert!(matches!(apply(&document, &patch), Err(PatchError::DoesNotApply(_))), "{patch}");
        }
    }

    #[test]
    fn copies_are_bounded() {
        let mut patch = vec![json!({"op": "add", "path": "/a", "value": ["x".repeat(1024)]})];
        for _ in 0..20 {
            patch.push(json!({"op": "copy", "from": "/a", "path": "/a/-"}));
        }
        let error = apply(&json!({}), &Value::Array(patch)).unwrap_err().to_string();
        assert!(error.starts_with("Unable to complete the copy"), "{error}");
    }

    #[test]
    fn refusals_name_the_place() {
        let document = json!({"a": [1]});
        for (patch, expect) in [
            (
                json!({}),
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (json!([{"op": "flip", "path": ""}]), "Unexpected kind: flip"),
            (
                json!([{"op": "remove", "path": "/x"}]),
                "remove operation does not apply: doc is missing path: \"/x\": missing value",
            ),
            (
                json!([{"op": "replace", "path": "/a/1", "value": 1}]),
                "replace operation does not apply: doc is missing path: \"/a/1\": missing value",
            ),
            (
                json!([{"op": "add", "path": "/a/7", "value": 1}]),
                "add operation does not apply: Unable to access invalid index: 7",
            ),
            (json!([{"op": "test", "path": "/a", "value": 2}]), "testing value /a failed: test failed"),
        ] {
            assert_eq!(apply(&document, &patch).unwrap_err().to_string(), expect, "{patch}");
        }
        let status =
            crate::Status::from(apply(&document, &json!([{"op": "remove", "path": "/x"}])).unwrap_err());
        assert_eq!(
            (status.code(), status.message.as_str()),
            (422, "the server rejected our request due to an error in our request")
        );
    }
}
