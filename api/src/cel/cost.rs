//! What expressions cost: an estimate of the worst case from the bounds of the schema ([`estimate`]) and
//! the charge of each call when it is evaluated ([`runtime`]).
//!
//! Costs decide which rules may be stored, so they are upstream's to the unit: `cel-go/checker/cost.go`,
//! `cel-go/ext/costs.go` and `apiserver/pkg/cel/library/cost.go`.

mod calls;
mod estimate;
mod runtime;

pub(crate) use estimate::estimate;
pub(crate) use runtime::ArgSizes;

/// Most an expression of a CRD may cost at worst: `StaticEstimatedCostLimit`.
pub const ESTIMATED_COST_LIMIT: u64 = 10_000_000;
/// Most all expressions of a CRD may cost at worst: `StaticEstimatedCRDCostLimit`.
pub const ESTIMATED_CRD_COST_LIMIT: u64 = 100_000_000;
/// Most one evaluation may cost: `PerCallLimit`, about a tenth of a second.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Most all evaluations on one object may cost: `RuntimeCELCostBudget`, about a second.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// As [`RUNTIME_BUDGET`], for the match conditions of one webhook or binding.
pub const RUNTIME_BUDGET_MATCH_CONDITIONS: u64 = 2_500_000;

/// A list literal.
pub(crate) const LIST_COST: u64 = 10;
/// A map literal.
pub(crate) const MAP_COST: u64 = 30;
/// A message literal.
pub(crate) const MESSAGE_COST: u64 = 40;
/// Per element of something read once.
const TRAVERSAL: f64 = 0.1;
/// Per character of a regular expression.
const REGEX: f64 = 0.25;

/// Functions of Kubernetes' libraries that cost one, whatever they are given.
const CONSTANT: [&str; 38] = [
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "format.named",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

/// A range of sizes or of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Range {
    const UNKNOWN: Self = Self::new(0, u64::MAX);
    const ZERO: Self = Self::new(0, 0);
    const ONE: Self = Self::new(1, 1);

    const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    const fn fixed(value: u64) -> Self {
        Self::new(value, value)
    }

    fn plus(self, other: Self) -> Self {
        Self::new(self.min.saturating_add(other.min), self.max.saturating_add(other.max))
    }

    fn times(self, other: Self) -> Self {
        Self::new(self.min.saturating_mul(other.min), self.max.saturating_mul(other.max))
    }

    /// Times a factor, rounded up.
    fn scaled(self, factor: f64) -> Self {
        Self::new(scale(self.min, factor), scale(self.max, factor))
    }

    fn union(self, other: Self) -> Self {
        Self::new(self.min.min(other.min), self.max.max(other.max))
    }
}

/// A whole number times a factor, rounded up; the largest number if it does not fit.
fn scale(value: u64, factor: f64) -> u64 {
    // A cast from float saturates.
    (value as f64 * factor).ceil() as u64
}

/// Parsing a selector: the text once, and a requirement for every two characters.
fn selector(length: Range) -> Range {
    let requirements = length.scaled(0.5).scaled((LIST_COST + MESSAGE_COST) as f64);
    Range::fixed(LIST_COST).plus(length.scaled(TRAVERSAL)).plus(requirements)
}

/// Longest regular expression behind a named format, for estimates.
const MAX_NAME_FORMAT_REGEX: f64 = 128.0;

#[cfg(test)]
mod tests;
