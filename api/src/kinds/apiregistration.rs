//! Rows of `apiregistration.k8s.io`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("apiregistration.k8s.io", "v1", "APIService", "apiservices", Scope::Cluster)
            .category("api-extensions")
            .status()
            .rules(crate::strategies::apiregistration::ApiService)
            .printed(columns::api_service()),
    ]
}
