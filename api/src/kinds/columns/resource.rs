//! Devices: claims and what drivers publish.

use serde_json::Value;

use super::{Column, age, items, name, str, text};

pub(in crate::kinds) fn resource_claim() -> Vec<Column> {
    vec![name(), text("State", "Pending, allocated, reserved, deleted.", state), age()]
}

fn state(claim: &Value) -> String {
    let deleted = !str(claim, "/metadata/deletionTimestamp").is_empty();
    let allocated = claim["status"]["allocation"].is_object();
    let reserved = allocated && !items(claim, "/status/reservedFor").is_empty();
    let words = [
        (deleted, "deleted"),
        (!deleted && !allocated, "pending"),
        (allocated, "allocated"),
        (reserved, "reserved"),
    ];
    words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}

pub(in crate::kinds) fn resource_slice() -> Vec<Column> {
    let field =
        |name, description, path: &'static str| text(name, description, move |o| str(o, path).to_owned());
    vec![
        name(),
        field("Node", "Where the devices are.", "/spec/nodeName"),
        field("Driver", "Whose devices they are.", "/spec/driver"),
        field("Pool", "The pool they belong to.", "/spec/pool/name"),
        age(),
    ]
}
