//! Label and field selectors: their texts, their JSON form, and what they select.
//!
//! Entry points: [`LabelSelector`] and [`FieldSelector`]. Source: the API conventions' label page and
//! `apimachinery/pkg/{labels,fields}`; error texts are those clients see from Kubernetes.

mod fields;
mod labels;
mod lexer;

pub use fields::{FieldSelector, FieldTerm};
pub use labels::{LabelSelector, Operator, Requirement};

/// Why a selector's text or JSON form is refused; the text is for callers, as the message of a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl SelectorError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<SelectorError> for crate::Status {
    fn from(error: SelectorError) -> Self {
        Self::bad_request(error.0)
    }
}
