//! Rows of `resource.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::resource::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("resource.k8s.io", "v1", kind, plural, scope);
    vec![
        row("DeviceClass", "deviceclasses", Scope::Cluster).rules(DeviceClass),
        row("ResourceClaim", "resourceclaims", Scope::Namespaced)
            .rules(ResourceClaim)
            .status()
            .printed(columns::resource_claim()),
        row("ResourceClaimTemplate", "resourceclaimtemplates", Scope::Namespaced)
            .rules(ResourceClaimTemplate),
        row("ResourceSlice", "resourceslices", Scope::Cluster)
            .rules(ResourceSlice)
            .fields(&["spec.driver", "spec.nodeName"])
            .printed(columns::resource_slice()),
    ]
}
