//! Rows of `storage.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::storage::{
    CsiDriver, CsiNode, CsiStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("storage.k8s.io", "v1", kind, plural, scope);
    vec![
        row("CSIDriver", "csidrivers", Scope::Cluster).rules(CsiDriver).printed(columns::csi_driver()),
        row("CSINode", "csinodes", Scope::Cluster).rules(CsiNode).printed(columns::csi_node()),
        row("CSIStorageCapacity", "csistoragecapacities", Scope::Namespaced)
            .rules(CsiStorageCapacity)
            .printed(columns::csi_storage_capacity()),
        row("StorageClass", "storageclasses", Scope::Cluster)
            .rules(StorageClass)
            .short(&["sc"])
            .printed(columns::storage_class()),
        row("VolumeAttachment", "volumeattachments", Scope::Cluster)
            .rules(VolumeAttachment)
            .status()
            .printed(columns::volume_attachment()),
        row("VolumeAttributesClass", "volumeattributesclasses", Scope::Cluster)
            .rules(VolumeAttributesClass)
            .short(&["vac"])
            .printed(columns::volume_attributes_class()),
    ]
}
