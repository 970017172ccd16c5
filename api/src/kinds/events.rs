//! Events: two rows, `v1` and `events.k8s.io/v1`, over the same stored objects (the core form).
//!
//! The two forms say the same with different words; the pairs below are upstream's.

use serde_json::{Map, Value};

use super::{Converted, Kind, Scope, columns, plain};

/// `(core field, events.k8s.io field)`; fields not listed have one name in both.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source.component",
    "type",
];

const REGARDING: &[(&str, &str)] = &[
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
];

/// The row of the core group, whose form is the stored one.
pub(super) fn core_row() -> Kind {
    plain("", "v1", "Event", "events", Scope::Namespaced)
        .short(&["ev"])
        .fields(FIELDS)
        .aliases(&[("source", "source.component|reportingComponent")])
        .rules(crate::strategies::core::Event)
        .printed(columns::event())
}

pub(super) fn rows() -> Vec<Kind> {
    let converted = Converted {
        group: "".into(),
        version: "v1".into(),
        plural: "events".into(),
        to_storage: to_core,
        from_storage: from_core,
    };
    vec![
        plain("events.k8s.io", "v1", "Event", "events", Scope::Namespaced)
            .short(&["ev"])
            .fields(FIELDS)
            .aliases(REGARDING)
            .rules(crate::strategies::core::Event)
            .printed(columns::event())
            .stored_as(converted),
    ]
}

/// `events.k8s.io/v1` to `v1`.
pub fn to_core(event: &mut Value) {
    rewrite(event, "v1", |name| RENAMED.iter().find(|(_, new)| *new == name).map(|(core, _)| *core));
}

/// `v1` to `events.k8s.io/v1`.
pub fn from_core(event: &mut Value) {
    rewrite(event, "events.k8s.io/v1", |name| {
        RENAMED.iter().find(|(core, _)| *core == name).map(|(_, new)| *new)
    });
}

fn rewrite(event: &mut Value, api_version: &str, renamed: impl Fn(&str) -> Option<&'static str>) {
    let Value::Object(fields) = event else { return };
    let old = std::mem::take(fields);
    *fields = old
        .into_iter()
        .map(|(name, value)| (renamed(&name).map_or(name, str::to_owned), value))
        .collect::<Map<_, _>>();
    fields.insert("apiVersion".to_owned(), api_version.into());
}
