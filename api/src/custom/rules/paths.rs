//! `fieldPath` of a rule: `.a.b['c.d']`, as it is put behind the path of the rule's place.

use serde_json::Value;

/// The steps of a path, `None` if it is malformed.
fn steps(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']")?;
            found.push(after.get(..end)?.replace("\\'", "'"));
            rest = after.get(end + 2..)?;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            found.push(after.get(..end).filter(|name| !name.is_empty())?.to_owned());
            rest = after.get(end..)?;
        }
    }
    Some(found)
}

/// The path in the form of field errors; empty for none.
pub(super) fn normal(text: &str) -> String {
    steps(text.trim()).unwrap_or_default().join(".")
}

/// Whether a path leads somewhere in a schema.
pub(super) fn is_valid(schema: &Value, text: &str) -> bool {
    let Some(steps) = steps(text) else { return false };
    let mut place = schema;
    for step in &steps {
        let next = match place["properties"].get(step) {
            Some(property) => property,
            None if place["properties"].is_null() && place["additionalProperties"].is_object() => {
                &place["additionalProperties"]
            }
            None => return false,
        };
        place = next;
    }
    !steps.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_schemas() {
        let schema = json!({"properties": {"a": {"properties": {"b.c": {"type": "string"}}},
                                           "m": {"additionalProperties": {"type": "string"}}}});
        for (text, valid) in
            [(".a", true), (".a['b.c']", true), (".b", false), ("a", false), (".m.x", true), (".a[0]", false)]
        {
            assert_eq!(is_valid(&schema, text), valid, "{text}");
        }
        assert_eq!(normal(".a['b.c']"), "a.b.c");
    }
}
