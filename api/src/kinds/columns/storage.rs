//! Storage classes, CSI drivers and what they report.

use serde_json::Value;

use super::{Column, NONE, age, flag, is_marked, items, list_text, name, number, or, str, text};

pub(in crate::kinds) fn storage_class() -> Vec<Column> {
    let mut expansion =
        flag("AllowVolumeExpansion", "Whether claims may grow.", "/allowVolumeExpansion", false);
    expansion.data_type = "string";
    vec![
        is_marked(&[
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]),
        text("Provisioner", "Who makes the volumes.", |class| str(class, "/provisioner").to_owned()),
        text("ReclaimPolicy", "What becomes of a volume that is given back.", |class| {
            or(str(class, "/reclaimPolicy"), "Delete")
        }),
        text("VolumeBindingMode", "When a claim gets its volume.", |class| {
            or(str(class, "/volumeBindingMode"), "Immediate")
        }),
        expansion,
        age(),
    ]
}

pub(in crate::kinds) fn volume_attributes_class() -> Vec<Column> {
    vec![
        is_marked(&["volumeattributesclass.alpha.kubernetes.io/is-default-class"]),
        text("DriverName", "The driver that understands the attributes.", |class| {
            str(class, "/driverName").to_owned()
        }),
        age(),
    ]
}

pub(in crate::kinds) fn csi_driver() -> Vec<Column> {
    vec![
        name(),
        flag("AttachRequired", "Whether volumes are attached first.", "/spec/attachRequired", true),
        flag("PodInfoOnMount", "Whether it is told about the pod.", "/spec/podInfoOnMount", false),
        flag("StorageCapacity", "Whether it reports capacity.", "/spec/storageCapacity", false),
        text("TokenRequests", "Audiences of the tokens it gets.", |driver| {
            match driver.pointer("/spec/tokenRequests") {
                Some(Value::Array(requests)) => {
                    let audiences: Vec<&str> = requests.iter().map(|r| str(r, "/audience")).collect();
                    audiences.join(",")
                }
                _ => "<unset>".to_owned(),
            }
        }),
        flag("RequiresRepublish", "Whether mounts are refreshed.", "/spec/requiresRepublish", false),
        text("Modes", "Kinds of volumes it serves.", |driver| {
            or(&list_text(items(driver, "/spec/volumeLifecycleModes")), NONE)
        }),
        age(),
    ]
}

pub(in crate::kinds) fn csi_node() -> Vec<Column> {
    let drivers = Column::new("Drivers", "integer", "Number of drivers on the node.", |node, _| {
        items(node, "/spec/drivers").len().into()
    });
    vec![name(), drivers, age()]
}

pub(in crate::kinds) fn csi_storage_capacity() -> Vec<Column> {
    vec![
        name(),
        text("StorageClassName", "Class the capacity is for.", |capacity| {
            str(capacity, "/storageClassName").to_owned()
        }),
        text("Capacity", "How much is left.", |capacity| or(str(capacity, "/capacity"), "<unset>")),
    ]
}

pub(in crate::kinds) fn volume_attachment() -> Vec<Column> {
    let mut attacher =
        text("Attacher", "The driver that attaches.", |object| str(object, "/spec/attacher").to_owned());
    attacher.format = "name";
    vec![
        name(),
        attacher,
        text("PV", "The volume.", |object| str(object, "/spec/source/persistentVolumeName").to_owned()),
        text("Node", "Where to.", |object| str(object, "/spec/nodeName").to_owned()),
        flag("Attached", "Whether it is done.", "/status/attached", false),
        age(),
    ]
}

pub(in crate::kinds) fn priority_class() -> Vec<Column> {
    vec![
        name(),
        number("Value", "The larger, the sooner.", "/value"),
        flag("Global-Default", "Whether pods without a class get it.", "/globalDefault", false),
        age(),
        text("PreemptionPolicy", "Whether its pods push others out.", |class| {
            str(class, "/preemptionPolicy").to_owned()
        })
        .wide(),
    ]
}
