//! What the server counts of its requests, under upstream's names and labels.
//!
//! Entry points: [`record`] at the end of the chain, [`Busy`] and [`lasting`] while a request is answered,
//! [`respond`] for `/metrics`. Labels are names of what is served: paths that strangers make up cost nothing.

use std::sync::LazyLock;
use std::time::Duration;

use api::{Kind, KindTable};
use axum::body::Body;
use component_base::metrics::{
    self, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, REQUEST_SECONDS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::call::Server;
use crate::request::RequestInfo;
use crate::{health, output};

/// Upstream's labels of a request, without the code.
const LABELS: [&str; 8] =
    ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = [&LABELS[..], &["code"]].concat();
    metrics::counter("apiserver_request_total", "Requests by what was asked for and the answer.", &labels)
});
static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Time to answer, in seconds; of a watch, to its first byte.";
    metrics::histogram("apiserver_request_duration_seconds", help, &LABELS, &REQUEST_SECONDS)
});
static IN_FLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Requests that are being answered, but for those that last.";
    metrics::gauge("apiserver_current_inflight_requests", help, &["request_kind"])
});
static LONG_RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let labels: Vec<&str> = LABELS.into_iter().filter(|label| *label != "dry_run").collect();
    metrics::gauge("apiserver_longrunning_requests", "Watches, logs and streams that are open.", &labels)
});
static WATCH_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "apiserver_watch_events_total",
        "Events sent to watches.",
        &["group", "version", "resource"],
    )
});
static OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("apiserver_resource_objects", "Stored objects by resource.", &["group", "resource"])
});
/// The name of [`OBJECTS`] before 1.34; dashboards still ask for it.
static STORAGE_OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("apiserver_storage_objects", "Stored objects by resource and group.", &["resource"])
});
static BUILD: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let labels = ["major", "minor", "git_version", "compiler", "platform"];
    metrics::gauge("kubernetes_build_info", "What runs here: always 1.", &labels)
});

/// What a request is told apart by.
struct Labels<'a> {
    verb: &'static str,
    kind: Option<&'a Kind>,
    subresource: &'a str,
    scope: &'static str,
}

impl<'a> Labels<'a> {
    fn of(kinds: &'a KindTable, info: &'a RequestInfo) -> Self {
        let kind = kinds.resource(&info.group, &info.version, &info.resource).map(AsRef::as_ref);
        let known = kind.and_then(|kind| kind.subresource(&info.subresource)).is_some();
        Self {
            verb: verb(info.verb),
            kind,
            subresource: if known { &info.subresource } else { "" },
            scope: if kind.is_some() { scope(info) } else { "" },
        }
    }

    /// In the order of [`LABELS`].
    fn values(&self, dry_run: &'static str) -> [&str; 8] {
        let [group, version, resource] = self.kind.map_or([""; 3], names);
        [self.verb, dry_run, group, version, resource, self.subresource, self.scope, "apiserver"]
    }
}

fn names(kind: &Kind) -> [&str; 3] {
    [&kind.group, &kind.version, &kind.plural]
}

/// Upstream counts methods, except where reads differ.
fn verb(verb: &'static str) -> &'static str {
    match verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

/// Upstream's `CleanScope`.
fn scope(info: &RequestInfo) -> &'static str {
    if !info.name.is_empty() || info.verb == "create" {
        "resource"
    } else if info.namespace.is_empty() {
        "cluster"
    } else {
        "namespace"
    }
}

/// Counts an answered request.
pub(crate) fn record(server: &Server, info: &RequestInfo, dry_run: bool, code: StatusCode, took: Duration) {
    let kinds = server.kinds();
    let labels = Labels::of(&kinds, info);
    let [a, b, c, d, e, f, g, h] = labels.values(if dry_run { "All" } else { "" });
    REQUESTS.with_label_values(&[a, b, c, d, e, f, g, h, code.as_str()]).inc();
    SECONDS.with_label_values(&[a, b, c, d, e, f, g, h]).observe(took.as_secs_f64());
}

/// Something that is counted while it is there.
pub(crate) struct Busy(IntGauge);

impl Busy {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }

    /// A request on its way through the chain.
    pub(crate) fn with(info: &RequestInfo) -> Option<Self> {
        let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&info.verb);
        let kind = if writes { "mutating" } else { "readOnly" };
        (!info.is_long_running()).then(|| Self::new(IN_FLIGHT.with_label_values(&[kind])))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts an answer that lasts until its body ends.
pub(crate) fn lasting(server: &Server, info: &RequestInfo, response: Response<Body>) -> Response<Body> {
    let kinds = server.kinds();
    let labels = Labels::of(&kinds, info);
    let [verb, _, rest @ ..] = labels.values("");
    let [group, version, resource, subresource, scope, component] = rest;
    let labels = [verb, group, version, resource, subresource, scope, component];
    let busy = Busy::new(LONG_RUNNING.with_label_values(&labels));
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _while_it_lasts = &busy;
            frame
        }))
    })
}

/// The counter of the events of watches of a kind.
pub(crate) fn watch_events(kind: &Kind) -> IntCounter {
    WATCH_EVENTS.with_label_values(&names(kind))
}

/// Answers `/metrics`.
pub(crate) async fn respond(server: &Server) -> Response<Body> {
    for kind in server.kinds().iter().filter(|kind| kind.is_stored() && kind.converted().is_none()) {
        // One entry is enough: the page says how many follow.
        let Ok(page) = server.store.list(&kind.prefix(None), None, 1, None).await else { continue };
        let count = page.remaining.saturating_add(page.entries.len() as u64);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        OBJECTS.with_label_values(&[&kind.group, &kind.plural]).set(count);
        let resource = match kind.group.as_ref() {
            "" => kind.plural.to_string(),
            group => format!("{}.{group}", kind.plural),
        };
        STORAGE_OBJECTS.with_label_values(&[resource.as_str()]).set(count);
    }
    let version = health::version();
    let word = |key: &str| version[key].as_str().unwrap_or_default();
    let build = ["major", "minor", "gitVersion", "compiler", "platform"].map(word);
    BUILD.with_label_values(&build).set(1);
    let mut response = output::text(StatusCode::OK, metrics::render());
    let form = HeaderValue::from_static(metrics::MEDIA_TYPE);
    response.headers_mut().insert(http::header::CONTENT_TYPE, form);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_has_a_name() {
        let kinds = api::kinds::builtin();
        let labels = |method: http::Method, uri: &str| {
            let uri: http::Uri = uri.parse().expect("a uri");
            let info = RequestInfo::parse(&method, &uri, false);
            Labels::of(&kinds, &info).values("").join(" ")
        };
        let scale = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        assert_eq!(labels(http::Method::PATCH, scale), "PATCH  apps v1 deployments scale resource apiserver");
        assert_eq!(labels(http::Method::GET, "/api/v1/nodes"), "LIST   v1 nodes  cluster apiserver");
        assert_eq!(labels(http::Method::POST, "/api/v1/namespaces/a/made-up"), "POST       apiserver");
        let part = "/api/v1/namespaces/a/pods/p/made-up";
        assert_eq!(labels(http::Method::GET, part), "GET   v1 pods  resource apiserver");
        assert_eq!(labels(http::Method::GET, "/healthz"), "GET       apiserver");
    }
}
