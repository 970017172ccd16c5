//! Functions on lists: Kubernetes' own and version 3 of cel-go's; `cel.@mapInsert` of the comprehensions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arithmetic::add;
use super::compare::{compare, equal};
use super::{Args, Run, check_items, strings};
use crate::cel::ast::operators;
use crate::cel::error::EvalError;
use crate::cel::eval::display;
use crate::cel::value::{Entries, Eval, Key, List, Map, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |args| extreme(args, Ordering::Greater),
        "max" => |args| extreme(args, Ordering::Less),
        "indexOf" => |args| index_of(args, false),
        "lastIndexOf" => |args| index_of(args, true),
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |args| sort(&args, 0),
        "@sortByAssociatedKeys" => |args| sort(&args, 1),
        "lists.range" => range,
        "reverse" => reverse,
        "distinct" => distinct,
        operators::MAP_INSERT => insert,
        _ => return None,
    })
}

fn items<'a>(list: &List<'a>) -> Eval<Vec<Value<'a>>> {
    list.iter().collect()
}

fn is_sorted<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let items = items(list)?;
    for pair in items.windows(2) {
        if let [before, after] = pair
            && compare(before, after)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

/// Of nothing: zero of the first kind that fits, which for an untyped list is an integer.
fn sum<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut items = list.iter();
    let Some(first) = items.next() else {
        return Ok(match args.overload {
            "list_uint_sum_uint" => Value::Uint(0),
            "list_double_sum_double" => Value::Double(0.0),
            "list_duration_sum_duration" => Value::Duration(0),
            _ => Value::Int(0),
        });
    };
    let first = first?;
    if !matches!(first, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)) {
        return Err(EvalError::no_overload());
    }
    let mut total = first;
    for item in items {
        total = add(total, item?)?;
    }
    Ok(total)
}

fn extreme<'a>(args: Args<'_, 'a>, replaced_if: Ordering) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        best = match best {
            Some(best) if compare(&best, &item)? != replaced_if => Some(best),
            _ => Some(item),
        };
    }
    best.ok_or_else(|| EvalError::new(format!("{} called on empty list", args.name)))
}

fn index_of<'a>(args: Args<'_, 'a>, last: bool) -> Eval<Value<'a>> {
    let [Value::List(list), item] = &args.values[..] else { return strings::index_of(&args, last) };
    let mut found = -1;
    for (at, other) in list.iter().enumerate() {
        if equal(&other?, item)? {
            found = at as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn slice<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = &args.values[..] else {
        return args.refuse();
    };
    let wrong = |why: String| Err(EvalError::new(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return wrong("negative indexes not supported".to_owned());
    };
    if from > to {
        return wrong("start index must be less than or equal to end index".to_owned());
    }
    if to > list.len() {
        return wrong(format!("list is length {}", list.len()));
    }
    let part = (from..to).filter_map(|at| list.get(at)).collect::<Eval<_>>()?;
    Ok(Value::list(part))
}

fn flatten<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (list, depth) = match &args.values[..] {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return args.refuse(),
    };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(list, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Eval<()> {
    for item in list.iter() {
        match item? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            item => out.push(item),
        }
        check_items(out.len())?;
    }
    Ok(())
}

/// The list in the order of its keys, which are in the argument at `keys` (the list itself, or another).
fn sort<'a>(args: &Args<'_, 'a>, keys: usize) -> Eval<Value<'a>> {
    let (Some(Value::List(list)), Some(Value::List(keys))) = (args.values.first(), args.values.get(keys))
    else {
        return args.refuse();
    };
    let (list, keys) = (items(list)?, items(keys)?);
    if list.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} \
             and {} elements respectively",
            list.len(),
            keys.len()
        )));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(list).collect();
    let kind = pairs.first().map(|(key, _)| key.type_of());
    if let Some((key, _)) = pairs.first()
        && compare(key, key).is_err()
        && !matches!(key, Value::Double(_))
    {
        return Err(EvalError::new("list elements must be comparable"));
    }
    if pairs.iter().any(|(key, _)| Some(key.type_of()) != kind) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    pairs.sort_by(|(a, _), (b, _)| total_order(a, b));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

/// As [`compare`], but total: what cannot be ordered comes last.
fn total_order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => {
            a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
        _ => compare(a, b).unwrap_or(Ordering::Equal),
    }
}

fn range<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Int(count)] = &args.values[..] else { return args.refuse() };
    check_items(usize::try_from(*count).unwrap_or(0))?;
    Ok(Value::list((0..*count).map(Value::Int).collect()))
}

fn reverse<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut items = items(list)?;
    items.reverse();
    Ok(Value::list(items))
}

fn distinct<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::List(list)] = &args.values[..] else { return args.refuse() };
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in list.iter() {
        let item = item?;
        let mut seen = false;
        for other in &out {
            if equal(&item, other)? {
                seen = true;
                break;
            }
        }
        if !seen {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn insert<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let mut values = args.values.into_iter();
    let Some(Value::Map(map)) = values.next() else { return Err(EvalError::no_overload()) };
    let mut entries = match map {
        Map::Values(entries) => Arc::try_unwrap(entries).unwrap_or_else(|shared| shared.as_ref().clone()),
        other => copied(&other)?,
    };
    match (values.next(), values.next()) {
        (Some(key), Some(value)) => {
            let Some(key) = key.as_key() else { return Err(EvalError::no_overload()) };
            insert_new(&mut entries, key, value)?;
        }
        (Some(Value::Map(more)), None) => {
            for (key, value) in copied(&more)?.iter() {
                insert_new(&mut entries, key.clone(), value.clone())?;
            }
        }
        _ => return Err(EvalError::no_overload()),
    }
    Ok(Value::Map(Map::Values(Arc::new(entries))))
}

fn insert_new<'a>(entries: &mut Entries<'a>, key: Key<'a>, value: Value<'a>) -> Eval<()> {
    let shown = display(&key.to_value());
    match entries.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(EvalError::new(format!("insert failed: key {shown} already exists"))),
    }
}

fn copied<'a>(map: &Map<'a>) -> Eval<Entries<'a>> {
    let mut out = Entries::default();
    for key in map.keys().iter().filter_map(Value::as_key) {
        if let Some(value) = map.get(&key) {
            out.insert(key, value?);
        }
    }
    Ok(out)
}
