//! What any schema of a definition must obey: unsupported keywords, extensions, list keys, rules' texts.

use serde_json::{Value, json};

use super::{list, text};
use crate::status::Cause;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// What a place inherits from those above it.
#[derive(Clone, Default)]
struct Inherited {
    /// Why defaults are forbidden, if they are.
    no_defaults: Option<String>,
    in_metadata: bool,
}

pub(super) fn validate(path: &str, root: &Value, causes: &mut Vec<Cause>) {
    walk(path, root, &Inherited::default(), true, causes);
}

fn walk(path: &str, schema: &Value, above: &Inherited, root: bool, causes: &mut Vec<Cause>) {
    keywords(path, schema, above, causes);
    extensions(path, schema, causes);
    list_type(path, schema, causes);
    for (at, rule) in list(&schema["x-kubernetes-validations"]).iter().enumerate() {
        rule_texts(&format!("{path}.x-kubernetes-validations[{at}]"), rule, causes);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut inherited = above.clone();
        if (root || schema["x-kubernetes-embedded-resource"] == true) && META.contains(&name.as_str()) {
            inherited.in_metadata = true;
            if root {
                inherited.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        walk(&format!("{path}.properties[{name}]"), property, &inherited, false, causes);
    }
    if schema["additionalProperties"].is_object() {
        let mut inherited = above.clone();
        if above.in_metadata {
            inherited.no_defaults =
                Some("inside additionalProperties applying to object metadata".to_owned());
        }
        walk(
            &format!("{path}.additionalProperties"),
            &schema["additionalProperties"],
            &inherited,
            false,
            causes,
        );
    }
    for key in ["not", "items"] {
        if schema[key].is_object() {
            walk(&format!("{path}.{key}"), &schema[key], above, false, causes);
        }
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (at, inner) in list(&schema[key]).iter().enumerate() {
            walk(&format!("{path}.{key}[{at}]"), inner, above, false, causes);
        }
    }
}

fn keywords(path: &str, schema: &Value, above: &Inherited, causes: &mut Vec<Cause>) {
    let ty = text(&schema["type"]);
    if ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        causes.push(Cause::forbidden(format!("{path}.type"), detail));
    } else if !ty.is_empty() && !TYPES.contains(&ty) {
        causes.push(Cause::not_supported(format!("{path}.type"), &schema["type"], &TYPES));
    }
    if let (Some(reason), Some(_)) = (&above.no_defaults, schema.get("default")) {
        causes.push(Cause::forbidden(format!("{path}.default"), &format!("must not be set {reason}")));
    }
    for key in UNSUPPORTED {
        if schema.get(key).is_some_and(|value| !crate::defaulting::is_zero(value)) {
            causes.push(Cause::forbidden(format!("{path}.{key}"), &format!("{key} is not supported")));
        }
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        causes.push(Cause::forbidden(format!("{path}.items"), detail));
    }
    if above.in_metadata && schema["x-kubernetes-embedded-resource"] == true {
        let field = format!("{path}.x-kubernetes-embedded-resource");
        causes.push(Cause::forbidden(field, "must not be used inside of resource meta"));
    }
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), detail));
    }
    let additional = &schema["additionalProperties"];
    let has_properties = schema["properties"].as_object().is_some_and(|map| !map.is_empty());
    if has_properties && (additional.is_object() || *additional == false) {
        let detail = "additionalProperties and properties are mutual exclusive";
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
}

fn extensions(path: &str, schema: &Value, causes: &mut Vec<Cause>) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema[preserve] == false {
        let detail = "must be true or undefined";
        causes.push(Cause::invalid(format!("{path}.{preserve}"), &json!(false), detail));
    }
    for (key, ty, words) in [
        ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
        ("x-kubernetes-list-type", "array", &["atomic", "set", "map"][..]),
    ] {
        let Some(value) = schema.get(key) else { continue };
        if schema["type"] != ty {
            let detail = format!("must be {ty} if {key} is specified");
            causes.push(match text(&schema["type"]) {
                "" => Cause::required(format!("{path}.type"), &detail),
                _ => Cause::invalid(format!("{path}.type"), &schema["type"], &detail),
            });
        }
        if !words.contains(&text(value)) {
            causes.push(Cause::not_supported(format!("{path}.{key}"), value, words));
        }
    }
}

