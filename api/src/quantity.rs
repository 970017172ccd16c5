//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`), exact to a billionth.
//!
//! Upstream keeps nothing below a nano and rounds up; so does this. A value is an integer number of
//! nanos, which holds every quantity up to the API's limit of 2^63-1 units (9.2e27 nanos) exactly.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
/// The largest magnitude: larger ones are cut to it, as upstream does.
const MAX: i128 = (i64::MAX as i128) * NANO;

/// Which suffixes a quantity is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `Ki`, `Mi`, …
    Binary,
    /// `n`, `u`, `m`, none, `k`, `M`, …
    Decimal,
    /// `e3`, `e-6`, …
    Exponent,
}

/// An exact amount.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity; the texts are those clients see from Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// An unknown suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// From 10^-9 in steps of a thousand.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// Whole units, written with decimal suffixes.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::Decimal }
    }

    /// Thousandths, as CPU is counted.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::Decimal }
    }

    /// Billionths, as CPU usage is measured.
    pub fn from_nano(nano: i64) -> Self {
        Self { nanos: i128::from(nano), format: Format::Decimal }
    }

    /// Bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, format: Format::Binary }
    }

    /// Reads a JSON string or number.
    ///
    /// # Errors
    /// [`QuantityError`] if it is neither or not a quantity.
    pub fn from_json(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(QuantityError::Form),
        }
    }

    /// Whole units, rounded up (`Quantity.Value`).
    pub fn value(self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }

    /// Thousandths, rounded up (`Quantity.MilliValue`).
    pub fn milli_value(self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }

    /// Billionths, cut to what an `i64` holds.
    pub fn nano_value(self) -> i64 {
        clamp(self.nanos)
    }

    /// As a float, for ratios only.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it has a part below one unit.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The suffixes it is written with.
    pub fn format(self) -> Format {
        self.format
    }
}

/// The canonical text of a quantity written any way; `None` if it is no quantity.
pub fn canonical(value: &Value) -> Option<String> {
    Quantity::from_json(value).ok().map(|quantity| quantity.to_string())
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Division away from zero.
fn div_up(value: i128, by: i128) -> i128 {
    let whole = value / by;
    if value % by == 0 { whole } else { whole + value.signum() }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Form);
        }
        let (base, exponent, format) = scale(suffix)?;
        let magnitude = magnitude(whole, fraction, base, exponent);
        // Upstream: a binary quantity below one is written in decimal, or it would round to one.
        let format = if format == Format::Binary && magnitude < NANO { Format::Decimal } else { format };
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }
}

/// Base and exponent of a suffix.
fn scale(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    if let Some(at) = BINARY.iter().position(|s| *s == suffix) {
        return Ok((1024, at as i32 + 1, Format::Binary));
    }
    if let Some(at) = DECIMAL.iter().position(|s| *s == suffix) {
        return Ok((10, (at as i32 - 3) * 3, Format::Decimal));
    }
    let known = |c: char| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit();
    if !suffix.chars().all(known) {
        return Err(QuantityError::Form);
    }
    let power = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let power: i32 = power.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((10, power, Format::Exponent))
}

/// `whole.fraction × base^exponent` in nanos, rounded up and cut to the limit.
///
/// Worked example: `1.5Gi` is digits 15 with one decimal: 15 × 1024³ × 10⁹ / 10.
fn magnitude(whole: &str, fraction: &str, base: i128, exponent: i32) -> i128 {
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
    let leading = digits.iter().take_while(|d| **d == 0).count();
    digits.drain(..leading);
    if digits.is_empty() {
        return 0;
    }
    let binary = base == 1024;
    // The decimal point: digits × 10^shift nanos (× 1024^exponent).
    let mut shift = 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX - 9);
    if !binary {
        shift = shift.saturating_add(exponent);
    }
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if length.saturating_add(shift) > 29 {
        return MAX;
    }
    if length.saturating_add(shift) < -20 {
        return 1;
    }
    // Digits beyond 30 only decide the rounding.
    let mut sticky = false;
    if digits.len() > 30 {
        sticky = digits[30..].iter().any(|d| *d != 0);
        shift += length - 30;
        digits.truncate(30);
    }
    let mut value = digits.iter().fold(0_i128, |sum, digit| sum * 10 + i128::from(*digit));
    let factor = if binary { 1024_i128.pow(exponent.unsigned_abs()) } else { 1 };
    for _ in 0..shift.max(0) {
        value = value.saturating_mul(10);
    }
    match value.checked_mul(factor) {
        Some(product) => value = product,
        None => return scaled_down_first(value, factor, shift),
    }
    for _ in shift.min(0)..0 {
        sticky |= value % 10 != 0;
        value /= 10;
    }
    (value + i128::from(sticky)).min(MAX)
}

