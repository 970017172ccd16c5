//! Functions on strings: the standard ones and version 2 of the extended ones. Positions are characters.

use super::{Args, Run, check_items, check_size, printf};
use crate::cel::error::EvalError;
use crate::cel::value::{Eval, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "contains" => |args| test(args, |text, part| text.contains(part)),
        "startsWith" => |args| test(args, |text, part| text.starts_with(part)),
        "endsWith" => |args| test(args, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "lowerAscii" => |args| map(args, |text| text.to_ascii_lowercase()),
        "upperAscii" => |args| map(args, |text| text.to_ascii_uppercase()),
        "trim" => |args| map(args, |text| text.trim().to_owned()),
        "strings.quote" => |args| map(args, quote),
        "jsonpatch.escapeKey" => |args| map(args, escape_key),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "format" => printf::format,
        "join" => join,
        _ => return None,
    })
}

fn test<'a>(args: Args<'_, 'a>, holds: fn(&str, &str) -> bool) -> Eval<Value<'a>> {
    let [text, part] = args.texts()?;
    Ok(Value::Bool(holds(text, part)))
}

fn map<'a>(args: Args<'_, 'a>, with: fn(&str) -> String) -> Eval<Value<'a>> {
    let [text] = args.texts()?;
    Ok(Value::text(with(text)))
}

fn out_of_range<T>(index: i64) -> Eval<T> {
    Err(EvalError::new(format!("index out of range: {index}")))
}

fn char_at<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::String(text), Value::Int(index)] = &args.values[..] else { return args.refuse() };
    let chars: Vec<char> = text.chars().collect();
    match usize::try_from(*index) {
        Ok(at) if at == chars.len() => Ok(Value::text("")),
        Ok(at) => chars.get(at).map_or_else(|| out_of_range(*index), |c| Ok(Value::text(c.to_string()))),
        Err(_) => out_of_range(*index),
    }
}

/// Where one text is in another, from an offset on: forwards or backwards.
pub(super) fn index_of<'a>(args: &Args<'_, 'a>, last: bool) -> Eval<Value<'a>> {
    let (text, part, offset) = match &args.values[..] {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        _ => return args.refuse(),
    };
    let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
    let start = match offset {
        Some(offset) => usize::try_from(offset).or_else(|_| out_of_range(offset))?,
        None if last => text.len().saturating_sub(usize::from(!part.is_empty())),
        None => 0,
    };
    if part.is_empty() {
        return Ok(Value::Int(start.min(text.len()) as i64));
    }
    let Some(latest) = text.len().checked_sub(part.len()).filter(|_| start < text.len()) else {
        return Ok(Value::Int(-1));
    };
    let here = |at: &usize| text.get(*at..at + part.len()) == Some(&part[..]);
    let found = if last { (0..=start.min(latest)).rev().find(here) } else { (start..=latest).find(here) };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn replace<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (text, from, to, limit) = match &args.values[..] {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, -1),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(limit)] => {
            (text, from, to, *limit)
        }
        _ => return args.refuse(),
    };
    let count = if from.is_empty() { text.chars().count() + 1 } else { text.matches(&**from).count() };
    let count = usize::try_from(limit).map_or(count, |limit| count.min(limit));
    check_size(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::text(text.replacen(&**from, to, count)))
}

fn split<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (text, separator, limit) = match &args.values[..] {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return args.refuse(),
    };
    check_items(text.len())?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let parts: Vec<Value<'a>> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        // Go's split by nothing gives the characters, and the rest as the last.
        let mut rest: &str = text;
        let mut parts = Vec::new();
        while let Some(c) = rest.chars().next().filter(|_| parts.len() + 1 < limit) {
            let (head, tail) = rest.split_at(c.len_utf8());
            parts.push(Value::text(head));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Value::text(rest));
        }
        parts
    } else {
        text.splitn(limit, &**separator).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (text, start, end) = match &args.values[..] {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return args.refuse(),
    };
    let chars: Vec<char> = text.chars().collect();
    let length = chars.len() as i64;
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let end = end.unwrap_or(length);
    for index in [start, end] {
        if !(0..=length).contains(&index) {
            return out_of_range(index);
        }
    }
    let part = chars.get(start as usize..end as usize).unwrap_or_default();
    Ok(Value::text(part.iter().collect::<String>()))
}

fn join<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (list, separator) = match &args.values[..] {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return args.refuse(),
    };
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let item = item?;
        let Some(text) = item.as_str() else {
            let what = crate::cel::eval::display(&item);
            return Err(EvalError::new(format!("join: invalid input: {what}")));
        };
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
        check_size(out.len())?;
    }
    Ok(Value::text(out))
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key as a step of a JSON pointer.
fn escape_key(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
