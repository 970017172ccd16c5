//! Rows of `authentication.k8s.io`.

use super::{Kind, Scope, plain};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural| plain("authentication.k8s.io", "v1", kind, plural, Scope::Cluster).review();
    vec![row("SelfSubjectReview", "selfsubjectreviews"), row("TokenReview", "tokenreviews")]
}
