//! Whether the other servers answer: the `Available` condition of API services that name a Service.
//!
//! Entry point: [`keep`]. A task per delegation checks when something it depends on changes, again after a failure
//! with growing pauses, and every 30 seconds: that a network leads nowhere is told by nobody (upstream's remote
//! availability controller).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use futures::StreamExt as _;
use futures::stream::{SelectAll, select_all};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::documents::{self, Remote};
use super::{Delegation, Delegations, SERVICES, proxy};
use crate::backends;
use crate::call::{Call, Server, parse, store_status};
use crate::followed::Index as _;
use crate::registry::{self, Part};
use crate::storage::{Event, EventStream};

/// Upstream's resync of API services.
const AGAIN: Duration = Duration::from_secs(30);
/// The first pause after a failed check; each further one is twice as long, up to [`AGAIN`].
const RETRY: Duration = Duration::from_millis(250);
/// What a delegation depends on: its own object, its Service, and where that leads.
const WATCHED: [(&str, &str); 3] = [SERVICES, ("", "services"), ("discovery.k8s.io", "endpointslices")];

/// Follows all delegations for ever.
pub(crate) async fn keep(server: Arc<Server>) {
    loop {
        if let Err(status) = follow(&server).await {
            tracing::warn!(message = status.message, "API services could not be followed");
        }
        server.clock.sleep(RETRY).await;
    }
}

