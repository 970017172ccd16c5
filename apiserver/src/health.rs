//! Health, version and metrics: paths for probes, load balancers and people.
//!
//! Entry point: [`respond`]. Checks are named; `?verbose` lists them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::call::Server;
use crate::output;
use crate::request::RequestInfo;

/// Upper bounds of the latency histogram, seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Distinct label sets kept; more would only mean somebody probes random paths.
const MAX_SERIES: usize = 2000;

/// Nothing stands there; reading it takes the way every read takes.
const PROBE_KEY: &str = "/registry/health";
/// A store that takes longer is as good as away (upstream's etcd check).
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Request counters.
#[derive(Default)]
pub(crate) struct Measures(Mutex<BTreeMap<Labels, Series>>);

/// What requests are told apart by: upstream's labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    code: u16,
}

impl Labels {
    fn of(info: &RequestInfo, code: StatusCode) -> Self {
        // Paths that are no resource would make a series each.
        let kept = |text: &str| if info.is_resource() { text.to_owned() } else { String::new() };
        Self {
            verb: verb(info.verb),
            group: kept(&info.group),
            version: kept(&info.version),
            resource: kept(&info.resource),
            subresource: kept(&info.subresource),
            scope: scope(info),
            code: code.as_u16(),
        }
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, group, version, resource, subresource, scope, code } = self;
        // Names come from paths: a quote in one must not end the label.
        let quoted = |text: &str| format!("{text:?}");
        write!(
            f,
            "verb=\"{verb}\",dry_run=\"\",group={},version={},resource={},subresource={},scope=\"{scope}\",component=\"apiserver\",code=\"{code}\"",
            quoted(group),
            quoted(version),
            quoted(resource),
            quoted(subresource),
        )
    }
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
    if !info.is_resource() {
        ""
    } else if !info.name.is_empty() || info.verb == "create" {
        "resource"
    } else if info.namespace.is_empty() {
        "cluster"
    } else {
        "namespace"
    }
}

#[derive(Default, Clone, Copy)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Measures {
    /// Counts one answered request.
    pub(crate) fn record(&self, info: &RequestInfo, code: StatusCode, took: Duration) {
        let key = Labels::of(info, code);
        let mut all = self.0.lock();
        if all.len() >= MAX_SERIES && !all.contains_key(&key) {
            return;
        }
        let series = all.entry(key).or_default();
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        for (bound, count) in BUCKETS.iter().zip(&mut series.buckets) {
            *count += u64::from(seconds <= *bound);
        }
    }

    fn render(&self, out: &mut String) {
        const TOTAL: &str = "apiserver_request_total";
        const SECONDS: &str = "apiserver_request_duration_seconds";
        let all = self.0.lock().clone();
        heading(out, TOTAL, "counter", "Requests by verb, group, version, resource, scope and answer.");
        for (labels, series) in &all {
            let _ = writeln!(out, "{TOTAL}{{{labels}}} {}", series.count);
        }
        heading(out, SECONDS, "histogram", "Time to answer; of a watch, to its first byte.");
        for (labels, series) in &all {
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                let _ = writeln!(out, "{SECONDS}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{SECONDS}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(out, "{SECONDS}_sum{{{labels}}} {}", series.seconds);
            let _ = writeln!(out, "{SECONDS}_count{{{labels}}} {}", series.count);
        }
    }
}

