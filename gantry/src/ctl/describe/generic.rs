//! Kinds without a layout of their own, custom ones above all: every field, by name.

use serde_json::{Map, Value};

use super::events;
use super::related::Related;
use super::sheet::{Sheet, text};

/// What stands above, or is of no use to a reader.
const SHOWN_ABOVE: [&str; 5] = [
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
];

/// Writes any object.
pub fn write(sheet: &mut Sheet, object: &Value, related: &Related) {
    sheet.field(0, "Name", api::object::name(object));
    sheet.field(0, "Namespace", api::object::namespace(object));
    sheet.labels("", "Labels", &object["metadata"]["labels"]);
    sheet.annotations("", &object["metadata"]["annotations"]);
    if let Some(fields) = object.as_object() {
        content(sheet, 0, fields, "");
    }
    if let Some(found) = &related.events {
        events::write(sheet, found, related.now);
    }
}

fn content(sheet: &mut Sheet, level: usize, fields: &Map<String, Value>, prefix: &str) {
    for (key, value) in fields {
        let path = format!("{prefix}.{key}");
        if SHOWN_ABOVE.contains(&path.as_str()) {
            continue;
        }
        match value {
            Value::Object(inner) => {
                sheet.line(level, format!("{}:", label(key)));
                content(sheet, level + 1, inner, &path);
            }
            Value::Array(items) => {
                sheet.line(level, format!("{}:", label(key)));
                for item in items {
                    match item {
                        Value::Object(inner) => content(sheet, level + 1, inner, &path),
                        other => sheet.line(level + 1, shown(other)),
                    }
                }
            }
            other => sheet.field(level, &label(key), shown(other)),
        }
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { text(value) }
}

/// `creationTimestamp` is `Creation Timestamp`, `podUID` is `Pod UID`; keys that are data stay.
fn label(key: &str) -> String {
    if !key.chars().all(|c| c.is_alphabetic() || c == '-') {
        return key.to_owned();
    }
    let parts = words(key);
    let titled = parts.iter().filter(|part| part.as_str() != "-").map(|part| {
        let upper = part.to_uppercase();
        if ["API", "URL", "UID", "OSB", "GUID"].contains(&upper.as_str()) {
            return upper;
        }
        let mut letters = part.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    });
    titled.collect::<Vec<String>>().join(" ")
}

/// Splits before an upper-case letter after a lower-case one, and before the last of several upper-case
/// letters that a lower-case one follows.
fn words(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let mut out: Vec<String> = Vec::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|i| letters.get(i));
        let next_is_lower = letters.get(at + 1).is_some_and(|c| c.is_lowercase());
        let starts = match before {
            None => true,
            Some(before) if before.is_alphabetic() != letter.is_alphabetic() => true,
            Some(before) => letter.is_uppercase() && (before.is_lowercase() || next_is_lower),
        };
        match out.last_mut() {
            Some(word) if !starts => word.push(*letter),
            _ => out.push(letter.to_string()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_fields() {
        for (key, expect) in [
            ("creationTimestamp", "Creation Timestamp"),
            ("uid", "UID"),
            ("apiVersion", "API Version"),
            ("podCIDR", "Pod CIDR"),
            ("HTTPServer", "HTTP Server"),
            ("a.b/c", "a.b/c"),
        ] {
            assert_eq!(label(key), expect);
        }
    }
}
