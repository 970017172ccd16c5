//! Functions on optionals. Selection and indexing through them, `or` and `orValue` are the evaluator's.

use std::sync::Arc;

use super::{Args, Run};
use crate::cel::error::EvalError;
use crate::cel::eval::display;
use crate::cel::instant::Instant;
use crate::cel::value::{Eval, List, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "optional.of" => |args| match args.values.into_iter().next() {
            Some(value) => Ok(Value::some(value)),
            None => Err(EvalError::no_overload()),
        },
        "optional.ofNonZeroValue" => |args| match args.values.into_iter().next() {
            Some(value) if is_zero(&value) => Ok(Value::Optional(None)),
            Some(value) => Ok(Value::some(value)),
            None => Err(EvalError::no_overload()),
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "value" => |args| match &args.values[..] {
            [Value::Optional(Some(inner))] => Ok((**inner).clone()),
            [Value::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
            _ => args.refuse(),
        },
        "hasValue" => |args| match &args.values[..] {
            [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
            _ => args.refuse(),
        },
        "first" => |args| end(args, |_| 0),
        "last" => |args| end(args, |list| list.len().saturating_sub(1)),
        "optional.unwrap" | "unwrapOpt" => unwrap,
        _ => return None,
    })
}

fn end<'a>(args: Args<'_, 'a>, at: fn(&List<'a>) -> usize) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::List(list)] => Ok(Value::Optional(list.get(at(list)).transpose()?.map(Arc::new))),
        _ => args.refuse(),
    }
}

fn unwrap<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut out = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(inner) => out.extend(inner.map(|inner| (*inner).clone())),
            other => return Err(EvalError::new(format!("value {} is not optional", display(&other)))),
        }
    }
    Ok(Value::list(out))
}

/// Whether a value is the zero of its type.
fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        Value::Timestamp(at) => *at == Instant::ZERO,
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}
