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
pub(crate) fn respond(server: &Server, info: &RequestInfo, uri: &Uri) -> Option<Response<Body>> {
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
            health(server, root, only, query)
        }
    }
}

fn health(server: &Server, root: &str, only: &str, query: &str) -> Option<Response<Body>> {
    let has = |word: &str| query.split('&').any(|p| p == word || p.starts_with(&format!("{word}=")));
    let excluded: Vec<&str> = query.split('&').filter_map(|p| p.strip_prefix("exclude=")).collect();
    let checks = checks(server, root);
    if !only.is_empty() && !checks.iter().any(|(name, _)| *name == only) {
        return None;
    }
    let mut report = String::new();
    let mut healthy = true;
    for (name, ok) in checks.iter().filter(|(name, _)| only.is_empty() || *name == only) {
        let skipped = excluded.contains(name);
        healthy &= *ok || skipped;
        let _ = match (ok, skipped) {
            (_, true) => writeln!(report, "[+]{name} excluded: ok"),
            (true, false) => writeln!(report, "[+]{name} ok"),
            (false, false) => writeln!(report, "[-]{name} failed: reason withheld"),
        };
    }
    let word = root.trim_start_matches('/');
    let (code, text) = match (healthy, has("verbose")) {
        (true, false) => (StatusCode::OK, "ok".to_owned()),
        (true, true) => (StatusCode::OK, format!("{report}{word} check passed\n")),
        (false, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{word} check failed\n")),
    };
    Some(output::text(code, text))
}

/// Named checks, in the order they are shown. A draining server is alive but not ready.
fn checks(server: &Server, root: &str) -> Vec<(&'static str, bool)> {
    let mut checks = vec![("ping", true), ("log", true), ("store", server.store.revision() > 0)];
    if root == "/readyz" {
        checks.push(("shutdown", !server.shutdown.is_triggered()));
    }
    checks
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
