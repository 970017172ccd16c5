//! `+ - * / %` and negation, checked for overflow.

use std::sync::Arc;

use super::{Args, Run, check_items, check_size};
use crate::cel::ast::operators;
use crate::cel::decl::ListSemantics;
use crate::cel::error::EvalError;
use crate::cel::instant::Instant;
use crate::cel::library::compare::equal;
use crate::cel::value::{Eval, List, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        operators::ADD => |args| binary(args, add),
        "_-_" => |args| binary(args, subtract),
        "_*_" => |args| binary(args, multiply),
        "_/_" => |args| binary(args, divide),
        "_%_" => |args| binary(args, modulo),
        operators::NEGATE => negate,
        operators::NOT => not,
        _ => return None,
    })
}

fn binary<'a>(args: Args<'_, 'a>, with: fn(Value<'a>, Value<'a>) -> Eval<Value<'a>>) -> Eval<Value<'a>> {
    match <[Value<'a>; 2]>::try_from(args.values) {
        Ok([left, right]) => with(left, right),
        Err(_) => Err(EvalError::no_overload()),
    }
}

fn int<'a>(value: Option<i64>) -> Eval<Value<'a>> {
    value.map(Value::Int).ok_or_else(|| EvalError::new("integer overflow"))
}

fn uint<'a>(value: Option<u64>) -> Eval<Value<'a>> {
    value.map(Value::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
}

fn duration<'a>(value: Option<i64>) -> Eval<Value<'a>> {
    value.map(Value::Duration).ok_or_else(|| EvalError::new("duration overflow"))
}

fn timestamp<'a>(value: Option<Instant>) -> Eval<Value<'a>> {
    value.map(Value::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
}

/// The sum; sums of lists as `x + y` in rules are the operator's too ([`List`] of sets and of maps merge).
pub(crate) fn add<'a>(left: Value<'a>, right: Value<'a>) -> Eval<Value<'a>> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_add(b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_add(b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => {
            check_size(a.len() + b.len())?;
            Ok(Value::text([&*a, &*b].concat()))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            check_size(a.len() + b.len())?;
            Ok(Value::Bytes([&*a, &*b].concat().into()))
        }
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(b)),
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => {
            timestamp(at.plus(by.into()))
        }
        (Value::List(a), Value::List(b)) => lists(a, &b),
        _ => Err(EvalError::no_overload()),
    }
}

fn lists<'a>(left: List<'a>, right: &List<'a>) -> Eval<Value<'a>> {
    check_items(left.len() + right.len())?;
    let (mut values, semantics) = match left {
        // Nobody else has it: extended in place.
        List::Values(values) => match Arc::try_unwrap(values) {
            Ok(values) => (values, &ListSemantics::Atomic),
            Err(shared) => (shared.as_ref().clone(), &ListSemantics::Atomic),
        },
        List::Json(_, _, semantics) => (left.iter().collect::<Eval<_>>()?, semantics),
    };
    for item in right.iter() {
        let item = item?;
        match semantics {
            ListSemantics::Atomic => values.push(item),
            ListSemantics::Set => {
                if !contains(&values, &item)? {
                    values.push(item);
                }
            }
            ListSemantics::Map(keys) => {
                let same = values.iter().position(|other| super::compare::same_keys(other, &item, keys));
                match same.and_then(|at| values.get_mut(at)) {
                    Some(slot) => *slot = item,
                    None => values.push(item),
                }
            }
        }
    }
    Ok(Value::list(values))
}

fn contains(values: &[Value<'_>], item: &Value<'_>) -> Eval<bool> {
    for value in values {
        if equal(value, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn subtract<'a>(left: Value<'a>, right: Value<'a>) -> Eval<Value<'a>> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_sub(b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_sub(b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(b)),
        (Value::Timestamp(at), Value::Duration(by)) => timestamp(at.plus(-i128::from(by))),
        (Value::Timestamp(a), Value::Timestamp(b)) => duration(a.since(b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn multiply<'a>(left: Value<'a>, right: Value<'a>) -> Eval<Value<'a>> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_mul(b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn divide<'a>(left: Value<'a>, right: Value<'a>) -> Eval<Value<'a>> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_div(b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_div(b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn modulo<'a>(left: Value<'a>, right: Value<'a>) -> Eval<Value<'a>> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_rem(b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_rem(b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn negate<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Int(value)] => int(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(EvalError::no_overload()),
    }
}

fn not<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvalError::no_overload()),
    }
}
