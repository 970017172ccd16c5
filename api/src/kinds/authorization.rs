//! Rows of `authorization.k8s.io`.

use super::{Kind, Scope, plain};
use crate::strategies::authorization::AccessReview;

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("authorization.k8s.io", "v1", kind, plural, scope).review();
    vec![
        row("LocalSubjectAccessReview", "localsubjectaccessreviews", Scope::Namespaced)
            .rules(AccessReview { names_subject: true, local: true }),
        row("SelfSubjectAccessReview", "selfsubjectaccessreviews", Scope::Cluster)
            .rules(AccessReview { names_subject: false, local: false }),
        row("SelfSubjectRulesReview", "selfsubjectrulesreviews", Scope::Cluster),
        row("SubjectAccessReview", "subjectaccessreviews", Scope::Cluster)
            .rules(AccessReview { names_subject: true, local: false }),
    ]
}
