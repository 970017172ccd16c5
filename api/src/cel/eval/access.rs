//! Fields, elements and keys of values.

use std::sync::Arc;

use super::super::error::EvalError;
use super::super::value::{Eval, Key, List, Map, Value};

/// What an element written `?x` adds: what the optional holds.
pub(super) fn present<'a>(value: Value<'a>, optional: bool) -> Eval<Option<Value<'a>>> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        other => {
            let name = other.type_name();
            Err(EvalError::new(format!("cannot initialize optional entry from non-optional value {name}")))
        }
    }
}

/// `operand.field`; through optionals, an optional.
pub(super) fn select<'a>(operand: &Value<'a>, key: &Key<'a>, optional: bool) -> Eval<Value<'a>> {
    if optional || matches!(operand, Value::Optional(_)) {
        return Ok(Value::Optional(lookup_if_present(operand, key, true)?.map(Arc::new)));
    }
    match operand {
        Value::Map(map) => map.get(key).unwrap_or_else(|| Err(no_such_key(&key.to_value()))),
        _ => Err(no_such_key(&key.to_value())),
    }
}

/// The value of a field, if there is one. Of something without fields, nothing if that is `lenient`.
pub(super) fn lookup_if_present<'a>(
    operand: &Value<'a>,
    key: &Key<'a>,
    lenient: bool,
) -> Eval<Option<Value<'a>>> {
    match operand {
        Value::Optional(None) => Ok(None),
        Value::Optional(Some(inner)) => lookup_if_present(inner, key, lenient),
        Value::Map(map) => map.get(key).transpose(),
        _ if lenient => Ok(None),
        _ => Err(no_such_key(&key.to_value())),
    }
}

/// The element of a list or the value of a map.
pub(super) fn element<'a>(target: &Value<'a>, index: &Value<'a>) -> Eval<Option<Value<'a>>> {
    match target {
        Value::List(list) => {
            let at = list_index(index)?;
            usize::try_from(at).ok().and_then(|at| list.get(at)).transpose()
        }
        Value::Map(map) => match key_of(index) {
            Some(key) => map.get(&key).transpose(),
            None if matches!(map, Map::Values(_) | Map::Message(..)) => Ok(None),
            None => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

/// A key to look up: a whole double finds an integer.
pub(crate) fn key_of<'a>(value: &Value<'a>) -> Option<Key<'a>> {
    match value {
        Value::Double(double) if double.fract() == 0.0 && double.abs() < 9.2e18 => {
            Some(Key::Int(*double as i64))
        }
        other => other.as_key(),
    }
}

pub(crate) fn list_index(index: &Value<'_>) -> Eval<i64> {
    let unsupported = || EvalError::new(format!("unsupported index value {} in list", display(index)));
    match index {
        Value::Int(at) => Ok(*at),
        Value::Uint(at) => i64::try_from(*at).map_err(|_| unsupported()),
        Value::Double(at) if at.fract() == 0.0 && at.abs() < 9.2e18 => Ok(*at as i64),
        Value::Double(_) => Err(unsupported()),
        other => Err(EvalError::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}

pub(super) fn missing(target: &Value<'_>, index: &Value<'_>) -> EvalError {
    match target {
        Value::List(_) => EvalError::new(format!("index out of bounds: {}", display(index))),
        _ => no_such_key(index),
    }
}

pub(super) fn no_such_key(key: &Value<'_>) -> EvalError {
    EvalError::new(format!("no such key: {}", display(key)))
}

/// A key or index as errors show it.
pub(crate) fn display(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(List::Json(..) | List::Values(_)) => "[...]".to_owned(),
        other => other.type_name(),
    }
}
