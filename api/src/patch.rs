//! The patch algorithms over JSON trees: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396), Kubernetes'
//! strategic merge patch and server-side apply. All are pure and leave their input alone.

pub mod apply;
pub mod field_set;
mod go_print;
pub mod json;
pub mod merge;
pub mod strategic;
pub mod typed;

pub use go_print::value as go_value;

use crate::status::{Reason, Status};

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed but does not fit the object: 422, and upstream does not say why.
    #[error("{0}")]
    DoesNotApply(String),
    /// A `test` of the patch says that it is not to be applied: 422.
    #[error("{0}")]
    TestFailed(String),
    /// Wrong in a way upstream does not classify: 500 without a reason.
    #[error("{0}")]
    Unclassified(String),
    /// More operations than the server takes at once: 413.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooMany {
        /// The limit.
        max: usize,
        /// What came.
        got: usize,
    },
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Self {
        let reason = match &error {
            PatchError::Malformed(_) => Reason::BadRequest,
            PatchError::DoesNotApply(_) | PatchError::TestFailed(_) => Reason::Invalid,
            PatchError::Unclassified(_) => Reason::Unknown,
            PatchError::TooMany { .. } => Reason::RequestEntityTooLarge,
        };
        let text = match &error {
            PatchError::DoesNotApply(_) | PatchError::TestFailed(_) => {
                "the server rejected our request due to an error in our request".to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(reason, text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            "[ab]".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Small objects whose keys often meet.
    pub(super) fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", value(), 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }
}
