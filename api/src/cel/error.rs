//! What can go wrong with an expression.

use std::fmt;

use super::types::Type;

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It does not parse or its types do not fit: the text upstream shows after `compilation failed: `.
    #[error("{0}")]
    Issues(String),
    /// It is fine, but gives something else than it has to.
    #[error("must evaluate to {expected}")]
    Result {
        /// What it has to give.
        expected: Type,
        /// What it gives.
        actual: Type,
    },
}

/// Why evaluation gave no value. The text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalError {
    message: Box<str>,
    over_budget: bool,
}

impl EvalError {
    /// An ordinary failure: `&&`, `||` and the like may absorb it.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), over_budget: false }
    }

    /// The budget is used up: nothing absorbs that.
    pub(crate) fn over_budget() -> Self {
        Self { message: "operation cancelled: actual cost limit exceeded".into(), over_budget: true }
    }

    /// A function does not take such values.
    pub(crate) fn no_overload() -> Self {
        Self::new("no such overload")
    }

    /// Whether the budget was used up.
    pub fn is_over_budget(&self) -> bool {
        self.over_budget
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}
