//! Bearer tokens: who they name, what they live and die with, and those that are nobody's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NAMESPACE: &str = "/api/v1/namespaces/default";

impl World {
    /// A request with a bearer token and nothing else.
    async fn bearing(&self, token: &str, method: &str, uri: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        let answer = Box::pin(self.server.answer(request.body(Body::from("{}")).expect("a request"))).await;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Who a token says its holder is; nothing for one that is refused.
    pub async fn holder(&self, token: &str) -> Option<Value> {
        match self.bearing(token, "POST", SELF).await {
            (201, review) => Some(review["status"]["userInfo"].clone()),
            (401, refusal) => {
                assert_eq!(refusal["message"], "Unauthorized", "nothing more is told");
                None
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn why(&self, token: &str, audiences: Value) -> Value {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        self.ask(&admin(), REVIEWS, review).await["status"]["error"].clone()
    }

    async fn create(&self, path: &str, object: Value) -> Value {
        self.ask(&admin(), path, object).await
    }

    async fn issue(&self, spec: Value) -> Value {
        self.create(&format!("{NAMESPACE}/serviceaccounts/default/token"), json!({"spec": spec})).await
    }

    async fn account_uid(&self) -> Value {
        let path = format!("{NAMESPACE}/serviceaccounts/default");
        self.send(&admin(), "GET", &path, Value::Null).await.1["metadata"]["uid"].clone()
    }

    async fn delete(&self, path: &str) {
        let body = json!({"gracePeriodSeconds": 0});
        let (code, answer) = self.send(&admin(), "DELETE", path, body).await;
        assert_eq!(code, 200, "{answer}");
    }
}

fn token(request: &Value) -> String {
    request["status"]["token"].as_str().expect("a token").to_owned()
}

fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn tokens_that_are_nobodys() {
    let (world, stranger) = (world().await, world().await);
    let good = claims(&token(&world.issue(json!({})).await));
    let sign = |change: Value| {
        let mut claims = good.clone();
        for (key, value) in change.as_object().expect("an object") {
            claims[key] = value.clone();
        }
        world.pki.token_keys().sign(&claims).expect("signed")
    };
    let now = good["iat"].as_i64().expect("a time");
    let whole = sign(json!({}));
    assert!(world.holder(&whole).await.is_some(), "the table proves nothing otherwise");
    let (_, body) = whole.split_once('.').expect("a header");
    let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = body.rsplit_once('.').expect("a signature").0;
    let expired = "[invalid bearer token, service account token has expired]";
    let early = "[invalid bearer token, service account token is not valid yet]";
    let unsigned_by_us = "[invalid bearer token, the signature does not verify]";
    let table = [
        ("by another cluster's key", stranger.pki.token_keys().sign(&good).expect("signed"), unsigned_by_us),
        (
            "changed",
            whole.replace(unsigned, &header(&good.to_string().replace("default:default", "a:b"))),
            unsigned_by_us,
        ),
        ("alg none", format!("{}.{unsigned}.", header(r#"{"alg":"none"}"#)), unsigned_by_us),
        ("alg HS256", format!("{}.{body}", header(r#"{"alg":"HS256"}"#)), unsigned_by_us),
        (
            "an extension nobody knows",
            format!("{}.{body}", header(r#"{"alg":"ES256","crit":["b64"]}"#)),
            "[invalid bearer token, not a JSON Web Token]",
        ),
        ("expired", sign(json!({"exp": now - 61})), expired),
        ("without an end", sign(json!({"exp": null})), expired),
        ("not yet valid", sign(json!({"nbf": now + 61})), early),
        ("from the future", sign(json!({"iat": now + 61})), early),
        ("of another issuer", sign(json!({"iss": "https://elsewhere"})), "invalid bearer token"),
        (
            "for another audience",
            sign(json!({"aud": ["vault"]})),
            "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]]",
        ),
        (
            "of an account that is not there",
            sign(
                json!({"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "gone", "uid": "1"}}}),
            ),
            "[invalid bearer token, serviceaccounts \"gone\" not found]",
        ),
        ("nothing at all", "x".to_owned(), "invalid bearer token"),
        ("a token with a newline's worth of parts", format!("{whole}.x"), "invalid bearer token"),
        ("oversized", "a".repeat(100_000), "[invalid bearer token]"),
    ];
    for (what, token, expected) in table {
        assert_eq!(world.holder(&token).await, None, "{what}");
        let why = world.why(&token, json!([])).await;
        assert_eq!(
            why.as_str().map(|text| text.trim_matches(['[', ']'])),
            Some(expected.trim_matches(['[', ']'])),
            "{what}"
        );
    }
    let uid = world.account_uid().await;
    let other = sign(
        json!({"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "default", "uid": "other"}}}),
    );
    let expected = format!(
        "[invalid bearer token, service account UID ({}) does not match claim (other)]",
        uid.as_str().expect("a uid")
    );
    assert_eq!(world.why(&other, json!([])).await, expected.as_str());
    world.clock.advance(Duration::from_secs(3600 + 61));
    assert_eq!(world.holder(&whole).await, None, "an hour later");
}

#[tokio::test]
async fn tokens_live_and_die_with_what_they_are_bound_to() {
    let world = world().await;
    let node = world.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "automountServiceAccountToken": false,
        "serviceAccountName": "default", "containers": [{"name": "c", "image": "i"}]}});
    let pod = world.create(&format!("{NAMESPACE}/pods"), pod).await;
    let secret = world.create(&format!("{NAMESPACE}/secrets"), json!({"metadata": {"name": "s"}})).await;
    let bound = async |kind: &str, name: &str| {
        let reference = json!({"kind": kind, "apiVersion": "v1", "name": name});
        token(&world.issue(json!({"boundObjectRef": reference})).await)
    };
    let (to_pod, to_secret, to_node) =
        (bound("Pod", "p").await, bound("Secret", "s").await, bound("Node", "n1").await);

    let holder = world.holder(&to_pod).await.expect("known");
    assert_eq!(holder["username"], "system:serviceaccount:default:default");
    assert_eq!(holder["uid"], world.account_uid().await);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    assert_eq!(holder["groups"], json!(groups));
    let extra = |key: &str| holder["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
    assert_eq!(extra("pod-name"), "p");
    assert_eq!(extra("pod-uid"), pod["metadata"]["uid"]);
    assert_eq!(extra("node-name"), "n1");
    assert_eq!(extra("node-uid"), node["metadata"]["uid"]);
    let jti = claims(&to_pod)["jti"].as_str().expect("an id").to_owned();
    assert_eq!(extra("credential-id"), format!("JTI={jti}"));
    assert!(world.holder(&to_secret).await.is_some() && world.holder(&to_node).await.is_some());

    world.delete("/api/v1/nodes/n1").await;
    assert_eq!(world.holder(&to_node).await, None, "its node is gone");
    assert!(world.holder(&to_pod).await.is_some(), "a pod's token outlives the node");
    let invalidated = "[invalid bearer token, service account token has been invalidated]";
    assert_eq!(world.why(&to_node, json!([])).await, invalidated);
    world.delete(&format!("{NAMESPACE}/secrets/s")).await;
    assert_eq!(world.holder(&to_secret).await, None, "its secret is gone");
    world.create(&format!("{NAMESPACE}/secrets"), json!({"metadata": {"name": "s"}})).await;
    let why = world.why(&to_secret, json!([])).await;
    assert!(
        why.as_str().is_some_and(|why| why.contains("does not match service account secret ref claim")),
        "{why} {secret}"
    );
    world.delete(&format!("{NAMESPACE}/pods/p")).await;
    assert_eq!(world.holder(&to_pod).await, None, "its pod is gone");
    let free = token(&world.issue(json!({})).await);
    assert!(world.holder(&free).await.is_some());
    world.delete(&format!("{NAMESPACE}/serviceaccounts/default")).await;
    assert_eq!(world.holder(&free).await, None, "its account is gone");
}

#[tokio::test]
async fn requests_for_tokens_are_checked() {
    let world = world().await;
    let path = format!("{NAMESPACE}/serviceaccounts/default/token");
    let other = json!({"metadata": {"name": "other"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "serviceAccountName": "other", "automountServiceAccountToken": false}});
    world.create(&format!("{NAMESPACE}/serviceaccounts"), json!({"metadata": {"name": "other"}})).await;
    world.create(&format!("{NAMESPACE}/pods"), other).await;
    for (request, code, expected) in [
        (
            json!({"spec": {"expirationSeconds": 599}}),
            422,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            json!({"metadata": {"name": "x"}, "spec": {}}),
            422,
            "metadata.name: Invalid value: \"x\": must match the service account name if specified",
        ),
        (
            json!({"metadata": {"namespace": "x"}, "spec": {}}),
            422,
            "must match the service account namespace if specified",
        ),
        (
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "other"}}}),
            400,
            "cannot bind token for serviceaccount \"default\" to pod running with different serviceaccount name.",
        ),
        (
            json!({"spec": {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}}),
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
        (
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "x"}}}),
            404,
            "secrets \"x\" not found",
        ),
    ] {
        let (answered, status) = world.send(&admin(), "POST", &path, request.clone()).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert!(answered == code && message.contains(expected), "{request}: {answered} {message}");
    }
    let (code, _) =
        world.send(&admin(), "POST", &format!("{NAMESPACE}/serviceaccounts/x/token"), json!({})).await;
    assert_eq!(code, 404);
    let request = world.issue(json!({"expirationSeconds": 600, "audiences": ["vault"]})).await;
    assert_eq!(request["status"]["expirationTimestamp"], "2026-01-01T00:10:00Z");
    assert_eq!(world.holder(&token(&request)).await, None, "it is for another");
    let review = json!({"spec": {"token": token(&request), "audiences": ["vault", "x"]}});
    assert_eq!(world.ask(&admin(), REVIEWS, review).await["status"]["audiences"], json!(["vault"]));
}

#[tokio::test]
async fn what_pods_get_for_an_hour_is_good_for_a_year() {
    let world = world().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false,
        "serviceAccountName": "default", "containers": [{"name": "c", "image": "i"}]}});
    world.create(&format!("{NAMESPACE}/pods"), pod).await;
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let request = world.issue(json!({"expirationSeconds": 3607, "boundObjectRef": reference})).await;
    assert_eq!(request["status"]["expirationTimestamp"], "2026-01-01T01:00:07Z");
    let claims = claims(&token(&request));
    let length = |end: &Value| end.as_i64().expect("a time") - claims["iat"].as_i64().expect("a time");
    assert_eq!(length(&claims["exp"]), 365 * 24 * 60 * 60);
    assert_eq!(length(&claims["kubernetes.io"]["warnafter"]), 3607);
    assert_eq!(claims["iss"], ISSUER);
}

#[tokio::test]
async fn tokens_in_secrets_and_files() {
    let world = world().await;
    let holder = world.holder("static-token").await.expect("known");
    assert_eq!(holder, json!({"username": "jane", "uid": "7", "groups": ["a", "b", "system:authenticated"]}));

    let legacy = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:default",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "t",
        "kubernetes.io/serviceaccount/service-account.name": "default",
        "kubernetes.io/serviceaccount/service-account.uid": world.account_uid().await,
    });
    let legacy = world.pki.token_keys().sign(&legacy).expect("signed");
    assert_eq!(world.why(&legacy, json!([])).await, "[invalid bearer token, Token has been invalidated]");
    let data = |token: &str| json!({"token": STANDARD.encode(token)});
    let secret = json!({"metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token", "data": data(&legacy)});
    world.create(&format!("{NAMESPACE}/secrets"), secret).await;
    let holder = world.holder(&legacy).await.expect("known");
    assert_eq!(holder["username"], "system:serviceaccount:default:default");
    let path = format!("{NAMESPACE}/secrets/t");
    let label = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2025-12-31"}}});
    world.send(&admin(), "PATCH", &path, label).await;
    let why = world.why(&legacy, json!([])).await;
    assert!(why.as_str().is_some_and(|why| why.contains("has been marked invalid")), "{why}");
    world.send(&admin(), "PATCH", &path, json!({"metadata": {"labels": null}, "data": data("x")})).await;
    let why = world.why(&legacy, json!([])).await;
    assert_eq!(why, "[invalid bearer token, Token does not match server's copy]");

    let bootstrap = "abcdef.0123456789abcdef";
    assert_eq!(world.holder(bootstrap).await, None);
    let data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:gantry", "expiration": "2026-01-01T01:00:00Z"});
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data});
    world.create("/api/v1/namespaces/kube-system/secrets", secret).await;
    let mut holder = None;
    for _ in 0..1000 {
        // Memory follows the store a moment later; nothing else tells that it has.
        holder = world.holder(bootstrap).await;
        if holder.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let groups = ["system:bootstrappers", "system:bootstrappers:gantry", "system:authenticated"];
    assert_eq!(holder, Some(json!({"username": "system:bootstrap:abcdef", "groups": groups})));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.holder(bootstrap).await, None, "ended");
}

