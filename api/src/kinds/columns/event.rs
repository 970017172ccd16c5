//! Events, in both of their forms.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, name, or, text};
use crate::time;

/// A field of the core form, or what `events.k8s.io` calls it.
fn either<'a>(event: &'a Value, core: &str, other: &str) -> &'a Value {
    if event[core].is_null() { &event[other] } else { &event[core] }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(in crate::kinds) fn event() -> Vec<Column> {
    let mut name = name().wide();
    name.format = "name";
    vec![
        Column::new("Last Seen", "string", "When it happened last.", |event, now| {
            last_seen(event, now).into()
        }),
        text("Type", "Normal or Warning.", |event| string(&event["type"])),
        text("Reason", "Why, in one word.", |event| string(&event["reason"])),
        text("Object", "What it is about.", object),
        text("Subobject", "The part it is about.", |event| {
            string(&either(event, "involvedObject", "regarding")["fieldPath"])
        })
        .wide(),
        text("Source", "Who reports it.", source).wide(),
        text("Message", "What happened.", |event| string(either(event, "message", "note")).trim().to_owned()),
        Column::new("First Seen", "string", "When it happened first.", |event, now| {
            first_seen(event, now).into()
        })
        .wide(),
        Column::new("Count", "string", "How often it happened.", |event, _| count(event).into()).wide(),
        name,
    ]
}

fn object(event: &Value) -> String {
    let about = either(event, "involvedObject", "regarding");
    let kind = string(&about["kind"]).to_lowercase();
    match about["name"].as_str().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let source = either(event, "source", "deprecatedSource");
    let reporter = string(either(event, "reportingComponent", "reportingController"));
    let component = or(&string(&source["component"]), &reporter);
    match or(&string(&source["host"]), &string(&event["reportingInstance"])).as_str() {
        "" => component,
        instance => format!("{component}, {instance}"),
    }
}

fn first_seen(event: &Value, now: Timestamp) -> String {
    let first = time::read(either(event, "firstTimestamp", "deprecatedFirstTimestamp"));
    time::age(first.or_else(|| time::read(&event["eventTime"])), now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    if event["series"].is_object() {
        return time::age(time::read(&event["series"]["lastObservedTime"]), now);
    }
    match time::read(either(event, "lastTimestamp", "deprecatedLastTimestamp")) {
        Some(last) => time::age(Some(last), now),
        None => first_seen(event, now),
    }
}

fn count(event: &Value) -> i64 {
    let series = event["series"]["count"].as_i64();
    let plain = either(event, "count", "deprecatedCount").as_i64();
    series.or(plain.filter(|count| *count > 0)).unwrap_or(1)
}
