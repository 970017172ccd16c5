//! Validates a custom object against its structural schema, in upstream's words.
//!
//! Entry point: [`validate`]. On update, whatever is as it was is not judged again (KEP-4008): a schema
//! that became stricter does not stop changes elsewhere. Texts are those of kube-openapi's validator.

mod logic;
mod scalars;

use serde_json::{Map, Value};

use super::{Additional, JsonType, Node};
use crate::schema::ListType;
use crate::status::Cause;

/// Reasons to refuse `new`; `old` is the stored object on update.
pub fn validate(root: &Node, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(root, &Place { path: String::new(), new, old }, &mut causes);
    causes
}

/// Whether an error of this kind leaves rules unchecked, as they may rely on what it denies.
pub fn blocks_rules(cause: &Cause) -> bool {
    const BLOCKING: [&str; 5] = [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ];
    BLOCKING.contains(&cause.reason)
}

/// A value and where it is.
struct Place<'a> {
    path: String,
    new: &'a Value,
    /// The same place before the change, where it can be told.
    old: Option<&'a Value>,
}

impl<'a> Place<'a> {
    fn child(&self, key: &str, new: &'a Value) -> Self {
        let path = join(&self.path, key);
        Self { path, new, old: self.old.and_then(|old| old.get(key)) }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `spec.x in body should …`.
fn says(place: &Place<'_>, text: &str) -> String {
    format!("{} in body {text}", place.path)
}

fn invalid(causes: &mut Vec<Cause>, place: &Place<'_>, text: &str) {
    causes.push(Cause::invalid(place.path.as_str(), place.new, &says(place, text)));
}

fn walk(node: &Node, place: &Place<'_>, causes: &mut Vec<Cause>) {
    if place.old == Some(place.new) || (place.new.is_null() && node.nullable) {
        return;
    }
    if !check_type(node, place, causes) {
        return;
    }
    scalars::check(&node.checks, place, causes);
    match place.new {
        Value::Object(map) => object(node, map, place, causes),
        Value::Array(list) => array(node, list, place, causes),
        _ => {}
    }
    logic::check(&node.checks, place, causes);
}

/// Whether the value has the schema's type; says so if not.
fn check_type(node: &Node, place: &Place<'_>, causes: &mut Vec<Cause>) -> bool {
    let is_whole = || place.new.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = match (node.int_or_string, node.ty) {
        (true, _) => place.new.is_string() || is_whole(),
        (false, None) => true,
        (false, Some(JsonType::Object)) => place.new.is_object(),
        (false, Some(JsonType::Array)) => place.new.is_array(),
        (false, Some(JsonType::String)) => place.new.is_string(),
        (false, Some(JsonType::Boolean)) => place.new.is_boolean(),
        (false, Some(JsonType::Integer)) => is_whole(),
        (false, Some(JsonType::Number)) => place.new.is_number(),
    };
    if !fits {
        let found = type_name(place.new);
        let wanted = match (node.int_or_string, node.ty) {
            (true, _) => "integer,string",
            (false, ty) => ty.map_or("", JsonType::as_str),
        };
        let detail = says(place, &format!("must be of type {wanted}: {found:?}"));
        causes.push(Cause::type_invalid(place.path.as_str(), &Value::from(found), &detail));
    }
    fits
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn object(node: &Node, map: &Map<String, Value>, place: &Place<'_>, causes: &mut Vec<Cause>) {
    let count = map.len() as u64;
    if let Some(most) = node.checks.max_properties.filter(|most| count > *most) {
        causes.push(too_many(&place.path, count, most));
    }
    if let Some(least) = node.checks.min_properties.filter(|least| count < *least) {
        invalid(causes, place, &format!("should have at least {least} properties"));
    }
    for key in node.required.iter().filter(|key| !map.contains_key(*key)) {
        causes.push(Cause::required(join(&place.path, key), ""));
    }
    for (key, value) in map {
        // The object's own metadata has rules of its own.
        match (node.properties.get(key), &node.additional) {
            (Some(property), _) => walk(property, &place.child(key, value), causes),
            (None, Some(Additional::Schema(values))) => walk(values, &place.child(key, value), causes),
            (None, Some(Additional::Allowed(false))) => {
                let detail = format!("{}.{key} in body is a forbidden property", place.path);
                causes.push(Cause::invalid(place.path.as_str(), &Value::from(""), &detail));
            }
            (None, _) => {}
        }
    }
    if node.embedded {
        for key in ["apiVersion", "kind"] {
            if map.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
                causes.push(Cause::required(join(&place.path, key), "must not be empty"));
            }
        }
    }
}

fn too_many(path: &str, count: u64, most: u64) -> Cause {
    Cause {
        reason: "FieldValueTooMany",
        field: path.to_owned(),
        message: format!("Too many: {count}: must have at most {most} items"),
    }
}

fn array(node: &Node, list: &[Value], place: &Place<'_>, causes: &mut Vec<Cause>) {
    let count = list.len() as u64;
    if let Some(most) = node.checks.max_items.filter(|most| count > *most) {
        causes.push(too_many(&place.path, count, most));
    }
    if let Some(least) = node.checks.min_items.filter(|least| count < *least) {
        invalid(causes, place, &format!("should have at least {least} items"));
    }
    if node.checks.unique_items && has_duplicates(list) {
        invalid(causes, place, "shouldn't contain duplicates");
    }
    if let Some(items) = &node.items {
        for (at, item) in list.iter().enumerate() {
            let path = format!("{}[{at}]", place.path);
            walk(items, &Place { path, new: item, old: counterpart(node, item, place.old) }, causes);
        }
    }
    distinct(node, list, place, causes);
}

fn has_duplicates(list: &[Value]) -> bool {
    list.iter().enumerate().any(|(at, item)| list.iter().take(at).any(|before| before == item))
}

/// What an item was before: known only for lists with keys.
pub(super) fn counterpart<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.list_type != Some(ListType::Map) {
        return None;
    }
    old?.as_array()?
        .iter()
        .find(|before| node.list_map_keys.iter().all(|key| before.get(key) == item.get(key)))
}

/// Sets hold each value once, maps each key; a list that already broke this may go on doing so.
fn distinct(node: &Node, list: &[Value], place: &Place<'_>, causes: &mut Vec<Cause>) {
    let identity = |item: &Value| match node.list_type {
        Some(ListType::Set) => Some(item.clone()),
        Some(ListType::Map) => {
            let keys = node.list_map_keys.iter();
            Some(
                keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
                    .collect::<Map<_, _>>()
                    .into(),
            )
        }
        _ => None,
    };
    let ids = |list: &[Value]| list.iter().filter_map(identity).collect::<Vec<Value>>();
    if place.old.and_then(Value::as_array).is_some_and(|old| has_duplicates(&ids(old))) {
        return;
    }
    let ids = ids(list);
    for (at, id) in ids.iter().enumerate() {
        if ids.iter().take(at).any(|before| before == id) {
            causes.push(Cause::duplicate(format!("{}[{at}]", place.path), id));
        }
    }
}

#[cfg(test)]
mod tests;
