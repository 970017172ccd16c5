//! `/debug/api_priority_and_fairness/dump_*`: who runs and who waits, as tables of text in upstream's columns
//! (`pkg/util/flowcontrol/apf_controller_debug.go`).
//!
//! Entry point: [`respond`]. Requests that did not have to wait have no queue here, and their index is -1, as upstream
//! shows those of exempt levels.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::level::{Asker, View};
use crate::call::Server;
use crate::output;

const ROOT: &str = "/debug/api_priority_and_fairness/";

const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

type Row = Vec<String>;

/// The rows of a level, by its name.
type Rows = fn(&str, &View<'_>, bool) -> Vec<Row>;

/// The dump of a path, if it is one of them.
pub(crate) fn respond(server: &Server, path: &str, query: &[(String, String)]) -> Option<Response<Body>> {
    let what = path.strip_prefix(ROOT).filter(|_| server.config.seats.is_some())?;
    let detailed = query.iter().any(|(key, value)| key == "includeRequestDetails" && !value.is_empty());
    let (header, rows): (Row, Rows) = match what {
        "dump_priority_levels" => (words(&LEVELS), level),
        "dump_queues" => (words(&QUEUES), queues),
        "dump_requests" if detailed => (words(&[&REQUESTS[..], &DETAILS].concat()), requests),
        "dump_requests" => (words(&REQUESTS), requests),
        _ => return None,
    };
    let mut table = vec![header];
    for (name, shown) in &server.flow_control.followed.read().levels {
        table.extend(shown.shown(|view| rows(name, view, detailed)));
    }
    Some(output::text(StatusCode::OK, aligned(&table)))
}

fn words(words: &[&str]) -> Row {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Cells with a comma and at least one blank after them, under each other, at least eight wide.
fn aligned(table: &[Row]) -> String {
    const NARROWEST: usize = 8;
    let mut widths = Vec::new();
    for row in table {
        widths.resize(widths.len().max(row.len()), NARROWEST);
        for (width, cell) in widths.iter_mut().zip(row) {
            // The comma and a blank.
            *width = (*width).max(cell.chars().count() + 2);
        }
    }
    let mut text = String::new();
    for row in table {
        for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if number + 1 == row.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{:<width$}", format!("{cell},")));
            }
        }
        text.push('\n');
    }
    text
}

fn level(name: &str, view: &View<'_>, _detailed: bool) -> Vec<Row> {
    let waiting: usize = view.queues.iter().map(|(waiting, _)| waiting.len()).sum();
    let active = view.queues.iter().filter(|(waiting, _)| !waiting.is_empty()).count();
    let idle = waiting == 0 && view.running.is_empty();
    let told = view.told;
    vec![vec![
        name.to_owned(),
        active.to_string(),
        idle.to_string(),
        // A level that is taken away is not shown any more.
        false.to_string(),
        waiting.to_string(),
        view.running.len().to_string(),
        told.dispatched.to_string(),
        told.rejected.to_string(),
        told.timed_out.to_string(),
        told.cancelled.to_string(),
    ]]
}

fn queues(name: &str, view: &View<'_>, _detailed: bool) -> Vec<Row> {
    let row = |(index, (waiting, served)): (usize, &(Vec<&Asker>, u64))| {
        let running = || view.running.iter().filter(|running| running.queue == Some(index));
        let seats = waiting.iter().map(|asker| asker.seats).sum::<usize>().to_string();
        vec![
            name.to_owned(),
            index.to_string(),
            waiting.len().to_string(),
            running().count().to_string(),
            running().map(|running| running.asker.seats).sum::<usize>().to_string(),
            work(served),
            seats.clone(),
            seats.clone(),
            work(&seats),
        ]
    };
    view.queues.iter().enumerate().map(row).collect()
}

/// Seats times seconds, as upstream writes them; here a request counts as a second.
fn work(seats: &impl std::fmt::Display) -> String {
    format!("{seats}.00000000ss")
}

fn requests(name: &str, view: &View<'_>, detailed: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (queue, (waiting, _)) in view.queues.iter().enumerate() {
        for (place, asker) in waiting.iter().enumerate() {
            let place = [queue.to_string(), place.to_string()];
            rows.push(request(name, asker, place, None, detailed));
        }
    }
    for running in &view.running {
        let queue = running.queue.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
        let place = [queue, "-1".to_owned()];
        rows.push(request(name, &running.asker, place, running.started, detailed));
    }
    rows
}

fn request(
    name: &str,
    asker: &Asker,
    [queue, place]: [String; 2],
    started: Option<Timestamp>,
    detailed: bool,
) -> Row {
    let info = &asker.info;
    let started = started.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string());
    let mut row = vec![
        name.to_owned(),
        asker.schema.to_string(),
        queue,
        place,
        asker.flow.clone(),
        asker.arrived.to_string(),
        asker.seats.to_string(),
        "0".to_owned(),
        "0s".to_owned(),
        started,
    ];
    if detailed {
        let version =
            [info.group.as_str(), info.version.as_str()].into_iter().filter(|part| !part.is_empty());
        row.extend([
            asker.user.clone(),
            info.verb.to_owned(),
            info.path.clone(),
            info.namespace.clone(),
            info.name.clone(),
            version.collect::<Vec<_>>().join("/"),
            info.resource.clone(),
            info.subresource.clone(),
        ]);
    }
    row
}
