//! What the audit log says of requests, by a policy and without one.

use std::path::{Path, PathBuf};

use apiserver::audit::{Format, LogOptions, Options};
use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::{Clock as _, FakeClock};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use http::Request;
use serde_json::{Value, json};

use crate::{raw, scene};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

pub fn log(path: &Path) -> LogOptions {
    LogOptions { path: path.to_owned(), format: Format::Json, max_size: 10, max_age: 0, max_backups: 5 }
}

/// Events in a log, those of the server's own start left out.
pub fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// The log of some requests.
async fn audited(policy: Option<&str>) -> Vec<Value> {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("audit/audit.log");
    let policy_file: Option<PathBuf> = policy.map(|text| {
        let file = place.path().join("policy.yaml");
        std::fs::write(&file, text).expect("written");
        file
    });
    let clock = FakeClock::at("2026-01-01T00:00:00.000001Z".parse().expect("a time"));
    let mut config = scene::config_in(&place.path().join("pki"), None, clock.now());
    config.audit = Options { policy_file, log: Some(log(&path)), webhook: None };
    let shutdown = Shutdown::new();
    let running = apiserver::run(config, Memory::open(), clock, Rng::seeded(1), shutdown.clone()).await;
    let server = running.expect("a server").local;
    let map = json!({"metadata": {"name": "one"}, "data": {"a": "1"}});
    raw(&server, "POST", MAPS, JSON, &map).await;
    raw(&server, "GET", &format!("{MAPS}/one"), JSON, &Value::Null).await;
    raw(&server, "DELETE", &format!("{MAPS}/none"), JSON, &json!({})).await;
    let mut stranger = Request::builder()
        .method("DELETE")
        .uri(format!("{MAPS}/one"))
        .header("user-agent", "curl/8")
        .header("x-forwarded-for", "192.0.2.7, 192.0.2.8")
        .header("audit-id", "given")
        .body(Body::empty())
        .expect("a request");
    stranger.extensions_mut().insert(UserInfo::component("eve", &["dev"]));
    server.answer(stranger).await;
    let mut acting = Request::builder()
        .uri(MAPS)
        .header("impersonate-user", "bob")
        .body(Body::empty())
        .expect("a request");
    acting.extensions_mut().insert(UserInfo::component("admin", &["system:masters"]));
    server.answer(acting).await;
    let mut discovering = Request::builder().uri("/api").body(Body::empty()).expect("a request");
    discovering.extensions_mut().insert(UserInfo::component("eve", &["system:authenticated"]));
    server.answer(discovering).await;
    shutdown.trigger();
    shutdown.drained().await;
    events(&path)
}

#[tokio::test]
async fn without_a_policy_changes_are_written_down_and_no_bodies() {
    let events = audited(None).await;
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none());
            let name = event["objectRef"]["name"].as_str().unwrap_or_default();
            format!(
                "{} {} {name} {}",
                event["user"]["username"], event["verb"], event["responseStatus"]["code"]
            )
        })
        .collect();
    let expected = [r#""admin" "create"  201"#, r#""admin" "delete" none 404"#, r#""eve" "delete" one 403"#]
        .map(str::to_owned);
    assert_eq!(told, expected);
    let refused = &events[2];
    for (field, expected) in [
        ("kind", json!("Event")),
        ("apiVersion", json!("audit.k8s.io/v1")),
        ("level", json!("Metadata")),
        ("auditID", json!("given")),
        ("stage", json!("ResponseComplete")),
        ("requestURI", json!("/api/v1/namespaces/default/configmaps/one")),
        ("sourceIPs", json!(["192.0.2.7", "192.0.2.8"])),
        ("userAgent", json!("curl/8")),
        ("requestReceivedTimestamp", json!("2026-01-01T00:00:00.000001Z")),
        (
            "objectRef",
            json!({"resource": "configmaps", "namespace": "default", "name": "one", "apiVersion": "v1"}),
        ),
    ] {
        assert_eq!(refused[field], expected, "{field}");
    }
    let forbidden = json!({"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""});
    assert_eq!(refused["annotations"], forbidden);
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(events[0]["annotations"]["authorization.k8s.io/decision"], "allow");
}

#[tokio::test]
async fn a_policy_has_bodies_and_stages_written_down() {
    let policy = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: RequestResponse, verbs: [create], resources: [{group: '', resources: [configmaps]}]}
- {level: Metadata, verbs: [list]}
- {level: Metadata, nonResourceURLs: [/api], omitStages: [RequestReceived]}
";
    let events = audited(Some(policy)).await;
    let stages: Vec<&str> = events.iter().filter_map(|event| event["stage"].as_str()).collect();
    let one = ["RequestReceived", "ResponseComplete"];
    assert_eq!(stages, [&one[..], &one, &one[1..]].concat());
    assert!(events[0].get("responseStatus").is_none() && events[0].get("requestObject").is_none());
    assert_eq!(events[1]["requestObject"]["data"], json!({"a": "1"}));
    assert_eq!(events[1]["responseObject"]["metadata"]["name"], "one");
    assert!(events[1]["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(
        (&events[3]["user"]["username"], &events[3]["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("bob"))
    );
    assert_eq!(events[1]["auditID"], events[0]["auditID"]);
    let why = r#"RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#;
    assert_eq!(events[4]["annotations"]["authorization.k8s.io/reason"], why);
}
