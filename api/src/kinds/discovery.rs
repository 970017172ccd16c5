//! Rows of `discovery.k8s.io`.

use super::{Kind, Scope, columns, plain};

pub(super) fn rows() -> Vec<Kind> {
    vec![
        plain("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", Scope::Namespaced)
            .rules(crate::strategies::discovery::EndpointSlice)
            .printed(columns::endpoint_slice()),
    ]
}
