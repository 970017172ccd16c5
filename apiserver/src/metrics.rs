//! What the server counts of its requests, under upstream's names and labels.
//!
//! Entry points: [`record`] at the end of the chain, [`Busy`] and [`lasting`] while a request is answered,
//! [`respond`] for `/metrics`. Labels are names of what is served: paths that strangers make up cost nothing.
//! [`Requests`] keeps the counters of a table of kinds at hand.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use api::kinds::Subresource;
use api::{Kind, KindTable};
use axum::body::Body;
use component_base::metrics::{
    self, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, REQUEST_SECONDS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::RwLock;

use crate::call::{Served, Server};
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
static READING: LazyLock<IntGauge> = LazyLock::new(|| IN_FLIGHT.with_label_values(&["readOnly"]));
static MUTATING: LazyLock<IntGauge> = LazyLock::new(|| IN_FLIGHT.with_label_values(&["mutating"]));
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
    dry_run: bool,
    kind: Option<&'a Kind>,
    subresource: Option<&'a Subresource>,
    scope: &'static str,
}

impl<'a> Labels<'a> {
    fn of(kinds: &'a KindTable, info: &RequestInfo, dry_run: bool) -> Self {
        let kind = kinds.resource(&info.group, &info.version, &info.resource).map(AsRef::as_ref);
        Self {
            verb: verb(info.verb),
            dry_run,
            kind,
            subresource: kind.and_then(|kind| kind.subresource(&info.subresource)),
            scope: if kind.is_some() { scope(info) } else { "" },
        }
    }

    /// In the order of [`LABELS`].
    fn values(&self) -> [&str; 8] {
        let [group, version, resource] = self.kind.map_or([""; 3], names);
        let subresource = self.subresource.map_or("", |subresource| &subresource.name);
        let dry_run = if self.dry_run { "All" } else { "" };
        [self.verb, dry_run, group, version, resource, subresource, self.scope, "apiserver"]
    }

    fn key(&self, code: StatusCode) -> Key {
        let Self { verb, dry_run, kind, subresource, scope } = *self;
        Key {
            kind: address(kind),
            subresource: address(subresource),
            code: code.as_u16(),
            verb,
            scope,
            dry_run,
        }
    }
}

/// Tells apart what a table of kinds holds.
fn address<T>(of: Option<&T>) -> usize {
    of.map_or(0, |of| std::ptr::from_ref(of).addr())
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

/// The counters of one table's requests by small keys: a search by nine labels for each request would cost
/// more than many an answer. They go with the table, whose rows the keys name by their address.
#[derive(Default)]
pub(crate) struct Requests(RwLock<BTreeMap<Key, Answered>>);

/// What tells requests apart, as [`Labels`] and the code do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: usize,
    code: u16,
    subresource: usize,
    verb: &'static str,
    scope: &'static str,
    dry_run: bool,
}

/// Requests of one key.
struct Answered {
    total: IntCounter,
    seconds: Histogram,
}

impl Answered {
    fn of(labels: &Labels<'_>, code: StatusCode) -> Self {
        let [a, b, c, d, e, f, g, h] = labels.values();
        Self {
            total: REQUESTS.with_label_values(&[a, b, c, d, e, f, g, h, code.as_str()]),
            seconds: SECONDS.with_label_values(&[a, b, c, d, e, f, g, h]),
        }
    }

    fn count(&self, took: Duration) {
        self.total.inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Counts an answered request.
pub(crate) fn record(served: &Served, info: &RequestInfo, dry_run: bool, code: StatusCode, took: Duration) {
    let labels = Labels::of(&served.kinds, info, dry_run);
    let key = labels.key(code);
    if let Some(answered) = served.requests.0.read().get(&key) {
        return answered.count(took);
    }
    let mut counted = served.requests.0.write();
    counted.entry(key).or_insert_with(|| Answered::of(&labels, code)).count(took);
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
        let gauge = if writes { &MUTATING } else { &READING };
        (!info.is_long_running()).then(|| Self::new(LazyLock::force(gauge).clone()))
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
    let labels = Labels::of(&kinds, info, false);
    let [verb, _, rest @ ..] = labels.values();
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
    server.flow_control.look();
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
            Labels::of(&kinds, &info, false).values().join(" ")
        };
        let scale = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        assert_eq!(labels(http::Method::PATCH, scale), "PATCH  apps v1 deployments scale resource apiserver");
        assert_eq!(labels(http::Method::GET, "/api/v1/nodes"), "LIST   v1 nodes  cluster apiserver");
        assert_eq!(labels(http::Method::POST, "/api/v1/namespaces/a/made-up"), "POST       apiserver");
        let part = "/api/v1/namespaces/a/pods/p/made-up";
        assert_eq!(labels(http::Method::GET, part), "GET   v1 pods  resource apiserver");
        assert_eq!(labels(http::Method::GET, "/healthz"), "GET       apiserver");
    }

    #[test]
    fn requests_of_one_key_are_counted_together() {
        let served = Served::new(api::kinds::builtin());
        let count = |uri: &str, dry_run, code| {
            let info = RequestInfo::parse(&http::Method::PUT, &uri.parse().expect("a uri"), false);
            record(&served, &info, dry_run, code, Duration::ZERO);
        };
        let scaled = ["PUT", "", "apps", "v1", "deployments", "scale", "resource", "apiserver", "200"];
        let before = REQUESTS.with_label_values(&scaled).get();
        for name in ["a", "b", "c"] {
            count(&format!("/apis/apps/v1/namespaces/n/deployments/{name}/scale"), false, StatusCode::OK);
        }
        let after = REQUESTS.with_label_values(&scaled).get();
        assert_eq!((after - before, served.requests.0.read().len()), (3, 1));
        count("/apis/apps/v1/namespaces/n/deployments/a/scale", true, StatusCode::OK);
        count("/apis/apps/v1/namespaces/n/deployments/a/scale", false, StatusCode::CONFLICT);
        count("/apis/apps/v1/namespaces/n/deployments/a", false, StatusCode::OK);
        count("/apis/apps/v1/namespaces/n/statefulsets/a", false, StatusCode::OK);
        count("/made-up/1", false, StatusCode::NOT_FOUND);
        count("/made-up/2", false, StatusCode::NOT_FOUND);
        assert_eq!(served.requests.0.read().len(), 6);
    }
}
