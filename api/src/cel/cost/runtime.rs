//! The charge of a call that was evaluated.

use super::calls::compares_elements;
use super::{CONSTANT, LIST_COST, REGEX, Range, TRAVERSAL, scale, selector};
use crate::cel::extension::Extension;
use crate::cel::value::Value;

/// What a call costs, as far as known before it ran (its arguments are gone afterwards).
pub(crate) enum ArgSizes {
    Known(u64),
    /// Twice the length of the result.
    Joined,
    /// A new list.
    NewList,
}

impl ArgSizes {
    /// Looks at the arguments of a call.
    pub(crate) fn of(function: &str, overload: &str, args: &[Value<'_>]) -> Self {
        match (function, overload) {
            ("join", _) => Self::Joined,
            (_, "list_slice" | "lists_range" | "list_reverse") => Self::NewList,
            _ => Self::Known(
                list_library(overload, args)
                    .or_else(|| kubernetes(function, overload, args))
                    .unwrap_or_else(|| standard(overload, args)),
            ),
        }
    }

    /// The charge, now that the result is known.
    pub(crate) fn call(self, result: &Value<'_>) -> u64 {
        match self {
            Self::Known(cost) => cost,
            Self::Joined => scale(result.cost_size(), 2.0 * TRAVERSAL),
            Self::NewList => result.cost_size().saturating_add(1 + LIST_COST),
        }
    }
}

fn size(args: &[Value<'_>], at: usize) -> u64 {
    args.get(at).map_or(1, Value::cost_size)
}

fn list_library(overload: &str, args: &[Value<'_>]) -> Option<u64> {
    let allocating = |factor: f64, size: u64| ((size as f64 * factor) as u64).saturating_add(1 + LIST_COST);
    Some(match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            size(args, 0).saturating_mul(size(args, 1)).saturating_add(1)
        }
        "list_sets_equivalent_list" => {
            size(args, 0).saturating_mul(size(args, 1)).saturating_mul(2).saturating_add(1)
        }
        "list_flatten" | "list_flatten_int" => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => *depth as f64,
                _ => 1.0,
            };
            allocating(depth, size(args, 0))
        }
        "list_distinct" => self_compare(args.first()?, allocating),
        id if id.ends_with("_sort") => self_compare(args.first()?, allocating),
        id if id.ends_with("_sortByAssociatedKeys") => self_compare(args.get(1)?, allocating),
        _ => return None,
    })
}

/// Every element with every other.
fn self_compare(list: &Value<'_>, allocating: impl Fn(f64, u64) -> u64) -> u64 {
    let first = match list {
        Value::List(list) => list.get(0),
        _ => None,
    };
    let texts = matches!(first, Some(Ok(Value::String(_) | Value::Bytes(_))));
    let size = list.cost_size();
    allocating(if texts { 2.0 + TRAVERSAL } else { 2.0 }, size.saturating_mul(size))
}

fn kubernetes(function: &str, overload: &str, args: &[Value<'_>]) -> Option<u64> {
    let traversed = || scale(size(args, 0), TRAVERSAL);
    Some(match function {
        "check" => 350_000,
        name if CONSTANT.contains(&name) => 1,
        "fieldSelector" | "labelSelector" => selector(Range::fixed(size(args, 1))).max,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => traversal(args.first()?),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => traversed(),
        "replace" | "split" | "ip.isCanonical" => scale(size(args, 0), 2.0 * TRAVERSAL),
        "find" | "findAll" => matching(size(args, 0), size(args, 1)),
        "ip" if matches!(args.first(), Some(Value::Extension(_))) => 1,
        "ip" => traversed(),
        "containsIP" => contains(args, 0),
        "containsCIDR" => contains(args, scale(size(args, 0), TRAVERSAL) + 1),
        "validate" => match args.first()? {
            Value::Extension(Extension::Format(format)) => matching(size(args, 1), format.regex_size),
            _ => return None,
        },
        "_==_" if overload == "equals" => match args.first()? {
            Value::Extension(_) => 1,
            _ => return None,
        },
        _ => return None,
    })
}

/// The address once for each side; a text has to be read first.
fn contains(args: &[Value<'_>], more: u64) -> u64 {
    let read = match args.get(1) {
        Some(Value::String(_)) => scale(size(args, 1), TRAVERSAL),
        _ => 0,
    };
    scale(size(args, 0).saturating_mul(2), TRAVERSAL).saturating_add(more).saturating_add(read)
}

fn matching(text: u64, pattern: u64) -> u64 {
    scale(text.saturating_add(1), TRAVERSAL).saturating_mul(scale(pattern, REGEX))
}

/// The cost of reading a value as a tree.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        // Bytes of the text here, and rounded down, unlike everywhere else.
        Value::String(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => list.iter().flatten().map(|item| traversal(&item)).sum(),
        Value::Map(map) => {
            let entry = |key: Value<'_>| {
                let value = key.as_key().and_then(|key| map.get(&key));
                traversal(&key) + value.and_then(Result::ok).map_or(0, |value| traversal(&value))
            };
            map.keys().into_iter().map(entry).sum()
        }
        _ => 1,
    }
}

fn standard(overload: &str, args: &[Value<'_>]) -> u64 {
    match overload {
        // As upstream: of the text that is looked at, though the estimate takes the other one.
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => scale(size(args, 0), TRAVERSAL),
        "in_list" => size(args, 1),
        "add_string" | "add_bytes" => scale(size(args, 0).saturating_add(size(args, 1)), TRAVERSAL),
        "matches_string" => matching(size(args, 0), size(args, 1)),
        "contains_string" => scale(size(args, 0), TRAVERSAL).saturating_mul(scale(size(args, 1), TRAVERSAL)),
        id if compares_elements(id) => scale(size(args, 0).min(size(args, 1)), TRAVERSAL),
        _ => 1,
    }
}
