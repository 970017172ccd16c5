//! Equality, order, membership.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{Args, Run};
use crate::cel::ast::operators;
use crate::cel::decl::{ListSemantics, Object};
use crate::cel::error::EvalError;
use crate::cel::escaping::escape;
use crate::cel::eval::key_of;
use crate::cel::value::{Eval, Key, List, Map, Text, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        operators::EQUALS => |args| equality(&args, true),
        operators::NOT_EQUALS => |args| equality(&args, false),
        "_<_" => |args| ordered(&args, Ordering::is_lt),
        "_<=_" => |args| ordered(&args, Ordering::is_le),
        "_>_" => |args| ordered(&args, Ordering::is_gt),
        "_>=_" => |args| ordered(&args, Ordering::is_ge),
        operators::IN => is_in,
        _ => return None,
    })
}

fn equality<'a>(args: &Args<'_, 'a>, wanted: bool) -> Eval<Value<'a>> {
    match &args.values[..] {
        [left, right] => Ok(Value::Bool(equal(left, right)? == wanted)),
        _ => Err(EvalError::no_overload()),
    }
}

fn ordered<'a>(args: &Args<'_, 'a>, holds: fn(Ordering) -> bool) -> Eval<Value<'a>> {
    match &args.values[..] {
        [left, right] => Ok(Value::Bool(holds(compare(left, right)?))),
        _ => Err(EvalError::no_overload()),
    }
}

fn is_in<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [item, Value::List(list)] => {
            for other in list.iter() {
                if equal(&other?, item)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [key, Value::Map(map)] => match key_of(key) {
            Some(key) => Ok(Value::Bool(map.get(&key).transpose()?.is_some())),
            None => Ok(Value::Bool(false)),
        },
        _ => Err(EvalError::no_overload()),
    }
}

/// Whether two values are the same: numbers by value, values of different types never.
pub(crate) fn equal(left: &Value<'_>, right: &Value<'_>) -> Eval<bool> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => {
            crate::cel::value::type_name(a) == crate::cel::value::type_name(b)
        }
        (Value::Extension(a), Value::Extension(b)) => a == b,
        (Value::Unknown(a), Value::Unknown(b)) => a == b,
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b)?,
            (None, None) => true,
            _ => false,
        },
        (Value::List(a), Value::List(b)) => equal_lists(a, b)?,
        (Value::Map(a), Value::Map(b)) => equal_maps(a, b)?,
        (a, b) => numbers(a, b) == Some(Ordering::Equal),
    })
}

fn equal_lists(left: &List<'_>, right: &List<'_>) -> Eval<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    let semantics = match left {
        List::Json(_, _, semantics) => semantics,
        List::Values(_) => &ListSemantics::Atomic,
    };
    if *semantics == ListSemantics::Atomic {
        for (a, b) in left.iter().zip(right.iter()) {
            if !equal(&a?, &b?)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    // Sets and maps: in any order, but each item of one has its own in the other.
    let items = left.iter().collect::<Eval<Vec<_>>>()?;
    let mut seen = vec![false; items.len()];
    for other in right.iter() {
        let other = other?;
        let mut found = false;
        for (item, seen) in items.iter().zip(&mut seen) {
            if let ListSemantics::Map(keys) = semantics
                && !same_keys(item, &other, keys)
            {
                continue;
            }
            if equal(item, &other)? {
                (found, *seen) = (true, true);
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(seen.iter().all(|seen| *seen))
}

/// Whether two items of a map-like list have the same keys.
pub(crate) fn same_keys(left: &Value<'_>, right: &Value<'_>, keys: &[String]) -> bool {
    let value = |item: &Value<'_>, property: &str| {
        let Value::Map(map) = item else { return None };
        let key = Key::String(Text::Shared(escape(property)?.into()));
        map.get(&key)?.ok()?.to_json().ok()
    };
    keys.iter().all(|property| value(left, property) == value(right, property))
}

fn equal_maps(left: &Map<'_>, right: &Map<'_>) -> Eval<bool> {
    let message = |map: &Map<'_>| match map {
        Map::Message(name, _) => Some((*name).to_owned()),
        _ => None,
    };
    if left.len() != right.len() || message(left) != message(right) {
        return Ok(false);
    }
    if let (Map::Object(a, declared), Map::Object(b, _)) = (left, right) {
        return equal_objects(left, right, (a, b), declared);
    }
    for key in left.keys() {
        let Some(key) = key.as_key() else { return Ok(false) };
        let (Some(a), Some(b)) = (left.get(&key), right.get(&key)) else { return Ok(false) };
        if !equal(&a?, &b?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

type JsonObject = serde_json::Map<String, Json>;

/// Declared fields by their types, others as they are.
fn equal_objects(
    left: &Map<'_>,
    right: &Map<'_>,
    (a, b): (&JsonObject, &JsonObject),
    declared: &Object,
) -> Eval<bool> {
    for (property, value) in a {
        let identifier = escape(property).filter(|identifier| declared.identifiers.contains_key(identifier));
        match identifier {
            Some(identifier) => {
                let key = Key::String(Text::Shared(identifier.into()));
                let same = match (left.get(&key).transpose()?, right.get(&key).transpose()?) {
                    (Some(a), Some(b)) => equal(&a, &b)?,
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    return Ok(false);
                }
            }
            None => {
                if b.get(property).is_some_and(|other| other != value) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// The order of two values of one type, or of two numbers.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>) -> Eval<Ordering> {
    let is_nan = |value: &Value<'_>| matches!(value, Value::Double(double) if double.is_nan());
    Ok(match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (a, b) => match numbers(a, b) {
            Some(order) => order,
            None if is_nan(a) || is_nan(b) => return Err(EvalError::new("NaN values cannot be ordered")),
            None => return Err(EvalError::no_overload()),
        },
    })
}

/// The order of two numbers of any types; none if one is no number.
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => with_double(i128::from(*a), *b),
        (Value::Uint(a), Value::Double(b)) => with_double(i128::from(*a), *b),
        (Value::Double(a), Value::Int(b)) => with_double(i128::from(*b), *a).map(Ordering::reverse),
        (Value::Double(a), Value::Uint(b)) => with_double(i128::from(*b), *a).map(Ordering::reverse),
        _ => None,
    }
}

/// Exact: no integer is rounded.
fn with_double(int: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 2e19 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = double.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(double - double.trunc() + 0.0))))
}
