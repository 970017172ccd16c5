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
pub(crate) struct Measures(Mutex<BTreeMap<(&'static str, String, u16), Series>>);

#[derive(Default, Clone, Copy)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Measures {
    /// Counts one answered request.
    pub(crate) fn record(&self, info: &RequestInfo, code: StatusCode, took: Duration) {
        let key = (info.verb, info.resource.clone(), code.as_u16());
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
        let all = self.0.lock().clone();
        out.push_str("# TYPE apiserver_request_total counter\n");
        for ((verb, resource, code), series) in &all {
            let verb = verb.to_uppercase();
            let _ = writeln!(
                out,
                "apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} {}",
                series.count
            );
        }
        out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
        for ((verb, resource, code), series) in &all {
            let labels = format!("verb=\"{}\",resource=\"{resource}\",code=\"{code}\"", verb.to_uppercase());
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                let _ = writeln!(
                    out,
                    "apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}"
                );
            }
            let _ = writeln!(
                out,
                "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}\napiserver_request_duration_seconds_sum{{{labels}}} {}\napiserver_request_duration_seconds_count{{{labels}}} {}",
                series.count, series.seconds, series.count
            );
        }
    }
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

/// Named checks, in the order they are shown; `etcd` is the store, whichever engine it is: scripts look for
/// that name. A draining server is alive but not ready.
async fn checks(server: &Server, root: &str) -> Vec<(&'static str, bool)> {
    let mut checks = vec![("ping", true), ("log", true), ("etcd", store_answers(server).await)];
    if root == "/readyz" {
        checks.push(("shutdown", !server.shutdown.is_triggered()));
    }
    checks
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
        "major": "1", "minor": "36",
        "gitVersion": concat!("v1.36.0+gantry.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.25", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// Prometheus text.
pub(crate) async fn metrics(server: &Server) -> Response<Body> {
    let mut out = String::new();
    server.measures.render(&mut out);
    out.push_str("# TYPE apiserver_storage_objects gauge\n");
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
    output::text(StatusCode::OK, out)
}

#[cfg(test)]
mod tests {
    use super::*;

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
