//! Volumes and claims.

use serde_json::Value;

use super::{Column, age, items, name, or, str, text};
use crate::{object, quantity};

const UNSET: &str = "<unset>";
/// Modes and what they are printed as, in print order.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

pub(in crate::kinds) fn persistent_volume() -> Vec<Column> {
    vec![
        name(),
        text("Capacity", "How much fits in.", |volume| capacity(&volume["spec"])),
        text("Access Modes", "How nodes may mount it.", |volume| modes(&volume["spec"])),
        text("Reclaim Policy", "What becomes of it when its claim goes.", |volume| {
            str(volume, "/spec/persistentVolumeReclaimPolicy").to_owned()
        }),
        text("Status", "Available, Bound, Released or Failed.", phase),
        text("Claim", "Who has it.", |volume| {
            let claim = &volume["spec"]["claimRef"];
            match claim {
                Value::Null => String::new(),
                _ => format!("{}/{}", str(claim, "/namespace"), str(claim, "/name")),
            }
        }),
        text("StorageClass", "StorageClass of the pv", class),
        text("VolumeAttributesClass", "VolumeAttributesClass of the pv", attributes_class),
        text("Reason", "Why it is in this state.", |volume| str(volume, "/status/reason").to_owned()),
        age(),
        mode(),
    ]
}

pub(in crate::kinds) fn persistent_volume_claim() -> Vec<Column> {
    let bound = |of: fn(&Value) -> String| {
        move |claim: &Value| match str(claim, "/spec/volumeName") {
            "" => String::new(),
            _ => of(&claim["status"]),
        }
    };
    vec![
        name(),
        text("Status", "Pending, Bound or Lost.", phase),
        text("Volume", "The volume it got.", |claim| str(claim, "/spec/volumeName").to_owned()),
        text("Capacity", "How much fits in.", bound(capacity)),
        text("Access Modes", "How nodes may mount it.", bound(modes)),
        text("StorageClass", "StorageClass of the pvc", class),
        text("VolumeAttributesClass", "VolumeAttributesClass of the pvc", attributes_class),
        age(),
        mode(),
    ]
}

fn phase(object: &Value) -> String {
    if object::is_deleting(object) { "Terminating" } else { str(object, "/status/phase") }.to_owned()
}

fn capacity(holder: &Value) -> String {
    quantity::canonical(&holder["capacity"]["storage"]).unwrap_or_else(|| "0".to_owned())
}

fn modes(holder: &Value) -> String {
    let given = items(holder, "/accessModes");
    let short = MODES.iter().filter(|(mode, _)| given.iter().any(|g| g == mode)).map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",")
}

/// The annotation was there before the field, and still wins.
fn class(object: &Value) -> String {
    let annotation = object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    annotation.unwrap_or(str(object, "/spec/storageClassName")).to_owned()
}

fn attributes_class(object: &Value) -> String {
    object["spec"]["volumeAttributesClassName"].as_str().unwrap_or(UNSET).to_owned()
}

fn mode() -> Column {
    text("VolumeMode", "Whether it holds files or is a raw device.", |object| {
        or(str(object, "/spec/volumeMode"), UNSET)
    })
    .wide()
}
