//! What makes a schema structural (KEP-20190425): types say everything about shape, and what stands under
//! `allOf`, `anyOf`, `oneOf` and `not` only restricts values.

use serde_json::{Map, Value, json};

use super::{list, text};
use crate::status::Cause;

/// Where in an object a schema stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

pub(super) fn validate(path: &str, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    invariants(path, schema, Level::Root, &mut causes);
    completeness(path, path, schema, schema, &mut causes);
    causes.sort_by_key(ToString::to_string);
    causes
}

fn set(schema: &Value, key: &str) -> bool {
    schema[key] == true
}

fn invariants(path: &str, schema: &Value, level: Level, causes: &mut Vec<Cause>) {
    let ty = text(&schema["type"]);
    if ty == "array" && schema["items"].is_null() {
        causes.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(&format!("{path}.items"), &schema["items"], Level::Item, causes);
    }
    for (name, property) in properties(schema) {
        invariants(&format!("{path}.properties[{name}]"), property, Level::Field, causes);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() && level == Level::Root {
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), "must not be used at the root"));
    }
    if additional.is_object() {
        invariants(&format!("{path}.additionalProperties"), additional, Level::Field, causes);
    }
    extensions(path, schema, causes);
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let skip_first = schema["allOf"][0]["anyOf"] == either;
    values(path, schema, level, schema["anyOf"] == either, skip_first, causes);
    types(path, schema, level, causes);
    metadata(path, schema, level, causes);
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn extensions(path: &str, schema: &Value, causes: &mut Vec<Cause>) {
    for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if set(schema, "x-kubernetes-int-or-string") && set(schema, key) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            causes.push(Cause::invalid(format!("{path}.{key}"), &json!(true), detail));
        }
    }
}

fn types(path: &str, schema: &Value, level: Level, causes: &mut Vec<Cause>) {
    let (field, ty) = (format!("{path}.type"), text(&schema["type"]));
    let free =
        set(schema, "x-kubernetes-int-or-string") || set(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = set(schema, "x-kubernetes-embedded-resource");
    if embedded && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(match ty {
            "" => Cause::required(&*field, detail),
            _ => Cause::invalid(&*field, &schema["type"], detail),
        });
    } else if ty.is_empty() && !free {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(Cause::required(&*field, detail));
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        causes.push(Cause::invalid(&*field, &schema["type"], "must be object at the root"));
    }
    let preserves = set(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && !preserves && properties(schema).next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(Cause::required(format!("{path}.properties"), detail));
    }
}

fn metadata(path: &str, schema: &Value, level: Level, causes: &mut Vec<Cause>) {
    let whole = level == Level::Root || set(schema, "x-kubernetes-embedded-resource");
    for key in ["kind", "apiVersion"] {
        if let Some(property) = schema["properties"].get(key).filter(|p| whole && p["type"] != "string") {
            let field = format!("{path}.properties[{key}].type");
            causes.push(Cause::invalid(field, &property["type"], "must be string"));
        }
    }
    let Some(metadata) = schema["properties"].get("metadata") else { return };
    let field = format!("{path}.properties[metadata]");
    if whole && metadata["type"] != "object" {
        causes.push(Cause::invalid(format!("{field}.type"), &metadata["type"], "must be object"));
    }
    if level == Level::Root {
        let names = |map: &Map<String, Value>| map.keys().all(|key| key == "name" || key == "generateName");
        let restrains = metadata.as_object().into_iter().flatten().any(|(key, value)| match key.as_str() {
            "type" | "default" => false,
            "properties" => !value.as_object().is_some_and(names),
            _ => true,
        });
        if restrains {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            causes.push(Cause::forbidden(field, detail));
        }
    }
}

/// The restricting part of a schema.
fn values(
    path: &str,
    schema: &Value,
    level: Level,
    skip_any: bool,
    skip_first_all: bool,
    causes: &mut Vec<Cause>,
) {
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && skip_any {
            continue;
        }
        for (at, inner) in list(&schema[key]).iter().enumerate() {
            let skip = key == "allOf" && skip_first_all && at == 0;
            nested(&format!("{path}.{key}[{at}]"), inner, level, skip, causes);
        }
    }
    if schema["not"].is_object() {
        nested(&format!("{path}.not"), &schema["not"], level, false, causes);
    }
    let pattern = text(&schema["pattern"]);
    if !pattern.is_empty() && crate::custom::compile(pattern).is_none() {
        let detail = "must be a valid regular expression, but isn't: error parsing regexp";
        causes.push(Cause::invalid(format!("{path}.pattern"), &schema["pattern"], detail));
    }
}

const FORBIDDEN: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
];

fn nested(path: &str, schema: &Value, level: Level, skip_any: bool, causes: &mut Vec<Cause>) {
    values(path, schema, level, skip_any, false, causes);
    if schema["items"].is_object() {
        nested(&format!("{path}.items"), &schema["items"], level, false, causes);
    }
    for (name, property) in properties(schema) {
        nested(&format!("{path}.properties[{name}]"), property, Level::Field, false, causes);
    }
    for (key, detail) in FORBIDDEN {
        if schema.get(key).is_some_and(|value| !crate::defaulting::is_zero(value)) {
            causes.push(Cause::forbidden(format!("{path}.{key}"), detail));
        }
    }
    if !list(&schema["x-kubernetes-validations"]).is_empty() {
        let field = format!("{path}.x-kubernetes-validations");
        causes.push(Cause::forbidden(field, "must be empty to be structural"));
    }
    if schema["properties"].get("metadata").is_some() {
        let detail = "must not be specified in a nested context";
        causes.push(Cause::forbidden(format!("{path}.properties[metadata]"), detail));
    }
}

/// Every field that is restricted must be specified outside of the restrictions, too.
fn completeness(at: &str, by: &str, shape: &Value, limits: &Value, causes: &mut Vec<Cause>) {
    let mut branch = |by: String, inner: &Value| restricted(at, &by, shape, inner, causes);
    for key in ["allOf", "anyOf", "oneOf"] {
        for (number, inner) in list(&limits[key]).iter().enumerate() {
            branch(format!("{by}.{key}[{number}]"), inner);
        }
    }
    if limits["not"].is_object() {
        branch(format!("{by}.not"), &limits["not"]);
    }
    if std::ptr::eq(shape, limits) {
        for (name, property) in properties(shape) {
            let path = format!("{at}.properties[{name}]");
            completeness(&path, &path, property, property, causes);
        }
        for key in ["items", "additionalProperties"] {
            if shape[key].is_object() {
                let path = format!("{at}.{key}");
                completeness(&path, &path, &shape[key], &shape[key], causes);
            }
        }
    }
}

fn restricted(at: &str, by: &str, shape: &Value, limits: &Value, causes: &mut Vec<Cause>) {
    completeness(at, by, shape, limits, causes);
    let missing = |by: String| format!("because it is defined in {by}");
    if limits["items"].is_object() {
        let (at, by) = (format!("{at}.items"), format!("{by}.items"));
        match shape["items"].is_object() {
            true => restricted(&at, &by, &shape["items"], &limits["items"], causes),
            false => causes.push(Cause::required(at, &missing(by))),
        }
    }
    for (name, inner) in properties(limits) {
        let (at, by) = (format!("{at}.properties[{name}]"), format!("{by}.properties[{name}]"));
        match shape["properties"].get(name) {
            Some(property) => restricted(&at, &by, property, inner, causes),
            None => causes.push(Cause::required(at, &missing(by))),
        }
    }
}