/// A delegation and the task that looks after it; the task ends with this.
struct Supervised {
    delegation: Arc<Delegation>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when a watch does.
async fn follow(server: &Arc<Server>) -> Result<(), Status> {
    let prefix = |(group, plural): (&str, &str)| api::names::storage_prefix(group, plural, None);
    let page = server.store.list(&prefix(SERVICES), None, 0, None).await.map_err(store_status)?;
    let mut known = Delegations::default();
    page.entries.iter().for_each(|entry| known.put(entry));
    let mut streams: Vec<EventStream> = Vec::new();
    for watched in WATCHED {
        streams.push(server.store.watch(&prefix(watched), page.revision).await.map_err(store_status)?);
    }
    let mut events: SelectAll<EventStream> = select_all(streams);
    let mut tasks = BTreeMap::new();
    settle(server, &known, &mut tasks);
    let own = prefix(SERVICES);
    while let Some(event) = events.next().await {
        let event = event.map_err(store_status)?;
        let Some(entry) = event.entry.as_ref().or(event.previous.as_ref()) else { continue };
        if entry.key.starts_with(&own) {
            match &event.entry {
                Some(entry) => known.put(entry),
                None => known.remove(&entry.key),
            }
            settle(server, &known, &mut tasks);
        } else if !tasks.is_empty() {
            wake(&tasks, &event);
        }
    }
    Ok(())
}

/// Starts and ends tasks so that there is one for each delegation.
fn settle(server: &Arc<Server>, known: &Delegations, tasks: &mut BTreeMap<String, Supervised>) {
    tasks.retain(|place, task| {
        known
            .0
            .get(place)
            .is_some_and(|now| now.leads_where(&task.delegation) && now.name == task.delegation.name)
    });
    documents::keep_only(server, known);
    for (place, delegation) in &known.0 {
        tasks.entry(place.clone()).or_insert_with(|| {
            let (wake, delegation) = (Arc::new(Notify::new()), Arc::clone(delegation));
            let work = supervise(Arc::clone(server), Arc::clone(&delegation), Arc::clone(&wake));
            Supervised { delegation, wake, task: tokio::spawn(work) }
        });
    }
}

/// Wakes who depends on a changed Service or slice.
fn wake(tasks: &BTreeMap<String, Supervised>, event: &Event) {
    let Some(entry) = event.entry.as_ref().or(event.previous.as_ref()) else { return };
    let Ok(object) = parse(&entry.bytes) else { return };
    let service = object["metadata"]["labels"][backends::SERVICE_LABEL].as_str();
    let name = service.unwrap_or_else(|| api::object::name(&object));
    for task in tasks.values() {
        if task.delegation.namespace == api::object::namespace(&object) && task.delegation.service == name {
            task.wake.notify_one();
        }
    }
}

/// Looks after one delegation until the task is ended.
async fn supervise(server: Arc<Server>, delegation: Arc<Delegation>, wake: Arc<Notify>) {
    let mut pause = RETRY;
    loop {
        let found = check(&server, &delegation).await;
        let good = found.status == "True";
        if let Err(status) = report(&server, &delegation, &found).await {
            tracing::debug!(
                api_service = delegation.name,
                message = status.message,
                "its condition was not written"
            );
        }
        let known = documents::of(&server, &delegation);
        let remote = match good {
            true => documents::read(&server, &delegation, known.as_deref()).await,
            false => Remote::stale(&delegation, known.as_deref()),
        };
        documents::publish(&server, &delegation, remote);
        pause = if good { AGAIN } else { (pause * 2).min(AGAIN) };
        tokio::select! {
            () = server.clock.sleep(pause) => {}
            () = wake.notified() => {}
        }
    }
}

/// What a check found: the parts of a condition.
struct Found {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Found {
    fn not(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }
}

/// Whether the other server can be used.
async fn check(server: &Server, delegation: &Delegation) -> Found {
    let Delegation { namespace, service: name, port, group, version, .. } = delegation;
    let shown = format!("service/{name} in {namespace:?}");
    let Some(found) = backends::find(server, namespace, name).await else {
        return Found::not("ServiceNotFound", format!("{shown} is not present"));
    };
    if found.service["spec"]["type"] == "ClusterIP"
        && let Some(problem) = endpoints(delegation, &found, &shown)
    {
        return problem;
    }
    let path = format!("/apis/{group}/{version}");
    let url = format!("https://{}:{port}{path}", delegation.host());
    match proxy::get(server, delegation, &path, "application/json").await {
        Ok((code, ..)) if code.is_success() => {
            Found { status: "True", reason: "Passed", message: "all checks passed".to_owned() }
        }
        Ok((code, ..)) => {
            let message =
                format!("failing or missing response from {url}: bad status from {url}: {}", code.as_u16());
            Found::not("FailedDiscoveryCheck", message)
        }
        Err(problem) => {
            let message = format!("failing or missing response from {url}: Get {url:?}: {problem}");
            Found::not("FailedDiscoveryCheck", message)
        }
    }
}

/// What is wrong with where the Service leads, if anything is.
fn endpoints(delegation: &Delegation, found: &backends::Found, shown: &str) -> Option<Found> {
    let port = delegation.port;
    let Some(port) = found.port(port) else {
        return Some(Found::not("ServicePortError", format!("{shown} is not listening on port {port}")));
    };
    let name = port["name"].as_str().unwrap_or_default();
    if found.slices.is_empty() {
        let message = format!("cannot find endpointslices for {shown}");
        return Some(Found::not("EndpointsNotFound", message));
    }
    found.ready(name).is_empty().then(|| {
        let message = format!("endpointslices for {shown} have no addresses with port name {name:?}");
        Found::not("MissingEndpoints", message)
    })
}

/// Writes the condition, if it says something new.
async fn report(server: &Arc<Server>, delegation: &Delegation, found: &Found) -> Result<(), Status> {
    let (group, plural) = SERVICES;
    let Some(kind) = server.kinds().resource(group, "v1", plural).cloned() else { return Ok(()) };
    let call = Call::internal(server, &kind, "", &delegation.name);
    let now = server.now();
    let written = registry::update(&call, &delegation.name, Part::Whole, |current| {
        let mut new = current.clone();
        if Delegation::of(current).is_some_and(|now| now.leads_where(delegation)) {
            set(&mut new, found, &now);
        }
        Ok(new)
    });
    match written.await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// Puts the condition into an API service; its time is that of the last change of status.
fn set(service: &mut Value, found: &Found, now: &str) {
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (mine, mut others): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|condition| condition["type"] == "Available");
    let since = mine.first().filter(|condition| condition["status"] == found.status);
    let since = since.map_or_else(|| now.into(), |condition| condition["lastTransitionTime"].clone());
    others.push(json!({
        "type": "Available", "status": found.status, "lastTransitionTime": since,
        "reason": found.reason, "message": found.message,
    }));
    service["status"]["conditions"] = others.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let mut service = json!({"status": {"conditions": [
            {"type": "Other", "status": "True"},
            {"type": "Available", "status": "False", "lastTransitionTime": "then", "reason": "a"}]}});
        set(&mut service, &Found::not("MissingEndpoints", "none".to_owned()), "now");
        let condition = &service["status"]["conditions"][1];
        assert_eq!(
            (&condition["lastTransitionTime"], &condition["reason"]),
            (&json!("then"), &json!("MissingEndpoints"))
        );
        set(&mut service, &Found { status: "True", reason: "Passed", message: String::new() }, "now");
        assert_eq!(service["status"]["conditions"][1]["lastTransitionTime"], "now");
    }
}
