//! Rows of `apiextensions.k8s.io`.

use super::{Column, Kind, Scope, columns, plain};
use crate::strategies::apiextensions::Definition;
use crate::time;

/// The kind that defines kinds.
pub(super) fn rows() -> Vec<Kind> {
    let name = "customresourcedefinitions";
    let row = plain("apiextensions.k8s.io", "v1", "CustomResourceDefinition", name, Scope::Cluster);
    let created = Column::new("Created At", "date", "When the definition was created.", |object, _| {
        time::read(&object["metadata"]["creationTimestamp"]).map(time::seconds).into()
    });
    let columns = columns::generic().into_iter().take(1).chain([created]).collect();
    let row = row.short(&["crd", "crds"]).status().rules(Definition).printed(columns);
    vec![Kind { categories: vec!["api-extensions".into()], ..row }]
}
