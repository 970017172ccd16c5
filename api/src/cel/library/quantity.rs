//! `quantity('1Gi')` and its methods.

use std::cmp::Ordering;

use super::{Args, Run, semver};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::value::{Eval, Value};
use crate::quantity::Quantity;

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "quantity" => |args| {
            let [text] = args.texts()?;
            text.parse().map(wrap).map_err(|error| EvalError::new(error_text(error)))
        },
        "isQuantity" => |args| {
            let [text] = args.texts()?;
            Ok(Value::Bool(text.parse::<Quantity>().is_ok()))
        },
        "sign" => |args| on_one(args, |quantity| Ok(Value::Int(quantity.cmp(&Quantity::ZERO) as i64))),
        "asApproximateFloat" => |args| on_one(args, |quantity| Ok(Value::Double(quantity.as_f64()))),
        "isInteger" => |args| on_one(args, |quantity| Ok(Value::Bool(quantity.is_whole()))),
        "asInteger" => |args| {
            on_one(args, |quantity| match quantity.is_whole() {
                true => Ok(Value::Int(quantity.value())),
                false => Err(EvalError::new("cannot convert value to integer")),
            })
        },
        "isGreaterThan" => |args| Ok(Value::Bool(compare(&args)? == Ordering::Greater)),
        "isLessThan" => |args| Ok(Value::Bool(compare(&args)? == Ordering::Less)),
        "compareTo" => |args| Ok(Value::Int(compare(&args)? as i64)),
        "add" => |args| {
            let (a, b) = operands(&args)?;
            Ok(wrap(a + b))
        },
        "sub" => |args| {
            let (a, b) = operands(&args)?;
            Ok(wrap(a - b))
        },
        _ => return None,
    })
}

fn error_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wrap<'a>(quantity: Quantity) -> Value<'a> {
    Value::Extension(Extension::Quantity(quantity))
}

fn on_one<'a>(args: Args<'_, 'a>, with: fn(Quantity) -> Eval<Value<'a>>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Extension(Extension::Quantity(quantity))] => with(*quantity),
        _ => args.refuse(),
    }
}

/// The order of two quantities, or of two versions: both libraries use these names.
fn compare(args: &Args<'_, '_>) -> Eval<Ordering> {
    match &args.values[..] {
        [Value::Extension(Extension::Quantity(a)), Value::Extension(Extension::Quantity(b))] => Ok(a.cmp(b)),
        [Value::Extension(Extension::Semver(a)), Value::Extension(Extension::Semver(b))] => {
            Ok(semver::compare(a, b))
        }
        _ => args.refuse(),
    }
}

fn operands(args: &Args<'_, '_>) -> Eval<(Quantity, Quantity)> {
    match &args.values[..] {
        [Value::Extension(Extension::Quantity(a)), Value::Extension(Extension::Quantity(b))] => Ok((*a, *b)),
        [Value::Extension(Extension::Quantity(a)), Value::Int(b)] => Ok((*a, Quantity::from_units(*b))),
        _ => args.refuse(),
    }
}