fn list_type(path: &str, schema: &Value, causes: &mut Vec<Cause>) {
    let (list_type, items) = (text(&schema["x-kubernetes-list-type"]), &schema["items"]);
    let keys = list(&schema["x-kubernetes-list-map-keys"]);
    let type_field = format!("{path}.x-kubernetes-list-type");
    if !keys.is_empty() && list_type != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        causes.push(match list_type {
            "" => Cause::required(type_field, detail),
            _ => Cause::invalid(type_field, &schema["x-kubernetes-list-type"], detail),
        });
    }
    match list_type {
        "set" => set_items(path, items, causes),
        "map" => map_items(path, schema, keys, causes),
        _ => return,
    }
    if items["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        causes.push(Cause::forbidden(format!("{path}.items.nullable"), &detail));
    }
}

fn set_items(path: &str, items: &Value, causes: &mut Vec<Cause>) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (key, fine) = match text(&items["type"]) {
        "array" => {
            ("x-kubernetes-list-type", ["", "atomic"].contains(&text(&items["x-kubernetes-list-type"])))
        }
        "object" => ("x-kubernetes-map-type", items["x-kubernetes-map-type"] == "atomic"),
        _ => return,
    };
    if !fine {
        causes.push(Cause::invalid(format!("{path}.items.{key}"), &items["x-kubernetes-list-type"], detail));
    }
}

fn map_items(path: &str, schema: &Value, keys: &[Value], causes: &mut Vec<Cause>) {
    let (items, field) = (&schema["items"], format!("{path}.x-kubernetes-list-map-keys"));
    if keys.is_empty() {
        causes.push(Cause::required(&*field, "must not be empty if x-kubernetes-list-type is map"));
    }
    if !items.is_object() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        causes.push(Cause::required(format!("{path}.items"), detail));
        return;
    }
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(format!("{path}.items.type"), &items["type"], detail));
        return;
    }
    let shown = &schema["x-kubernetes-list-map-keys"];
    for (at, key) in keys.iter().enumerate() {
        if keys.iter().take(at).any(|before| before == key) {
            causes.push(Cause::invalid(&*field, shown, "must not contain duplicate entries"));
        }
        let key = text(key);
        let Some(property) = items["properties"].get(key) else {
            causes.push(Cause::invalid(&*field, shown, "entries must all be names of item properties"));
            continue;
        };
        let place = format!("{path}.items.properties[{key}]");
        if ["array", "object"].contains(&text(&property["type"])) {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(Cause::invalid(format!("{place}.type"), &items["type"], detail));
        }
        let given =
            list(&items["required"]).iter().any(|name| *name == key) || property.get("default").is_some();
        if !given {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(Cause::required(format!("{place}.default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.push(Cause::forbidden(format!("{place}.nullable"), detail));
        }
    }
}

fn rule_texts(path: &str, rule: &Value, causes: &mut Vec<Cause>) {
    let field = |key: &str| format!("{path}.{key}");
    let (words, message) = (text(&rule["rule"]).trim(), text(&rule["message"]));
    let breaks = |text: &str| text.contains(['\n', '\r']);
    if words.is_empty() {
        causes.push(Cause::required(field("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        causes.push(Cause::invalid(field("message"), &rule["message"], "must be non-empty if specified"));
    } else if breaks(message.trim()) {
        causes.push(Cause::invalid(field("message"), &rule["message"], "must not contain line breaks"));
    } else if breaks(words) && message.trim().is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        causes.push(Cause::required(field("message"), detail));
    }
    let expression = text(&rule["messageExpression"]);
    if !expression.is_empty() && expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        causes.push(Cause::required(field("messageExpression"), detail));
    }
    if let Some(reason) = rule.get("reason").filter(|reason| !REASONS.contains(&text(reason))) {
        causes.push(Cause::not_supported(field("reason"), reason, &REASONS));
    }
    let place = text(&rule["fieldPath"]);
    if !place.is_empty() && place.trim().is_empty() {
        causes.push(Cause::invalid(field("fieldPath"), &rule["fieldPath"], "must be non-empty if specified"));
    }
    if breaks(place) {
        causes.push(Cause::invalid(field("fieldPath"), &rule["fieldPath"], "must not contain line breaks"));
    }
}
