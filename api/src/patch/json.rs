//! JSON Patch, RFC 6902.

use serde_json::Value;

use super::PatchError;

/// More operations than this are refused, so that one request cannot keep a thread busy for long.
const MAX_OPERATIONS: usize = 10_000;

/// The object with all operations applied in order.
///
/// # Errors
/// [`PatchError`] for a malformed patch, a path that does not exist, a failed test.
pub fn apply(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed("a JSON patch must be a list of operations".to_owned()));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooMany { max: MAX_OPERATIONS, got: operations.len() });
    }
    let mut result = object.clone();
    for operation in operations {
        perform(&mut result, operation)?;
    }
    Ok(result)
}

fn perform(document: &mut Value, operation: &Value) -> Result<(), PatchError> {
    let name = text(operation, "op")?;
    let path = text(operation, "path")?;
    match name {
        "add" => add(document, path, value(operation)?.clone(), name),
        "replace" => {
            *find_mut(document, path).ok_or_else(|| missing(name, path))? = value(operation)?.clone();
            Ok(())
        }
        "remove" => remove(document, path, name).map(drop),
        "move" => {
            let from = text(operation, "from")?;
            let inside = path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/'));
            if inside {
                let why = format!("move operation does not apply: {path:?} lies below {from:?}");
                return Err(PatchError::DoesNotApply(why));
            }
            let taken = remove(document, from, name)?;
            add(document, path, taken, name)
        }
        "copy" => {
            let from = text(operation, "from")?;
            let copied = find(document, from).ok_or_else(|| missing(name, from))?.clone();
            add(document, path, copied, name)
        }
        "test" => {
            let expected = operation.get("value").unwrap_or(&Value::Null);
            let actual = find(document, path).unwrap_or(&Value::Null);
            if actual == expected {
                Ok(())
            } else {
                Err(PatchError::DoesNotApply(format!("testing value {path} failed: test failed")))
            }
        }
        other => Err(PatchError::Malformed(format!("Unexpected kind: {other}"))),
    }
}

fn text<'a>(operation: &'a Value, field: &str) -> Result<&'a str, PatchError> {
    let value = operation.get(field).and_then(Value::as_str);
    value.ok_or_else(|| {
        PatchError::Malformed(format!("a JSON patch operation needs a text field {field:?}: {operation}"))
    })
}

fn value(operation: &Value) -> Result<&Value, PatchError> {
    operation.get("value").ok_or_else(|| {
        PatchError::Malformed(format!("a JSON patch operation of this kind needs a \"value\": {operation}"))
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

fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = document;
    for token in tokens(path)? {
        at = match at {
            Value::Object(fields) => fields.get(&token)?,
            Value::Array(items) => items.get(index(&token, items.len())?)?,
            _ => return None,
        };
    }
    Some(at)
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
    let Some((parent, key)) = split(path) else {
        if path.is_empty() {
            *document = value;
            return Ok(());
        }
        return Err(missing(operation, path));
    };
    match find_mut(document, parent) {
        Some(Value::Object(fields)) => {
            fields.insert(key, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let length = items.len();
            let at = if key == "-" { Some(length) } else { key.parse().ok().filter(|at| *at <= length) };
            let Some(at) = at.or_else(|| index(&key, length)) else {
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
            (json!([{"op": "test", "path": "/none", "value": null}]), document.clone()),
        ] {
            assert_eq!(apply(&document, &patch).unwrap(), expect, "{patch}");
        }
    }

    #[test]
    fn refusals_name_the_place() {
        let document = json!({"a": [1]});
        for (patch, expect) in [
            (json!({}), "a JSON patch must be a list of operations"),
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
        assert_eq!(status.code(), 422);
    }
}
