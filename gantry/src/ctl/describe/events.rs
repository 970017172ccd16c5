//! Events about an object.

use jiff::Timestamp;
use serde_json::Value;

use super::sheet::{Sheet, number, text};

/// Writes events, oldest first.
pub fn write(sheet: &mut Sheet, events: &[Value], now: Timestamp) {
    if events.is_empty() {
        sheet.field(0, "Events", "<none>");
        return;
    }
    sheet.flush();
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let source = text(&event["source"]["component"]);
            let source = if source.is_empty() { text(&event["reportingComponent"]) } else { source };
            let message = text(&event["message"]).trim().to_owned();
            let message = match text(&event["involvedObject"]["fieldPath"]) {
                path if path.is_empty() => message,
                path => format!("{path}: {message}"),
            };
            vec![text(&event["type"]), text(&event["reason"]), interval(event, now), source, message]
        })
        .collect();
    sheet.line(0, "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------");
    rows.iter().for_each(|row| sheet.line(1, row.join("\t")));
}

/// How long ago, and how often over which time.
pub fn interval(event: &Value, now: Timestamp) -> String {
    let since = |value: &Value| match api::time::read(value) {
        Some(then) => api::time::age(Some(then), now),
        None => "<unknown>".to_owned(),
    };
    let first = if event["eventTime"].is_null() { &event["firstTimestamp"] } else { &event["eventTime"] };
    let series = &event["series"];
    if series.is_object() {
        let last = since(&series["lastObservedTime"]);
        return format!("{last} (x{} over {})", number(&series["count"]), since(first));
    }
    match number(&event["count"]) {
        count @ 2.. => format!("{} (x{count} over {})", since(&event["lastTimestamp"]), since(first)),
        _ => since(first),
    }
}
