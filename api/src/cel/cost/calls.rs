//! Estimates of single calls, without their arguments' own costs.

use super::estimate::Estimator;
use super::{CONSTANT, LIST_COST, MAX_NAME_FORMAT_REGEX, REGEX, Range, TRAVERSAL, scale, selector};
use crate::cel::ast::{Call, Expr, Kind, Literal};
use crate::cel::types::Type;

/// The type and size of something that is no expression: a list's items.
pub(super) struct Node<'a> {
    pub(super) ty: &'a Type,
    pub(super) size: Range,
}

type Estimate = (Range, Option<Range>);

/// Cost and size of the result of a call that may mean this overload.
pub(super) fn estimate(of: &mut Estimator<'_>, function: &str, overload: &str, call: &Call) -> Estimate {
    let target = call.target.as_deref();
    list_library(of, overload, target, &call.args)
        .or_else(|| kubernetes(of, function, overload, target, &call.args))
        .unwrap_or_else(|| standard(of, overload, target, &call.args))
}

/// Kubernetes' charge for its own functions and for extended strings.
fn kubernetes(
    of: &mut Estimator<'_>,
    function: &str,
    overload: &str,
    target: Option<&Expr>,
    args: &[Expr],
) -> Option<Estimate> {
    let first = args.first();
    let cost = match function {
        "check" => Range::fixed(350_000),
        name if CONSTANT.contains(&name) => Range::ONE,
        "fieldSelector" | "labelSelector" => selector(of.size_or_unknown(first?)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            let target = target?;
            let size = of.size_or_unknown(target);
            match of.items(target) {
                None => size.scaled(TRAVERSAL),
                Some(items) if matches!(items.ty, Type::String | Type::Bytes) => {
                    size.times(Range::ONE.plus(items.size.scaled(TRAVERSAL)))
                }
                Some(_) => size,
            }
        }
        "url" | "jsonpatch.escapeKey" => return Some(transform(of.size_or_unknown(first?))),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            return Some(transform(of.size_or_unknown(target?)));
        }
        "replace" => return replace(of, target?, args),
        "split" => {
            let size = of.size_or_unknown(target?);
            let most = match args.get(1).map(|limit| &limit.kind) {
                // As upstream: a negative limit is a huge one.
                Some(Kind::Literal(Literal::Int(limit))) => *limit as u64,
                _ => size.max,
            };
            return Some((size.scaled(2.0 * TRAVERSAL), Some(Range::new(0, most))));
        }
        "join" => return Some(transform(joined(of, target?, first))),
        "find" | "findAll" => {
            let size = of.size_or_unknown(target?);
            let pattern = of.size_or_unknown(first?).scaled(REGEX);
            let cost = size.plus(Range::ONE).scaled(TRAVERSAL).times(pattern);
            return Some((cost, Some(Range::new(0, size.max))));
        }
        "ip" if overload == "cidr_ip" => Range::ONE,
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            of.size_or_unknown(first?).scaled(TRAVERSAL)
        }
        "ip.isCanonical" => of.size_or_unknown(first?).scaled(2.0 * TRAVERSAL),
        "containsIP" | "containsCIDR" => {
            let address = Range::new(4, 16);
            let mut cost = address.plus(address).scaled(TRAVERSAL);
            if function == "containsCIDR" {
                cost = cost.plus(address.scaled(TRAVERSAL)).plus(Range::ONE);
            }
            if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                cost = cost.plus(of.size_or_unknown(first?).scaled(TRAVERSAL));
            }
            cost
        }
        "validate" => of.size_or_unknown(first?).scaled(TRAVERSAL).scaled(MAX_NAME_FORMAT_REGEX * REGEX),
        "_==_" => return equality(of, args).map(|cost| (cost, None)),
        _ => return None,
    };
    Some((cost, None))
}

/// Something read once, whose result is as large.
fn transform(size: Range) -> Estimate {
    (size.scaled(TRAVERSAL), Some(size))
}

/// Comparing two values of one of Kubernetes' types.
fn equality(of: &mut Estimator<'_>, args: &[Expr]) -> Option<Range> {
    let [left, right] = args else { return None };
    let ty = of.node_type(left);
    if ty != of.node_type(right) {
        return None;
    }
    match ty {
        Type::Opaque(_) => Some(Range::ONE),
        Type::Object(name) => match &**name {
            "kubernetes.Quantity" | "kubernetes.Semver" => Some(Range::ONE),
            name if name.starts_with("kubernetes.authorization.") => Some(Range::ONE),
            "kubernetes.NamedFormat" => Some(Range::new(1, 64).scaled(TRAVERSAL)),
            "kubernetes.URL" => {
                let most = of.size(right).map_or(1, |size| size.max);
                Some(Range::new(1, most).scaled(TRAVERSAL))
            }
            _ => None,
        },
        _ => None,
    }
}

fn replace(of: &mut Estimator<'_>, target: &Expr, args: &[Expr]) -> Option<Estimate> {
    let [from, to, ..] = args else { return None };
    let (size, from, to) = (of.size_or_unknown(target), of.size_or_unknown(from), of.size_or_unknown(to));
    let over = |size: u64, by: u64| scale(size, 1.0 / by as f64);
    // Replacing nothing puts the replacement around every character.
    let (most, kept_most) = if from.min == 0 {
        (size.max.saturating_add(1), size.max)
    } else if to.max <= from.min {
        (0, size.max)
    } else {
        ((size.max as f64 / from.min as f64).ceil() as u64, 0)
    };
    let (least, kept_least) = if from.max == 0 {
        (size.min.saturating_add(1), size.min)
    } else if from.max <= to.min {
        (0, size.min)
    } else {
        (over(size.min, from.max), 0)
    };
    let result = Range::new(least, most).times(to).plus(Range::new(kept_least, kept_most));
    Some((size.scaled(2.0 * TRAVERSAL), Some(result)))
}

