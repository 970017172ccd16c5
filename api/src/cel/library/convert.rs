//! `type`, `dyn`, and conversions between types.

use super::go;
use super::time;
use super::{Args, Run};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::instant::{Instant, ParseError};
use crate::cel::value::{Eval, Value};
use crate::time::parse_go_duration;

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "type" => |args| unary(args, |value| Ok(Value::Type(value.type_of()))),
        "dyn" => |args| unary(args, |value| Ok(value.clone())),
        "bool" => |args| unary(args, to_bool),
        "bytes" => |args| unary(args, to_bytes),
        "double" => |args| unary(args, to_double),
        "int" => |args| unary(args, to_int),
        "uint" => |args| unary(args, to_uint),
        "string" => |args| unary(args, |value| Ok(Value::text(to_text(value)?))),
        "duration" => |args| unary(args, to_duration),
        "timestamp" => |args| unary(args, to_timestamp),
        "size" => size,
        _ => return None,
    })
}

fn unary<'a>(args: Args<'_, 'a>, with: fn(&Value<'a>) -> Eval<Value<'a>>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [value] => with(value),
        _ => args.refuse(),
    }
}

fn refuse<T>(from: &Value<'_>, to: &str) -> Eval<T> {
    Err(EvalError::new(format!("type conversion error from '{}' to '{to}'", from.type_name())))
}

fn to_bool<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => {
            go::parse_bool(text).map_or_else(|| refuse(value, "bool"), |b| Ok(Value::Bool(b)))
        }
        _ => refuse(value, "bool"),
    }
}

fn to_bytes<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        _ => refuse(value, "bytes"),
    }
}

fn to_double<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    Ok(Value::Double(match value {
        Value::Double(double) => *double,
        Value::Int(int) => *int as f64,
        Value::Uint(uint) => *uint as f64,
        Value::String(text) => match go::parse_float(text) {
            Some(double) => double,
            None => return refuse(value, "double"),
        },
        _ => return refuse(value, "double"),
    }))
}

fn to_int<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    let overflow = || EvalError::new("integer overflow");
    Ok(Value::Int(match value {
        Value::Int(int) => *int,
        Value::Uint(uint) => i64::try_from(*uint).map_err(|_| overflow())?,
        // The limits themselves are not exact in a double: excluded, as upstream.
        Value::Double(double)
            if *double > -9.223_372_036_854_775e18 && *double < 9.223_372_036_854_775e18 =>
        {
            *double as i64
        }
        Value::Double(_) => return Err(overflow()),
        Value::Duration(nanos) => *nanos,
        Value::Timestamp(at) => at.seconds(),
        Value::String(text) => match text.parse() {
            Ok(int) => int,
            Err(_) => return refuse(value, "int"),
        },
        _ => return refuse(value, "int"),
    }))
}

fn to_uint<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    let overflow = || EvalError::new("unsigned integer overflow");
    Ok(Value::Uint(match value {
        Value::Uint(uint) => *uint,
        Value::Int(int) => u64::try_from(*int).map_err(|_| overflow())?,
        Value::Double(double) if *double >= 0.0 && *double < 18_446_744_073_709_551_615.0 => *double as u64,
        Value::Double(_) => return Err(overflow()),
        // Go takes no sign here.
        Value::String(text) => match text.parse() {
            Ok(uint) if !text.starts_with('+') => uint,
            _ => return refuse(value, "uint"),
        },
        _ => return refuse(value, "uint"),
    }))
}

/// What `string(value)` gives.
pub(crate) fn to_text(value: &Value<'_>) -> Eval<String> {
    Ok(match value {
        Value::String(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => go::float(*value),
        Value::Bytes(bytes) => {
            let wrong = "invalid UTF-8 in bytes, cannot convert to string";
            std::str::from_utf8(bytes).map_err(|_| EvalError::new(wrong))?.to_owned()
        }
        Value::Duration(nanos) => time::seconds_text(*nanos),
        Value::Timestamp(at) => at.to_string(),
        Value::Type(ty) => crate::cel::value::type_name(ty),
        Value::Extension(Extension::Ip(address)) => address.to_string(),
        Value::Extension(Extension::Cidr(address, bits)) => format!("{address}/{bits}"),
        _ => return refuse(value, "string"),
    })
}

fn to_duration<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::String(text) => match parse_go_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => refuse(value, "google.protobuf.Duration"),
        },
        _ => refuse(value, "google.protobuf.Duration"),
    }
}

fn to_timestamp<'a>(value: &Value<'a>) -> Eval<Value<'a>> {
    match value {
        Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(seconds) => {
            let at = Instant::new(*seconds, 0);
            at.map(Value::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
        }
        Value::String(text) => match Instant::parse(text, false) {
            Ok(at) => Ok(Value::Timestamp(at)),
            Err(ParseError::Range) => Err(EvalError::new("timestamp overflow")),
            Err(ParseError::Form) => refuse(value, "google.protobuf.Timestamp"),
        },
        _ => refuse(value, "google.protobuf.Timestamp"),
    }
}

fn size<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(i64::try_from(value.cost_size()).unwrap_or(i64::MAX)))
        }
        _ => Err(EvalError::no_overload()),
    }
}
