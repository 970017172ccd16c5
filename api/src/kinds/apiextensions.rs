//! Rows of `apiextensions.k8s.io`.

use super::{Kind, Scope, plain};

/// There are no custom resources yet, and so none can be defined. The empty list is served because kubectl asks for
/// it before it tells a user that a kind is not known.
pub(super) fn rows() -> Vec<Kind> {
    let name = "customresourcedefinitions";
    let row = plain("apiextensions.k8s.io", "v1", "CustomResourceDefinition", name, Scope::Cluster);
    vec![row.short(&["crd", "crds"]).verbs(&["get", "list", "watch"])]
}