#[tokio::test]
async fn keys_are_published_for_others_to_verify_with() {
    let world = world().await;
    for (path, media) in [
        ("/.well-known/openid-configuration", "application/json"),
        ("/openid/v1/jwks", "application/jwk-set+json"),
    ] {
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        request.extensions_mut().insert(admin());
        let answer = world.server.answer(request).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], media);
        assert_eq!(answer.headers()["cache-control"], "public, max-age=3600");
    }
    let configuration = world.send(&admin(), "GET", "/.well-known/openid-configuration", Value::Null).await.1;
    assert_eq!(configuration["issuer"], ISSUER);
    assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let keys = world.send(&admin(), "GET", "/openid/v1/jwks", Value::Null).await.1;
    let token = token(&world.issue(json!({})).await);
    let jws = component_base::jws::Jws::parse(&token).expect("a token");
    let key = component_base::jws::VerifyingKey::from_jwk(&keys["keys"][0]).expect("a key");
    assert_eq!(key.id, jws.key_id);
    key.verify(&jws).expect("verified by what is published");
}

#[tokio::test]
async fn long_wishes_are_shortened() {
    let world = world_with(|config| config.authentication.most_seconds = Some(3_600)).await;
    let path = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"metadata": {"name": "short"}});
    world.ask(&admin(), path, account).await;
    let wish = json!({"spec": {"expirationSeconds": 7_200}});
    let answer = world.ask(&admin(), &format!("{path}/short/token"), wish).await;
    assert_eq!(answer["spec"]["expirationSeconds"], 3_600);
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-01T01:00:00Z");
}

/// Who joins checks what it reads with its token; nothing else is open.
#[tokio::test]
async fn strangers_read_cluster_info_and_nothing_else() {
    let world = world().await;
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let code = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        world.server.answer(request).await.status().as_u16()
    };
    // Nobody has published it here: a server without an address has nothing to say.
    assert_eq!(code("GET", info).await, 404);
    assert_eq!(code("DELETE", info).await, 403);
    assert_eq!(code("GET", "/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt").await, 401);
    assert_eq!(code("GET", "/api/v1/namespaces/kube-public/configmaps").await, 401);
}
