//! Health and version: paths for probes, load balancers and people.
//!
//! Entry point: [`respond`]. Checks are named; `?verbose` lists them.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode, Uri};
use serde_json::{Value, json};

use crate::call::Server;
use crate::output;
use crate::request::RequestInfo;

/// Nothing stands there; reading it takes the way every read takes.
const PROBE_KEY: &str = "/registry/health";
/// A store that takes longer is as good as away (upstream's etcd check).
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

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

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// That the server answers at all.
    Answer,
    /// The store, whichever engine it is: scripts look for `etcd`.
    Store,
    /// Key services that writes of encrypted objects need; only where there are some.
    Keys,
    /// That requests wait for seats; only where they do.
    Fairness,
    /// A server that drains is alive but not ready.
    Stays,
}

/// Upstream's names of checks in upstream's order, what each looks at, and whether only `/readyz` has it. Upstream's
/// start hooks run while it already answers; here what they do is done before the first answer, those in the list
/// being the ones that do something that this server does, too.
const CHECKS: &[(&str, Check, bool)] = &[
    ("ping", Check::Answer, false),
    ("log", Check::Answer, false),
    ("etcd", Check::Store, false),
    ("kms-providers", Check::Keys, false),
    ("etcd-readiness", Check::Store, true),
    ("informer-sync", Check::Answer, true),
    ("poststarthook/start-apiserver-admission-initializer", Check::Answer, false),
    ("poststarthook/generic-apiserver-start-informers", Check::Answer, false),
    ("poststarthook/priority-and-fairness-config-consumer", Check::Fairness, false),
    ("poststarthook/priority-and-fairness-filter", Check::Fairness, false),
    ("poststarthook/start-apiextensions-informers", Check::Answer, false),
    ("poststarthook/start-apiextensions-controllers", Check::Answer, false),
    ("poststarthook/crd-informer-synced", Check::Answer, false),
    ("poststarthook/start-system-namespaces-controller", Check::Answer, false),
    ("poststarthook/start-cluster-authentication-info-controller", Check::Answer, false),
    ("poststarthook/bootstrap-controller", Check::Answer, false),
    ("poststarthook/rbac/bootstrap-roles", Check::Answer, false),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Check::Answer, false),
    ("poststarthook/priority-and-fairness-config-producer", Check::Fairness, false),
    ("poststarthook/aggregator-reload-proxy-client-cert", Check::Answer, false),
    ("poststarthook/start-kube-aggregator-informers", Check::Answer, false),
    ("poststarthook/apiservice-status-local-available-controller", Check::Answer, false),
    ("poststarthook/apiservice-status-remote-available-controller", Check::Answer, false),
    ("poststarthook/apiservice-registration-controller", Check::Answer, false),
    ("poststarthook/apiservice-discovery-controller", Check::Answer, false),
    ("poststarthook/kube-apiserver-autoregistration", Check::Answer, false),
    ("autoregister-completion", Check::Answer, false),
    ("poststarthook/apiservice-openapi-controller", Check::Answer, false),
    ("poststarthook/apiservice-openapiv3-controller", Check::Answer, false),
    ("shutdown", Check::Stays, true),
];

/// The checks of a path.
fn of(root: &str) -> impl Iterator<Item = (&'static str, Check)> {
    let ready = root == "/readyz";
    CHECKS.iter().filter(move |(_, _, only)| ready || !only).map(|(name, check, _)| (*name, *check))
}

/// Every path there is for probes.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ["/healthz", "/livez", "/readyz"].into_iter().flat_map(|root| {
        let own = of(root).filter(|(_, check)| *check != Check::Keys);
        own.map(move |(name, _)| format!("{root}/{name}")).chain([root.to_owned()])
    })
}

/// Whether each is well.
async fn checks(server: &Server, root: &str) -> Vec<(&'static str, bool)> {
    let store = store_answers(server).await;
    let keys = server.store.encryption().services_write();
    let judged = of(root).filter_map(|(name, check)| {
        let healthy = match check {
            Check::Answer => true,
            Check::Store => store,
            Check::Keys => keys?,
            Check::Fairness => server.config.seats.map(|_| true)?,
            Check::Stays => !server.shutdown.is_triggered(),
        };
        Some((name, healthy))
    });
    judged.collect()
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
        // Set by `cargo xtask` for the binaries it builds; what else is built says so.
        "gitCommit": option_env!("GANTRY_COMMIT").unwrap_or("unknown"),
        "gitTreeState": option_env!("GANTRY_TREE_STATE").unwrap_or("archive"),
        "buildDate": "1970-01-01T00:00:00Z",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_and_some_only_to_those_who_wait() {
        let names = |root: &str| of(root).map(|(name, _)| name).collect::<Vec<_>>();
        let ready = names("/readyz");
        let mut once = ready.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ready.len());
        let alive = names("/livez");
        assert_eq!(alive, names("/healthz"));
        let only: Vec<_> = ready.into_iter().filter(|name| !alive.contains(name)).collect();
        assert_eq!(only, ["etcd-readiness", "informer-sync", "shutdown"]);
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
