//! `'%s'.format([…])`, version 1: its numbers are written for American English, with thousands separated.

use super::{Args, check_size, convert, go};
use crate::cel::error::EvalError;
use crate::cel::value::{Eval, List, Map, Value};

/// Digits after the point where none are asked for.
const PRECISION: usize = 6;
/// More digits say nothing about a double; the danger is the memory.
const MAX_PRECISION: usize = 1_000;

/// The template with its clauses filled in.
pub(super) fn format<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::String(template), Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut out = String::new();
    let mut next = 0;
    let mut rest: &str = template;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = after.get(1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if next >= list.len() {
            return Err(EvalError::new(format!("index {next} out of range")));
        }
        let Some(item) = list.get(next) else { return args.refuse() };
        next += 1;
        let (text, after) = clause(after, &item?)?;
        out.push_str(&text);
        check_size(out.len())?;
        rest = after;
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

/// One clause after its `%`, and what follows it.
fn clause<'t>(text: &'t str, value: &Value<'_>) -> Eval<(String, &'t str)> {
    if text.is_empty() {
        return Err(EvalError::new("unexpected end of string"));
    }
    let (precision, text) = precision(text)?;
    let Some(verb) = text.chars().next() else { return Err(EvalError::new("unexpected end of string")) };
    let rest = text.get(verb.len_utf8()..).unwrap_or_default();
    let digits = precision.unwrap_or(PRECISION);
    let formatted = match verb {
        's' => string(value)?,
        'd' => decimal(value)?,
        'f' => grouped(&format!("{:.digits$}", double(value, "fixed-point")?)),
        'e' => scientific(double(value, "scientific")?, digits),
        'b' => binary(value)?,
        'x' => hex(value)?,
        'X' => hex(value)?.to_uppercase(),
        'o' => octal(value)?,
        other => return Err(EvalError::new(format!("unrecognized formatting clause \"{other}\""))),
    };
    Ok((formatted, rest))
}

fn precision(text: &str) -> Eval<(Option<usize>, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Ok((None, text)) };
    let Some(end) = text.find(|c: char| !c.is_ascii_digit()) else {
        let wrong = "error while parsing precision: could not find end of precision specifier";
        return Err(EvalError::new(wrong));
    };
    let (digits, rest) = text.split_at(end);
    let wrong = || {
        EvalError::new(format!(
            "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \
             {digits:?}: invalid syntax"
        ))
    };
    let precision: usize = digits.parse().map_err(|_| wrong())?;
    Ok((Some(precision.min(MAX_PRECISION)), rest))
}

fn string(value: &Value<'_>) -> Eval<String> {
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::List(list) => list_text(list),
        Value::Map(map) => map_text(map),
        Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Bool(_)
        | Value::String(_)
        | Value::Timestamp(_)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Type(_) => convert::to_text(value),
        other => Err(EvalError::new(format!(
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
             durations, and timestamps, was given {}",
            other.type_name()
        ))),
    }
}

/// A value inside a list or a map: texts in quotes, doubles with fixed digits.
fn nested(value: &Value<'_>) -> Eval<String> {
    Ok(match value {
        Value::String(text) => go::quote(text),
        Value::Bytes(_) => format!("b{}", go::quote(&convert::to_text(value)?)),
        Value::Double(double) if double.is_finite() => format!("{double:.PRECISION$}"),
        Value::Double(double) => go::quote(&go::float(*double)),
        Value::Duration(_) => format!("duration({})", go::quote(&convert::to_text(value)?)),
        Value::Timestamp(_) => format!("timestamp({})", go::quote(&convert::to_text(value)?)),
        Value::Type(_) => format!("type({})", convert::to_text(value)?),
        other => string(other)?,
    })
}

fn list_text(list: &List<'_>) -> Eval<String> {
    let mut items = Vec::with_capacity(list.len());
    for item in list.iter() {
        items.push(nested(&item?)?);
    }
    Ok(format!("[{}]", items.join(", ")))
}

fn map_text(map: &Map<'_>) -> Eval<String> {
    let mut entries = Vec::new();
    for key in map.keys() {
        let Some(value) = key.as_key().and_then(|key| map.get(&key)) else { continue };
        entries.push((nested(&key)?, nested(&value?)?));
    }
    entries.sort();
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", entries.join(", ")))
}

fn decimal(value: &Value<'_>) -> Eval<String> {
    match value {
        Value::Int(_) | Value::Uint(_) => convert::to_text(value),
        other => wrong("decimal clause can only be used on integers", other),
    }
}

fn wrong<T>(what: &str, value: &Value<'_>) -> Eval<T> {
    Err(EvalError::new(format!("{what}, was given {}", value.type_name())))
}

fn double(value: &Value<'_>, clause: &str) -> Eval<f64> {
    match value {
        Value::Double(double) => Ok(*double),
        Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            Ok(go::parse_float(text).unwrap_or(f64::NAN))
        }
        other => wrong(&format!("{clause} clause can only be used on doubles"), other),
    }
}

/// Commas between thousands.
fn grouped(number: &str) -> String {
    match number {
        "NaN" => return number.to_owned(),
        "inf" => return "∞".to_owned(),
        "-inf" => return "-∞".to_owned(),
        _ => {}
    }
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `1.5 × 10⁰³` with narrow spaces.
fn scientific(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return grouped(&value.to_string());
    }
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |exponent| ("⁻", exponent));
    let raised =
        |c: char| c.to_digit(10).and_then(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize)).unwrap_or(c);
    let exponent: String = format!("{exponent:0>2}").chars().map(raised).collect();
    format!("{mantissa}\u{202f}×\u{202f}10{sign}{exponent}")
}

/// An integer in another base, its sign in front.
fn based(value: &Value<'_>, unsigned: fn(u64) -> String) -> Option<String> {
    match value {
        Value::Int(int) => {
            let sign = if *int < 0 { "-" } else { "" };
            Some(format!("{sign}{}", unsigned(int.unsigned_abs())))
        }
        Value::Uint(uint) => Some(unsigned(*uint)),
        _ => None,
    }
}

fn binary(value: &Value<'_>) -> Eval<String> {
    if let Value::Bool(value) = value {
        return Ok(if *value { "1" } else { "0" }.to_owned());
    }
    let text = based(value, |number| format!("{number:b}"));
    text.map_or_else(|| wrong("only integers and bools can be formatted as binary", value), Ok)
}

fn hex(value: &Value<'_>) -> Eval<String> {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match value {
        Value::String(text) => Ok(bytes(text.as_bytes())),
        Value::Bytes(value) => Ok(bytes(value)),
        other => {
            let text = based(other, |number| format!("{number:x}"));
            let what = "only integers, byte buffers, and strings can be formatted as hex";
            text.map_or_else(|| wrong(what, other), Ok)
        }
    }
}

fn octal(value: &Value<'_>) -> Eval<String> {
    let text = based(value, |number| format!("{number:o}"));
    text.map_or_else(|| wrong("octal clause can only be used on integers", value), Ok)
}