/// For products beyond 128 bits: gives up digits below the result's precision.
fn scaled_down_first(mut value: i128, factor: i128, shift: i32) -> i128 {
    for _ in shift.min(0)..0 {
        value = div_up(value, 10);
    }
    value.saturating_mul(factor).min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANO {
            let mut units = div_up(self.nanos, NANO);
            let mut power = 0;
            while power < BINARY.len() && units % 1024 == 0 {
                units /= 1024;
                power += 1;
            }
            return match power.checked_sub(1) {
                None => write!(f, "{units}"),
                Some(at) => write!(f, "{units}{}", BINARY[at]),
            };
        }
        let (mut value, mut power) = (self.nanos, 0_usize);
        while power + 1 < DECIMAL.len() && value % 1000 == 0 {
            value /= 1000;
            power += 1;
        }
        match (self.format, power) {
            (Format::Exponent, 3) => write!(f, "{value}"),
            (Format::Exponent, _) => write!(f, "{value}e{}", (power as i32 - 3) * 3),
            _ => write!(f, "{value}{}", DECIMAL[power]),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// Keeps the left format, unless the left is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, format: self.format }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, expect) in [
            ("0", "0"),
            ("0.0Mi", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+1.5", "1500m"),
            ("-2", "-2"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1023", "1023"),
            ("0.0001Ki", "102400u"),
            ("1500", "1500"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1E", "1E"),
            ("1E2", "100"),
            ("0.1n", "1n"),
            ("123456789012", "123456789012"),
            ("99999999999999999999E", "9223372036854775807"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), expect, "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (text, expect) in [
            ("", QuantityError::Form),
            ("abc", QuantityError::Form),
            ("1.2.3", QuantityError::Form),
            ("1x", QuantityError::Form),
            ("1mm", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            (" 1", QuantityError::Form),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), expect, "{text:?}");
        }
        assert!(Quantity::from_json(&Value::Bool(true)).is_err());
    }

    #[test]
    fn values_round_up_and_compare_across_formats() {
        let q = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!((q("1500m").value(), q("100u").milli_value(), q("1Ki").value()), (2, 1, 1024));
        assert_eq!(q("1Gi"), q("1073741824"));
        assert!(q("1G") < q("1Gi"));
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("1") - q("250m")).to_string(), "750m");
        assert_eq!(Quantity::from_bytes(64 << 20).to_string(), "64Mi");
        assert_eq!(Quantity::from_nano(1_234_567).to_string(), "1234567n");
    }

    proptest! {
        #[test]
        fn writing_and_reading_keeps_the_value(nanos in -MAX..MAX, format in 0..3_u8) {
            let format = [Format::Binary, Format::Decimal, Format::Exponent][usize::from(format)];
            let nanos = if format == Format::Binary { nanos / NANO * NANO } else { nanos };
            let quantity = Quantity { nanos, format };
            let text = quantity.to_string();
            let back: Quantity = text.parse().unwrap();
            prop_assert_eq!(quantity, back);
            // A binary quantity that needs no suffix is read as a decimal one, as upstream reads it.
            if back.format == format {
                prop_assert_eq!(back.to_string(), text);
            }
        }

        #[test]
        fn never_panics(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,2}[-+]?[0-9]{0,12}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
