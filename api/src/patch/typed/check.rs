//! Whether a value is of its type, with upstream's words.

use serde_json::Value;

use super::{Shape, Typing, item_element};
use crate::patch::field_set::PathElement;
use crate::patch::go_print::{syntax as go_syntax, type_name as go_type, value as go};
use crate::schema::Type;

/// Whether lists known by keys or values may repeat them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// They may: stored objects were never checked for that.
    Allowed,
    /// They may not.
    Refused,
}

/// Everything about a value that is not of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedError(pub Vec<String>);

impl std::fmt::Display for TypedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|text| write!(f, "\n  {text}"))
            }
        }
    }
}

impl std::error::Error for TypedError {}

/// Checks a value.
///
/// # Errors
/// [`TypedError`] with every fault found.
pub fn check(typing: Typing<'_>, value: &Value, duplicates: Duplicates) -> Result<(), TypedError> {
    let mut walk = Walk { duplicates, path: Vec::new(), faults: Vec::new() };
    walk.value(typing, value);
    if walk.faults.is_empty() { Ok(()) } else { Err(TypedError(walk.faults)) }
}

struct Walk {
    duplicates: Duplicates,
    path: Vec<String>,
    faults: Vec<String>,
}

impl Walk {
    fn fault(&mut self, text: &str) {
        let path = self.path.concat();
        self.faults.push(if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") });
    }

    fn below(&mut self, element: String, visit: impl FnOnce(&mut Self)) {
        self.path.push(element);
        visit(self);
        self.path.pop();
    }

    fn value(&mut self, typing: Typing<'_>, value: &Value) {
        let ty = typing.schema().map(|schema| schema.ty());
        match (value, ty) {
            (Value::Null, _) => {}
            (Value::Object(map), None | Some(Type::Object(_) | Type::Map(_) | Type::Raw(_))) => {
                for (key, inner) in map {
                    self.below(format!(".{key}"), |walk| match typing.child(key) {
                        Some(child) => walk.value(child, inner),
                        None => walk.fault("field not declared in schema"),
                    });
                }
            }
            (Value::Array(list), None | Some(Type::List(_) | Type::Raw(_))) => {
                self.list(typing, typing.shape(value), list);
            }
            (_, None | Some(Type::Raw(_))) => {}
            (_, Some(Type::Object(_) | Type::Map(_))) => {
                self.fault(&format!("expected map, got &{{{}}}", go(value)))
            }
            (_, Some(Type::List(_))) => self.fault(&format!("expected list, got &{{{}}}", go(value))),
            (_, Some(scalar)) => {
                if let Some(text) = scalar_fault(scalar, value) {
                    self.fault(&text);
                }
            }
        }
    }

    fn list(&mut self, typing: Typing<'_>, shape: Shape<'_>, list: &[Value]) {
        let items = typing.item();
        let mut seen: Vec<PathElement> = Vec::new();
        for (at, item) in list.iter().enumerate() {
            let element = if matches!(shape, Shape::Set | Shape::Keyed(_)) {
                match item_element(shape, items, item) {
                    Ok(element) => element,
                    Err(why) => return self.fault(&format!("element {at}: {why}")),
                }
            } else {
                PathElement::Index(i64::try_from(at).unwrap_or(i64::MAX))
            };
            if self.duplicates == Duplicates::Refused && seen.contains(&element) {
                self.fault(&format!("duplicate entries for key {element}"));
            }
            self.below(element.to_string(), |walk| walk.value(items, item));
            if !matches!(element, PathElement::Index(_)) {
                seen.push(element);
            }
        }
    }
}

fn scalar_fault(ty: Type, value: &Value) -> Option<String> {
    match ty {
        Type::Int32 | Type::Int64 | Type::Number if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {}", go_type(value)))
        }
        Type::Bool if !value.is_boolean() => Some(format!("expected boolean, got &{{{}}}", go(value))),
        Type::IntOrString | Type::Quantity if value.is_array() || value.is_object() => {
            Some(format!("expected any scalar, got &{{{}}}", go(value)))
        }
        Type::String | Type::Bytes | Type::Time | Type::MicroTime | Type::Duration if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)))
        }
        _ => None,
    }
}
