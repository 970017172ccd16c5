//! Plans against a scripted API server.

use std::convert::Infallible;
use std::sync::Arc;

use component_base::clock::FakeClock;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use parking_lot::Mutex;

use super::*;
use crate::transport;

type Log = Arc<Mutex<Vec<String>>>;

/// Answers by `answer(method, path, body)`, and writes down what was asked.
fn server(
    answer: impl Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (kube::Client, Log) {
    let (log, answer) = (Log::default(), Arc::new(answer));
    let kept = log.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (log, answer) = (kept.clone(), answer.clone());
        async move {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let bytes = request.into_body().collect_bytes().await.unwrap_or_default();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            log.lock().push(format!("{method} {path}"));
            let (code, body) = answer(&method, &path, &body);
            let mut response =
                http::Response::new(http_body_util::Full::new(bytes::Bytes::from(body.to_string())));
            *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    (transport::in_process(service, UserInfo::component("me", &[])), log)
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
}

fn executor(client: &kube::Client, shutdown: &Shutdown) -> Executor {
    let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
    Executor::new(client.clone(), Recorder::new(client.clone(), clock, "c", "", shutdown))
}

fn create(name: &str) -> Action {
    let owners = json!([{"uid": "owner", "controller": true}]);
    Action::Create {
        resource: request::resource::<Pod>(),
        namespace: Some("ns".into()),
        object: json!({"metadata": {"name": name, "ownerReferences": owners}}),
    }
}

#[tokio::test]
async fn creates_start_slowly_and_stop_at_a_refusal() {
    let (client, log) = server(|_, _, _| refusal(403, "Forbidden", "exceeded quota"));
    let plan = Plan { actions: (0..9).map(|i| create(&format!("p{i}"))).collect(), ..Plan::default() };
    let outcome = executor(&client, &Shutdown::new()).execute(plan).await;
    assert_eq!(log.lock().len(), 1);
    let failure = outcome.failure.expect("a failure");
    assert_eq!((failure.code, failure.message.as_str(), failure.is_stale()), (403, "exceeded quota", false));
}

#[tokio::test]
async fn events_learn_the_name_and_writes_leave_marks() {
    let (client, log) = server(|_, path, body| {
        let name = if path.ends_with("/events") {
            assert_eq!(body["message"], "Created pod: web-abc");
            "e"
        } else {
            "web-abc"
        };
        (201, json!({"metadata": {"name": name, "resourceVersion": "17"}}))
    });
    let shutdown = Shutdown::new();
    let mut plan = Plan::default();
    let event = EventDraft {
        regarding: json!({"kind": "ReplicaSet", "namespace": "ns", "name": "web"}),
        event_type: crate::plan::EventType::Normal,
        reason: "SuccessfulCreate",
        message: "Created pod: {name}".into(),
    };
    plan.act_and_report(create(""), Report { success: Some(event), failure: None });
    let outcome = executor(&client, &shutdown).execute(plan).await;
    let resource = request::resource::<Pod>();
    assert_eq!(outcome.marks, [Mark::Revision { resource, revision: 17 }]);
    while log.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*log.lock(), ["POST /api/v1/namespaces/ns/pods", "POST /api/v1/namespaces/ns/events"]);
}

#[tokio::test]
async fn what_is_already_done_counts_as_done() {
    let (client, _) = server(|method, _, _| match method {
        "POST" => refusal(409, "AlreadyExists", "there"),
        "DELETE" => refusal(404, "NotFound", "gone"),
        _ => (
            200,
            json!({"metadata": {"name": "p", "resourceVersion": "4",
            "ownerReferences": [{"uid": "owner", "controller": true}]}}),
        ),
    });
    let target = Target::named(&request::resource::<Pod>(), Some("ns"), "q");
    let delete = Action::Delete { target, propagation: Propagation::Background, grace_period_seconds: None };
    let plan = Plan { actions: vec![create("p"), delete], ..Plan::default() };
    let outcome = executor(&client, &Shutdown::new()).execute(plan).await;
    assert_eq!(outcome.failure, None);
}

#[tokio::test]
async fn patches_carry_preconditions_and_conflicts_are_stale() {
    let (client, _) = server(|_, path, body| {
        assert_eq!(path, "/api/v1/namespaces/ns/pods/p/status");
        assert_eq!(body, &json!({"metadata": {"uid": "u", "resourceVersion": "3"}, "status": {"a": 1}}));
        refusal(409, "Conflict", "modified")
    });
    let mut target = Target::named(&request::resource::<Pod>(), Some("ns"), "p");
    target.uid = Some("u".into());
    target.resource_version = Some("3".into());
    let patch = Action::Patch { target, subresource: Some("status"), patch: json!({"status": {"a": 1}}) };
    let outcome =
        executor(&client, &Shutdown::new()).execute(Plan { actions: vec![patch], ..Plan::default() }).await;
    assert!(outcome.failure.is_some_and(|failure| failure.is_stale()));
}
