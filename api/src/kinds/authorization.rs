//! Rows of `authorization.k8s.io`.

use super::{Kind, Scope, plain};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("authorization.k8s.io", "v1", kind, plural, scope).review();
    vec![
        row("LocalSubjectAccessReview", "localsubjectaccessreviews", Scope::Namespaced),
        row("SelfSubjectAccessReview", "selfsubjectaccessreviews", Scope::Cluster),
        row("SelfSubjectRulesReview", "selfsubjectrulesreviews", Scope::Cluster),
        row("SubjectAccessReview", "subjectaccessreviews", Scope::Cluster),
    ]
}
