//! Limits, patterns, formats and enumerations.

use serde_json::{Number, Value};

use super::{Place, invalid, says};
use crate::custom::checks::Checks;
use crate::custom::formats;
use crate::status::Cause;

pub(super) fn check(checks: &Checks, place: &Place<'_>, causes: &mut Vec<Cause>) {
    match place.new {
        Value::String(text) => string(checks, text, place, causes),
        Value::Number(number) => numeric(checks, number, place, causes),
        _ => {}
    }
    if let Some(allowed) = checks.allowed.as_ref().filter(|allowed| !allowed.contains(place.new)) {
        let words: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        causes.push(Cause::not_supported(place.path.as_str(), place.new, &words));
    }
}

fn string(checks: &Checks, text: &str, place: &Place<'_>, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(most) = checks.max_length.filter(|most| length > *most) {
        causes.push(Cause::too_long(place.path.as_str(), usize::try_from(most).unwrap_or(usize::MAX)));
    }
    if let Some(least) = checks.min_length.filter(|least| length < *least) {
        invalid(causes, place, &format!("should be at least {least} chars long"));
    }
    if checks.regex.as_ref().is_some_and(|regex| !regex.is_match(text)) {
        invalid(causes, place, &format!("should match '{}'", checks.pattern));
    }
    if formats::fits(&checks.format, text) == Some(false) {
        let detail = says(place, &format!("must be of type {}: {text:?}", checks.format));
        causes.push(Cause::type_invalid(place.path.as_str(), place.new, &detail));
    }
}

fn numeric(checks: &Checks, number: &Number, place: &Place<'_>, causes: &mut Vec<Cause>) {
    let outside = |limit: &Number, exclusive: bool, above: bool| {
        let (value, limit) = (exact(number), exact(limit));
        if above {
            value > limit || (exclusive && value == limit)
        } else {
            value < limit || (exclusive && value == limit)
        }
    };
    if let Some(most) = checks.maximum.as_ref().filter(|most| outside(most, checks.exclusive_maximum, true)) {
        let words = if checks.exclusive_maximum { "less than" } else { "less than or equal to" };
        invalid(causes, place, &format!("should be {words} {}", plain(most)));
    }
    if let Some(least) =
        checks.minimum.as_ref().filter(|least| outside(least, checks.exclusive_minimum, false))
    {
        let words = if checks.exclusive_minimum { "greater than" } else { "greater than or equal to" };
        invalid(causes, place, &format!("should be {words} {}", plain(least)));
    }
    if let Some(factor) = checks.multiple_of.as_ref().filter(|factor| !is_multiple(number, factor)) {
        invalid(causes, place, &format!("should be a multiple of {}", plain(factor)));
    }
    let fits = match checks.format.as_str() {
        "int32" => number.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok()) || number.is_f64(),
        _ => true,
    };
    if !fits {
        let detail = says(place, &format!("must be of type integer with format int32: {number}"));
        causes.push(Cause::invalid(place.path.as_str(), place.new, &detail));
    }
}

/// Orders whole numbers exactly and others as doubles: the double first, what it cannot tell second.
fn exact(number: &Number) -> (f64, i64) {
    (number.as_f64().unwrap_or_default(), number.as_i64().unwrap_or_default())
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    match (number.as_i64(), factor.as_i64()) {
        (Some(number), Some(factor)) => factor == 0 || number % factor == 0,
        _ => {
            let (number, factor) = (number.as_f64().unwrap_or_default(), factor.as_f64().unwrap_or_default());
            factor == 0.0 || (number / factor).fract() == 0.0
        }
    }
}

/// As Go prints a float64: whole numbers without a point.
fn plain(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}
