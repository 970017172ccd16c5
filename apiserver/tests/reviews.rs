//! Reviews answer from authentication and authorisation as they are; signing requests carry their author; the
//! objects a fresh cluster has.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "reviews/escalation.rs"]
mod escalation;
#[path = "reviews/issuers.rs"]
mod issuers;
#[path = "scene/server.rs"]
mod scene;
#[path = "reviews/tokens.rs"]
mod tokens;

use std::sync::Arc;

use apiserver::storage::memory::Memory;
use apiserver::{LocalService, OidcSettings};
use axum::body::Body;
use component_base::clock::FakeClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::tls::Pki;
use component_base::user::UserInfo;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

struct World {
    server: LocalService,
    pki: Arc<Pki>,
    clock: Arc<FakeClock>,
    _directory: tempfile::TempDir,
}

async fn world() -> World {
    world_with(|_| {}).await
}

async fn world_with(change: impl FnOnce(&mut apiserver::Config)) -> World {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock = FakeClock::at(now);
    let (mut config, directory) = scene::config(None, now);
    let (store, pki) = (Memory::open(), Arc::clone(&config.pki));
    let tokens = directory.path().join("tokens.csv");
    std::fs::write(&tokens, "static-token,jane,7,\"a,b\"\n").expect("written");
    config.authentication.token_file = Some(tokens);
    change(&mut config);
    let running =
        apiserver::run(config, store, Arc::clone(&clock) as _, Rng::seeded(1), Shutdown::new()).await;
    World { server: running.expect("a server").local, pki, clock, _directory: directory }
}

fn admin() -> UserInfo {
    UserInfo::component("admin", &["system:masters"])
}

impl World {
    async fn send(&self, user: &UserInfo, method: &str, uri: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(uri).header("content-type", media);
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(user.clone());
        // Boxed: what a handler needs is more than the stack of a test has to spare.
        let answer = Box::pin(self.server.answer(request)).await;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).expect("JSON"))
    }

    async fn ask(&self, user: &UserInfo, path: &str, body: Value) -> Value {
        let (code, answer) = self.send(user, "POST", path, body).await;
        assert_eq!(code, 201, "{answer}");
        answer
    }
}

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn may_i() {
    let world = world().await;
    let node = UserInfo::component("system:node:n", &["system:nodes"]);
    let nobody = UserInfo::component("jane", &[]);
    for (user, attributes, allowed) in [
        (&admin(), json!({"resourceAttributes": {"verb": "create", "resource": "pods"}}), true),
        (&admin(), json!({"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}}), true),
        (&node, json!({"resourceAttributes": {"verb": "list", "resource": "pods"}}), false),
        (&node, json!({"resourceAttributes": {"verb": "list", "resource": "services"}}), true),
        (&node, json!({"resourceAttributes": {"verb": "delete", "resource": "namespaces"}}), false),
        (
            &node,
            json!({"resourceAttributes": {"verb": "patch", "resource": "pods", "subresource": "status"}}),
            true,
        ),
        (&nobody, json!({"resourceAttributes": {"verb": "list", "resource": "pods"}}), false),
        (&nobody, json!({"nonResourceAttributes": {"verb": "get", "path": "/apis"}}), true),
        (&nobody, json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}), false),
    ] {
        let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {"creationTimestamp": null}, "spec": attributes, "status": {"allowed": false}});
        let answer = world.ask(user, ACCESS, review).await;
        assert_eq!(answer["status"]["allowed"], allowed, "{} {attributes}", user.name);
        assert_eq!(answer["kind"], "SelfSubjectAccessReview");
    }
    let (code, refused) = world.send(&admin(), "POST", ACCESS, json!({"spec": {}})).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    );
    let (code, _) = world.send(&admin(), "GET", ACCESS, Value::Null).await;
    assert_eq!(code, 405);
}

#[tokio::test]
async fn a_review_is_no_table() {
    let world = world().await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, expected) in [(table.to_owned(), 406), (format!("{table},application/json"), 201)] {
        let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
        let request =
            Request::post(ACCESS).header("content-type", "application/json").header("accept", accept);
        let mut request = request.body(Body::from(review.to_string())).expect("a request");
        request.extensions_mut().insert(admin());
        assert_eq!(world.server.answer(request).await.status().as_u16(), expected);
    }
}