fn heading(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Answers the paths of this file; `None` for others.
pub(crate) async fn respond(server: &Server, info: &RequestInfo, uri: &Uri) -> Option<Response<Body>> {
    if !["get", "head"].contains(&info.verb) {
        return None;
    }
    let query = uri.query().unwrap_or_default();
    let path = info.path.trim_end_matches('/');
    match path {
        "/version" => Some(output::raw_json(StatusCode::OK, &version())),
        _ => {
            let root = ["/healthz", "/livez", "/readyz"].into_iter().find(|root| {
                path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })?;
            let only = path.strip_prefix(root).unwrap_or_default().trim_start_matches('/');
            health(server, root, only, query).await
        }
    }
}

async fn health(server: &Server, root: &str, only: &str, query: &str) -> Option<Response<Body>> {
    let has = |word: &str| query.split('&').any(|p| p == word || p.starts_with(&format!("{word}=")));
    let excluded: Vec<&str> = query.split('&').filter_map(|p| p.strip_prefix("exclude=")).collect();
    let checks = checks(server, root).await;
    if !only.is_empty() {
        let (_, healthy) = checks.iter().find(|(name, _)| *name == only)?;
        return Some(match healthy {
            true => text(StatusCode::OK, "ok".to_owned()),
            false => {
                let problem = format!("internal server error: {only} check failed\n");
                text(StatusCode::INTERNAL_SERVER_ERROR, problem)
            }
        });
    }
    let word = root.trim_start_matches('/');
    let (healthy, report) = report(&checks, &excluded);
    let (code, body) = match (healthy, has("verbose")) {
        (true, false) => (StatusCode::OK, "ok".to_owned()),
        (true, true) => (StatusCode::OK, format!("{report}{word} check passed\n")),
        // Always verbose when something is wrong.
        (false, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{word} check failed\n")),
    };
    Some(text(code, body))
}

fn text(code: StatusCode, body: String) -> Response<Body> {
    let mut response = output::text(code, body);
    let headers = response.headers_mut();
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

/// Whether all checks that count are good, and a line for each.
fn report(checks: &[(&'static str, bool)], excluded: &[&str]) -> (bool, String) {
    let mut report = String::new();
    let mut healthy = true;
    for (name, ok) in checks {
        let skipped = excluded.contains(name);
        healthy &= *ok || skipped;
        // Writing into a String cannot fail.
        let _ = match (ok, skipped) {
            (_, true) => writeln!(report, "[+]{name} excluded: ok"),
            (true, false) => writeln!(report, "[+]{name} ok"),
            (false, false) => writeln!(report, "[-]{name} failed: reason withheld"),
        };
    }
    let mut unknown: Vec<String> = excluded
        .iter()
        .filter(|word| !checks.iter().any(|(name, _)| name == *word))
        .map(|word| format!("{word:?}"))
        .collect();
    unknown.sort();
    unknown.dedup();
    if !unknown.is_empty() {
        let words = unknown.join(",");
        let _ = writeln!(report, "warn: some health checks cannot be excluded: no matches for {words}");
    }
    (healthy, report)
}

/// Names of checks, in the order they are shown; the last is of `/readyz` only.
const CHECKS: [&str; 4] = ["ping", "log", "etcd", "shutdown"];

/// Every path there is for probes.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ["/healthz", "/livez", "/readyz"].into_iter().flat_map(|root| {
        let own = CHECKS.into_iter().take(if root == "/readyz" { 4 } else { 3 });
        own.map(move |name| format!("{root}/{name}")).chain([root.to_owned()])
    })
}

/// Whether each is well; `etcd` is the store, whichever engine it is: scripts look for
/// that name. A draining server is alive but not ready.
async fn checks(server: &Server, root: &str) -> Vec<(&'static str, bool)> {
    let healthy = [true, true, store_answers(server).await, !server.shutdown.is_triggered()];
    CHECKS.into_iter().zip(healthy).take(if root == "/readyz" { 4 } else { 3 }).collect()
}

/// Whether the store can be read now: an engine elsewhere may be away while its copies here are whole.
async fn store_answers(server: &Server) -> bool {
    tokio::select! {
        read = server.store.get(PROBE_KEY, None) => read.is_ok(),
        () = server.clock.sleep(PROBE_TIMEOUT) => false,
    }
}

/// The version clients see: that of the API, then ours.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": concat!("v1.36.0+gantry.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.25", "compiler": "rustc", "platform": format!("linux/{}", architecture()),
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Prometheus text.
pub(crate) async fn metrics(server: &Server) -> Response<Body> {
    let mut out = String::new();
    server.measures.render(&mut out);
    heading(&mut out, "apiserver_storage_objects", "gauge", "Stored objects by resource.");
    for kind in server.kinds().iter().filter(|kind| kind.is_stored() && kind.converted().is_none()) {
        // One entry is enough: the page says how many follow.
        let Ok(page) = server.store.list(&kind.prefix(None), None, 1, None).await else { continue };
        let count = page.remaining + u64::try_from(page.entries.len()).unwrap_or_default();
        let resource = if kind.group.is_empty() {
            kind.plural.to_string()
        } else {
            format!("{}.{}", kind.plural, kind.group)
        };
        let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
    }
    let mut response = output::text(StatusCode::OK, out);
    let form = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, form);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_upstreams_labels() {
        let measures = Measures::default();
        let uri: Uri = "/apis/apps/v1/namespaces/a/deployments".parse().expect("a uri");
        let info = RequestInfo::parse(&http::Method::POST, &uri, false);
        measures.record(&info, StatusCode::CREATED, Duration::from_millis(30));
        let mut out = String::new();
        measures.render(&mut out);
        let labels = r#"verb="POST",dry_run="",group="apps",version="v1",resource="deployments",subresource="",scope="resource",component="apiserver",code="201""#;
        assert!(out.contains(&format!("apiserver_request_total{{{labels}}} 1\n")), "{out}");
        let bucket =
            |bound: &str| format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}}");
        assert!(out.contains(&format!("{} 0\n", bucket("0.025"))), "{out}");
        assert!(out.contains(&format!("{} 1\n", bucket("0.05"))), "{out}");
    }

    #[test]
    fn what_counts_and_what_is_said() {
        let checks = [("ping", true), ("etcd", false)];
        assert_eq!(report(&checks, &[]), (false, "[+]ping ok\n[-]etcd failed: reason withheld\n".to_owned()));
        assert_eq!(
            report(&checks, &["etcd", "x"]),
            (
                true,
                "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n"
                    .to_owned()
            )
        );
    }
}