/// The length of a list's strings put together.
fn joined(of: &mut Estimator<'_>, target: &Expr, separator: Option<&Expr>) -> Range {
    let count = of.size_or_unknown(target);
    let texts = of.items(target).map_or(Range::ZERO, |items| count.times(items.size));
    let Some(separator) = separator else { return texts };
    let separators = Range::new(count.min.saturating_sub(1), count.max.saturating_sub(1));
    texts.plus(of.size_or_unknown(separator).times(separators))
}

/// The sets and the third version of the lists of cel-go.
fn list_library(
    of: &mut Estimator<'_>,
    overload: &str,
    target: Option<&Expr>,
    args: &[Expr],
) -> Option<Estimate> {
    let allocating = |factor: f64, size: Range| {
        (size.scaled(factor).plus(Range::ONE).plus(Range::fixed(LIST_COST)), Some(size))
    };
    Some(match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
            let [left, right] = args else { return None };
            let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
            let pairs = of.size_or_unknown(left).times(of.size_or_unknown(right));
            (pairs.scaled(factor).plus(Range::ONE), None)
        }
        "list_slice" => {
            let [start, end] = args else { return None };
            let size = of.size_or_unknown(target?);
            let (start, end) = (constant(start, 0), constant(end, size.max));
            allocating(1.0, Range::fixed(end.wrapping_sub(start)))
        }
        "lists_range" => allocating(1.0, Range::fixed(constant(args.first()?, u64::MAX))),
        "list_reverse" => allocating(1.0, of.size_or_unknown(target?)),
        "list_flatten" | "list_flatten_int" => {
            let depth = args.first().map_or(1, |depth| constant(depth, u64::MAX));
            allocating(depth as f64, of.size_or_unknown(target?))
        }
        "list_distinct" => {
            let size = of.size_or_unknown(target?);
            allocating(2.0, size.times(size))
        }
        id if id.ends_with("_sort") || id.ends_with("_sortByAssociatedKeys") => {
            let keys = if id.ends_with("_sort") { target? } else { args.first()? };
            let size = of.size_or_unknown(keys);
            let texts = id.starts_with("list_string_") || id.starts_with("list_bytes_");
            allocating(if texts { 2.0 + TRAVERSAL } else { 2.0 }, size.times(size))
        }
        _ => return None,
    })
}

/// The value of an integer that stands in the expression.
fn constant(expr: &Expr, otherwise: u64) -> u64 {
    match expr.kind {
        Kind::Literal(Literal::Int(value)) => u64::try_from(value).unwrap_or(0),
        _ => otherwise,
    }
}

fn standard(of: &mut Estimator<'_>, overload: &str, target: Option<&Expr>, args: &[Expr]) -> Estimate {
    let one = (Range::ONE, None);
    match (overload, target, args) {
        ("string_format", Some(target), _) => (of.size_or_unknown(target).scaled(TRAVERSAL), None),
        ("string_to_bytes", _, [arg]) => {
            let size = of.size_or_unknown(arg);
            (size.scaled(TRAVERSAL), Some(Range::new(size.min, size.max.wrapping_mul(4))))
        }
        ("bytes_to_string", _, [arg]) => {
            let size = of.size_or_unknown(arg);
            (size.scaled(TRAVERSAL), Some(Range::new(size.min / 4, size.max)))
        }
        ("strings_quote", _, [arg]) => {
            let size = of.size_or_unknown(arg);
            let result = Range::new(size.min.wrapping_add(2), size.max.wrapping_mul(2).wrapping_add(2));
            (size.scaled(TRAVERSAL), Some(result))
        }
        ("starts_with_string" | "ends_with_string", _, [arg]) => {
            (of.size_or_unknown(arg).scaled(TRAVERSAL), None)
        }
        ("in_list", _, [_, list]) => (of.size_or_unknown(list), None),
        ("matches_string", Some(target), [pattern]) => {
            let text = of.size_or_unknown(target).plus(Range::ONE).scaled(TRAVERSAL);
            (text.times(of.size_or_unknown(pattern).scaled(REGEX)), None)
        }
        ("contains_string", Some(target), [part]) => {
            let text = of.size_or_unknown(target).scaled(TRAVERSAL);
            (text.times(of.size_or_unknown(part).scaled(TRAVERSAL)), None)
        }
        ("add_string" | "add_bytes", _, [left, right]) => {
            let size = of.size_or_unknown(left).plus(of.size_or_unknown(right));
            (size.scaled(TRAVERSAL), Some(size))
        }
        ("add_list", _, [left, right]) => {
            (Range::ONE, Some(of.size_or_unknown(left).plus(of.size_or_unknown(right))))
        }
        (id, _, [left, right]) if compares_elements(id) => {
            let most = of.size_or_unknown(left).max.min(of.size_or_unknown(right).max);
            (Range::new(u64::from(most > 0), most).scaled(TRAVERSAL), None)
        }
        _ => one,
    }
}

/// Comparisons that look at every element of the shorter side.
pub(super) fn compares_elements(overload: &str) -> bool {
    let ordering = ["less_", "less_equals_", "greater_", "greater_equals_"]
        .iter()
        .any(|prefix| matches!(overload.strip_prefix(prefix), Some("string" | "bytes")));
    ordering || matches!(overload, "equals" | "not_equals")
}
