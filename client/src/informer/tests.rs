//! Informers against a scripted API server.

use std::collections::VecDeque;
use std::convert::Infallible;

use component_base::clock::FakeClock;
use component_base::user::UserInfo;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;
use crate::transport;

/// Answers requests in order; a missing answer never comes.
fn scripted(answers: Vec<(&'static str, u16, String)>) -> kube::Client {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let answers = answers.clone();
        async move {
            assert_eq!(request.extensions().get::<UserInfo>().map(|u| u.name.as_str()), Some("me"));
            let next = answers.lock().pop_front();
            let Some((expect, code, body)) = next else { return std::future::pending().await };
            let query = request.uri().to_string();
            assert!(query.contains(expect), "{query} should contain {expect}");
            let mut response = http::Response::new(http_body_util::Full::new(bytes::Bytes::from(body)));
            *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    transport::in_process(service, UserInfo::component("me", &[]))
}

fn object(name: &str, revision: u64, owner: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "namespace": "ns", "name": name, "uid": format!("uid-{name}"), "resourceVersion": revision.to_string(),
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": owner, "uid": owner}],
        "managedFields": [{"manager": "x"}],
    }})
}

fn list(revision: u64, items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": revision.to_string()}, "items": items})
    .to_string()
}

fn events(events: &[(&str, Value)]) -> String {
    events.iter().map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object}))).collect()
}

fn names(informer: &Informer<ConfigMap>) -> Vec<String> {
    informer.list().iter().map(|o| Key::of(&o.metadata).to_string()).collect()
}

#[tokio::test]
async fn lists_watches_and_lists_again_when_expired() {
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    let client = scripted(vec![
        ("limit=500", 200, list(5, &[object("a", 3, "o1"), object("b", 4, "o2")])),
        (
            "resourceVersion=5",
            200,
            events(&[
                ("MODIFIED", object("a", 6, "o2")),
                ("DELETED", object("b", 7, "o2")),
                (
                    "BOOKMARK",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "9"}}),
                ),
                ("ERROR", gone),
            ]),
        ),
        ("limit=500", 200, list(20, &[object("c", 15, "o3")])),
    ]);
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let shutdown = Shutdown::new();
    let informers = Informers::new(client, clock, Rng::seeded(1), shutdown.clone());
    let informer = informers.of::<ConfigMap>();
    let mut changes = informer.subscribe();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let change = changes.recv().await.expect("a change");
        assert_eq!(change.latest().metadata.managed_fields, None);
        let what = match &change {
            Change::Added(_) => "added",
            Change::Updated { .. } => "updated",
            Change::Removed(_) => "removed",
        };
        seen.push(format!("{what} {}", change.key()));
    }
    assert_eq!(
        seen,
        ["added ns/a", "added ns/b", "updated ns/a", "removed ns/b", "removed ns/a", "added ns/c"]
    );
    informer.wait_for_revision(20).await;
    assert!(informer.is_synced());
    assert_eq!(names(&informer), ["ns/c"]);
    assert_eq!(informer.owned_by("o3").len(), 1);
    assert!(informer.owned_by("o2").is_empty() && informer.owned_by("o1").is_empty());
    let resource = informer.resource().clone();
    informers
        .shows(&[
            Mark::Revision { resource: resource.clone(), revision: 20 },
            Mark::Gone { resource, key: Key::new("ns", "b"), uid: "uid-b".into() },
        ])
        .await;
    shutdown.trigger();
    shutdown.drained().await;
}

#[tokio::test]
async fn refusals_wait_and_retry() {
    let refusal = json!({"kind": "Status", "code": 503, "reason": "ServiceUnavailable", "message": "no"});
    let client = scripted(vec![("limit=500", 503, refusal.to_string()), ("limit=500", 200, list(2, &[]))]);
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let shutdown = Shutdown::new();
    let informers = Informers::new(client, clock.clone(), Rng::seeded(1), shutdown.clone());
    let informer = informers.of::<ConfigMap>();
    // The wait begins some time after the refusal: move on until it is over.
    while !informer.is_synced() {
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(informer.seen_revision(), 2);
    shutdown.trigger();
    shutdown.drained().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_listed_over() {
    let bad =
        json!({"metadata": {"namespace": "ns", "name": "bad", "resourceVersion": "6"}, "data": "no map"});
    let client = scripted(vec![
        ("limit=500", 200, list(5, &[object("a", 3, "o1")])),
        ("resourceVersion=5", 200, events(&[("ADDED", bad.clone()), ("ADDED", object("b", 7, "o1"))])),
        ("limit=500", 200, list(7, &[object("a", 3, "o1"), bad, object("b", 7, "o1")])),
        ("limit=500", 200, list(8, &[object("a", 3, "o1"), object("b", 7, "o1")])),
    ]);
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let shutdown = Shutdown::new();
    let informers = Informers::new(client, clock.clone(), Rng::seeded(1), shutdown.clone());
    let informer = informers.of::<ConfigMap>();
    while informer.seen_revision() < 8 {
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(names(&informer), ["ns/a", "ns/b"]);
    shutdown.trigger();
    shutdown.drained().await;
}

#[tokio::test]
async fn same_interest_is_the_same_view() {
    let shutdown = Shutdown::new();
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    let informers = Informers::new(scripted(Vec::new()), clock, Rng::seeded(1), shutdown.clone());
    let (a, b) = (informers.of::<ConfigMap>(), informers.of::<ConfigMap>());
    assert!(Arc::ptr_eq(&a.0, &b.0));
    assert!(!Arc::ptr_eq(&a.0, &informers.selected::<ConfigMap>("metadata.name=x").0));
    shutdown.trigger();
    shutdown.drained().await;
}
