//! Tokens others know: an OpenID Connect issuer and a webhook of our own, over TLS on loopback.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use component_base::clock::RealClock;
use component_base::jws::VerifyingKey;
use component_base::tls::SubjectNames;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Serves keys and reviews; counts what it is asked.
struct Elsewhere {
    pki: Pki,
    url: String,
    asked: AtomicUsize,
    _directory: tempfile::TempDir,
}

impl Elsewhere {
    async fn start() -> Arc<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let names = SubjectNames::for_api_server("elsewhere", &[], &[]);
        let pki = Pki::open(directory.path(), &names, RealClock::shared().now()).expect("certificates");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let acceptor = TlsAcceptor::from(pki.server_config().expect("a configuration"));
        let this = Arc::new(Self { pki, url, asked: AtomicUsize::new(0), _directory: directory });
        let serving = Arc::clone(&this);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.expect("a handshake");
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.expect("a request");
                let body = match serving.answer(&String::from_utf8_lossy(&request[..length])) {
                    Value::String(token) => token,
                    document => document.to_string(),
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.expect("sent");
                let _ = stream.shutdown().await;
            }
        });
        this
    }

    fn answer(&self, request: &str) -> Value {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match request.split(' ').nth(1).unwrap_or_default() {
            "/.well-known/openid-configuration" => {
                json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)})
            }
            "/keys" => {
                let keys: Vec<Value> =
                    self.pki.token_keys().public().iter().map(VerifyingKey::to_jwk).collect();
                json!({"keys": keys})
            }
            "/claims" if request.to_ascii_lowercase().contains("authorization: bearer opened") => {
                self.token(&json!({"roles": ["far"]})).into()
            }
            "/claims" => "closed".into(),
            "/expired" => self.token(&json!({"roles": ["far"], "exp": 1})).into(),
            "/without" => self.token(&json!({"roles": null})).into(),
            _ if request.contains("SubjectAccessReview") => {
                let known = request.to_ascii_lowercase().contains("authorization: bearer shown");
                json!({"status": {"allowed": known && request.contains("\"user\":\"olga\"")}})
            }
            _ if request.contains("\"token\":\"opaque\"") => {
                json!({"status": {"authenticated": true, "user": {"username": "olga", "groups": ["g"]}}})
            }
            _ => json!({"status": {"authenticated": false}}),
        }
    }

    fn configuration(&self, prefix: &str) -> String {
        let authority = self.pki.authority_pem().replace('\n', "\n        ");
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {}\n    audiences: [gantry]\n    certificateAuthority: |\n        {authority}\n  claimMappings:\n    username: {{claim: sub, prefix: '{prefix}'}}\n    groups: {{expression: 'claims.roles'}}\n  claimValidationRules: [{{expression: \"claims.hd == 'example.com'\", message: not ours}}]\nanonymous: {{enabled: false}}\n",
            self.url
        )
    }

    fn token(&self, change: &Value) -> String {
        let now = 1_767_225_600;
        let mut claims = json!({"iss": self.url, "aud": "gantry", "sub": "jane", "roles": ["dev"], "hd": "example.com",
            "exp": now + 600, "jti": "t"});
        for (key, value) in change.as_object().expect("an object") {
            claims[key] = value.clone();
        }
        claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        self.pki.token_keys().sign(&claims).expect("signed")
    }
}

fn write(path: &Path, text: &str) -> Option<std::path::PathBuf> {
    std::fs::write(path, text).expect("written");
    Some(path.to_owned())
}

/// How often an effect is looked for that a changed file has.
const MANY_LOOKS: usize = 1_000;

/// The kernel's word of a changed file comes in real time.
#[expect(clippy::disallowed_methods, reason = "nothing but the effect tells that the file was read")]
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn who_may_is_asked_elsewhere_until_the_file_says_otherwise() {
    let elsewhere = Elsewhere::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let authority = STANDARD.encode(elsewhere.pki.authority_pem());
    let kubeconfig = directory.path().join("kubeconfig");
    write(
        &kubeconfig,
        &format!(
            "clusters: [{{name: c, cluster: {{server: '{}', certificate-authority-data: {authority}}}}}]\nusers: [{{name: u, user: {{token: shown}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            elsewhere.url
        ),
    );
    let configuration = |rest: &Value| {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": rest})
            .to_string()
    };
    let webhook = json!({"timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig}});
    let file = directory.path().join("authorization.yaml");
    let asked = configuration(&json!([{"type": "Webhook", "name": "far", "webhook": webhook}]));
    let configured = write(&file, &asked);
    let world = world_with(|config| config.authorization = configured).await;
    let get = async |name: &str| {
        let user = UserInfo::component(name, &[]);
        world.send(&user, "GET", "/api/v1/namespaces/default/configmaps", Value::Null).await.0
    };
    assert_eq!((get("olga").await, get("jane").await), (200, 403));
    write(&file, "nonsense");
    a_moment().await;
    assert_eq!(get("olga").await, 200, "a mistake changes nothing");
    write(&file, &configuration(&json!([{"type": "RBAC", "name": "rbac"}])));
    let mut code = 0;
    for _ in 0..MANY_LOOKS {
        a_moment().await;
        code = get("olga").await;
        if code == 403 {
            break;
        }
    }
    assert_eq!(code, 403);
}

#[tokio::test]
async fn tokens_of_an_issuer() {
    let issuer = Elsewhere::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("authentication.yaml");
    let configured = write(&file, &issuer.configuration("oidc:"));
    let world = world_with(|config| config.authentication.configuration = configured).await;
    let jane = world.holder(&issuer.token(&json!({}))).await.expect("known");
    let expect = json!({"username": "oidc:jane", "groups": ["dev", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=t"]}});
    assert_eq!(jane, expect);
    let asked = issuer.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2, "discovery and keys");
    let stranger = Elsewhere::start().await;
    for (what, token, expected) in [
        (
            "for another audience",
            issuer.token(&json!({"aud": "x"})),
            "oidc: expected audience in [\"gantry\"] got [\"x\"]",
        ),
        ("expired", issuer.token(&json!({"exp": 1})), "oidc: token is expired"),
        ("against a rule", issuer.token(&json!({"hd": "x"})), "not ours"),
        (
            "of no algorithm",
            format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
                URL_SAFE_NO_PAD.encode(json!({"iss": issuer.url, "sub": "jane"}).to_string())
            ),
            "signed with unsupported algorithm",
        ),
        ("forged", stranger.token(&json!({"iss": issuer.url})), "failed to verify signature"),
        ("of nobody trusted", stranger.token(&json!({})), "invalid bearer token"),
    ] {
        assert_eq!(world.holder(&token).await, None, "{what}");
        let why = world.why(&token, json!([])).await;
        assert!(why.as_str().is_some_and(|why| why.contains(expected)), "{what}: {why}");
    }
    assert_eq!(issuer.asked.load(Ordering::Relaxed), asked, "forged tokens are not its problem");
    let nobody = Request::get("/livez").body(Body::empty()).expect("a request");
    assert_eq!(world.server.answer(nobody).await.status().as_u16(), 401, "the file closes even that");

    write(&file, "nonsense");
    a_moment().await;
    assert!(world.holder(&issuer.token(&json!({}))).await.is_some(), "a mistake changes nothing");
    write(&file, &issuer.configuration("new:"));
    let mut name = Value::Null;
    for _ in 0..MANY_LOOKS {
        a_moment().await;
        name = world.holder(&issuer.token(&json!({}))).await.expect("known")["username"].clone();
        if name == "new:jane" {
            break;
        }
    }
    assert_eq!(name, "new:jane");
}

#[tokio::test]
async fn groups_that_another_server_has() {
    let issuer = Elsewhere::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let text =
        issuer.configuration("").replace("{expression: 'claims.roles'}", "{claim: roles, prefix: 'g:'}");
    let configured = write(&directory.path().join("authentication.yaml"), &text);
    let world = world_with(|config| config.authentication.configuration = configured).await;
    let token = |path: &str, access: &str| {
        let source = json!({"endpoint": format!("{}{path}", issuer.url), "access_token": access});
        issuer.token(&json!({"roles": null, "_claim_names": {"roles": "s"}, "_claim_sources": {"s": source}}))
    };
    let far = token("/claims", "opened");
    let groups = json!(["g:far", "system:authenticated"]);
    for _ in 0..2 {
        assert_eq!(world.holder(&far).await.expect("known")["groups"], groups);
    }
    let asked = issuer.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 5, "discovery and keys for both tokens, and the claim once");
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.holder(&far).await.expect("known")["groups"], groups);
    assert_eq!(issuer.asked.load(Ordering::Relaxed), asked + 1, "a claim is remembered for ten seconds");
    for (path, access, expected) in [
        ("/claims", "", "malformed token"),
        ("/expired", "opened", "verify distributed claim token: oidc: token is expired"),
        ("/without", "opened", "did not contain claim: roles"),
    ] {
        let why = world.why(&token(path, access), json!([])).await;
        let expected =
            |why: &str| why.contains("could not expand distributed claims") && why.contains(expected);
        assert!(why.as_str().is_some_and(expected), "{path}: {why}");
    }
}

#[tokio::test]
async fn an_issuer_that_flags_name() {
    let issuer = Elsewhere::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let flags = OidcSettings {
        issuer_url: issuer.url.clone(),
        client_id: "gantry".to_owned(),
        authority: write(&directory.path().join("ca.crt"), &issuer.pki.authority_pem()),
        groups_claim: Some("roles".to_owned()),
        ..OidcSettings::default()
    };
    let (plain, mut elliptic) = (flags.clone(), flags);
    elliptic.signing_algorithms = vec!["ES256".to_owned()];
    let world = world_with(|config| config.authentication.oidc = Some(elliptic)).await;
    let jane = world.holder(&issuer.token(&json!({}))).await.expect("known");
    assert_eq!(jane["username"], format!("{}#jane", issuer.url));
    assert_eq!(jane["groups"], json!(["dev", "system:authenticated"]));
    let world = world_with(|config| config.authentication.oidc = Some(plain)).await;
    let why = world.why(&issuer.token(&json!({})), json!([])).await;
    assert!(why.as_str().is_some_and(|why| why.contains("expected [\"RS256\"] got \"ES256\"")), "{why}");
}

#[tokio::test]
async fn tokens_a_webhook_knows() {
    let webhook = Elsewhere::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let authority = STANDARD.encode(webhook.pki.authority_pem());
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": format!("{}/review", webhook.url), "certificate-authority-data": authority}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}], "current-context": "x",
    });
    let configured = write(&directory.path().join("webhook.yaml"), &kubeconfig.to_string());
    let world = world_with(|config| config.authentication.token_webhook = configured).await;
    for _ in 0..2 {
        let olga = world.holder("opaque").await.expect("known");
        assert_eq!(olga, json!({"username": "olga", "groups": ["g", "system:authenticated"]}));
        assert_eq!(world.holder("other").await, None);
    }
    assert_eq!(webhook.asked.load(Ordering::Relaxed), 2, "answers are kept");
    world.clock.advance(Duration::from_secs(121));
    assert!(world.holder("opaque").await.is_some());
    assert_eq!(webhook.asked.load(Ordering::Relaxed), 3, "for two minutes");
}