#[tokio::test]
async fn may_somebody_else() {
    let world = world().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let spec = |user: &str, groups: Value| json!({"spec": {"user": user, "groups": groups, "resourceAttributes": {"verb": "get", "resource": "nodes"}}});
    let masters = world.ask(&admin(), path, spec("x", json!(["system:masters"]))).await;
    assert_eq!(masters["status"]["allowed"], true);
    let jane = world.ask(&admin(), path, spec("jane", json!([]))).await;
    assert_eq!(jane["status"]["allowed"], false);
    let (code, _) = world.send(&UserInfo::component("jane", &[]), "POST", path, spec("x", json!([]))).await;
    assert_eq!(code, 403);
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let mut review = spec("x", json!(["system:masters"]));
    review["spec"]["resourceAttributes"]["namespace"] = json!("default");
    assert_eq!(world.ask(&admin(), local, review).await["status"]["allowed"], true);
}

#[tokio::test]
async fn what_may_i_do() {
    let world = world().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = world.ask(&admin(), path, json!({"spec": {"namespace": "default"}})).await;
    let status = &answer["status"];
    assert_eq!(status["incomplete"], false);
    assert_eq!(status["resourceRules"][0], json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
    assert_eq!(status["nonResourceRules"][0], json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    let answer =
        world.ask(&UserInfo::component("jane", &[]), path, json!({"spec": {"namespace": "a"}})).await;
    assert_eq!(answer["status"]["resourceRules"].as_array().map(Vec::len), Some(2));
    let (code, refused) = world.send(&admin(), "POST", path, json!({"spec": {}})).await;
    assert_eq!((code, &refused["message"]), (400, &json!("no namespace on request")));
}

#[tokio::test]
async fn who_am_i_and_whose_is_this_token() {
    let world = world().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = world.ask(&admin(), path, json!({})).await;
    let expect = json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]});
    assert_eq!(answer["status"]["userInfo"], expect);
    assert_eq!(answer["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");

    let granted = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = world.ask(&admin(), granted, json!({"spec": {}})).await["status"]["token"].clone();
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = |token: &Value, audiences: Value| json!({"spec": {"token": token, "audiences": audiences}});
    let answer = world.ask(&admin(), reviews, review(&token, json!([]))).await;
    let status = &answer["status"];
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(status["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let status = world.ask(&admin(), reviews, review(&token, json!(["vault"]))).await["status"].clone();
    assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    let status = world.ask(&admin(), reviews, review(&json!("nonsense"), json!([]))).await["status"].clone();
    assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    let (code, _) = world.send(&admin(), "POST", reviews, json!({"spec": {}})).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn signing_requests_carry_their_author_and_stay_as_they_are() {
    let world = world().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
    let csr = json!({"metadata": {"name": "me"}, "spec": {"request": request, "username": "root",
        "signerName": "example.com/own", "usages": ["client auth"]}});
    let made = world.ask(&admin(), path, csr).await;
    assert_eq!(made["spec"]["username"], "admin");
    assert_eq!(made["status"], json!({}));
    let approval = format!("{path}/me/approval");
    let approve = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "ok"}]}});
    let (code, refused) = world.send(&admin(), "PATCH", &format!("{path}/me/status"), approve.clone()).await;
    assert_eq!(code, 422, "{refused}");
    let (code, approved) = world.send(&admin(), "PATCH", &approval, approve).await;
    assert_eq!(code, 200, "{approved}");
    assert_eq!(approved["status"]["conditions"][0]["lastUpdateTime"], "2026-01-01T00:00:00Z");
    let (_, kept) =
        world.send(&admin(), "PATCH", &format!("{path}/me"), json!({"spec": {"username": "root"}})).await;
    assert_eq!(kept["spec"]["username"], "admin");
}

#[tokio::test]
async fn a_fresh_cluster_has_its_classes_ranges_and_api_services() {
    let world = world().await;
    let get = async |path: &str| world.send(&admin(), "GET", path, Value::Null).await.1;
    let class = get("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical").await;
    assert_eq!((&class["value"], &class["metadata"]["generation"]), (&json!(2_000_001_000), &json!(1)));
    let range = get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.43.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let core = get(&format!("{services}/v1.")).await;
    assert_eq!(core["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    let expect = json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1});
    assert_eq!(core["spec"], expect);
    assert_eq!(core["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(get(&format!("{services}/v2.autoscaling")).await["spec"]["versionPriority"], 30);

    let other = json!({"metadata": {"name": "v1.other.example.com"}, "spec": {"group": "other.example.com", "version": "v1",
        "groupPriorityMinimum": 100, "versionPriority": 100, "service": {"namespace": "default", "name": "other"}}});
    let made = world.ask(&admin(), services, other).await;
    assert_eq!(made["spec"]["service"]["port"], 443);
    // Whether the other server answers, nobody knows yet.
    assert_eq!(made["status"], json!({}));
}
