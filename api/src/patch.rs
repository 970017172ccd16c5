//! The patch algorithms over JSON trees: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396) and
//! Kubernetes' strategic merge patch. All are pure and leave their input alone.

pub mod json;
pub mod merge;
pub mod strategic;

use crate::status::{Reason, Status};

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed but does not fit the object: 422.
    #[error("{0}")]
    DoesNotApply(String),
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
            PatchError::DoesNotApply(_) => Reason::Invalid,
            PatchError::TooMany { .. } => Reason::RequestEntityTooLarge,
        };
        let text = match &error {
            PatchError::DoesNotApply(why) => {
                format!("the server rejected our request due to an error in our request: {why}")
            }
            PatchError::Malformed(_) | PatchError::TooMany { .. } => error.to_string(),
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
