//! Service-account tokens: bound to the account and optionally to a pod, audience- and time-limited
//! (KEP-1205). Issued by the `token` subresource, checked on every request against the live objects.

use api::Status;
use component_base::tls::TokenProblem;
use component_base::user::UserInfo;
use serde_json::{Value, json};

use crate::call::Server;

/// Start of every service account's user name.
const USER_PREFIX: &str = "system:serviceaccount:";

/// Why a token was refused; for the log, and for who has a token reviewed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Not signed by this cluster.
    #[error("{0}")]
    Token(#[from] TokenProblem),
    /// Outside its validity.
    #[error("expired or not yet valid")]
    Time,
    /// Meant for somebody else.
    #[error("not for this issuer or audience")]
    Audience,
    /// The account or pod it is bound to is gone.
    #[error("bound to {0}, which is gone")]
    Gone(String),
    /// The store failed.
    #[error("{0}")]
    Store(Status),
}

/// The `iss` claim, also the API server's own audience.
pub(crate) fn issuer(server: &Server) -> String {
    format!("https://kubernetes.default.svc.{}", server.config.cluster_domain)
}

/// What a token shall say.
pub(crate) struct Grant<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a Value,
    pub(crate) audiences: Vec<String>,
    pub(crate) seconds: i64,
    /// `kind`, `name`, `uid` of the object the token lives and dies with.
    pub(crate) bound: Option<(String, String, String)>,
}

/// A signed token and its end in Unix seconds.
pub(crate) fn issue(server: &Server, grant: &Grant<'_>) -> Result<(String, i64), Status> {
    let now = server.clock.now().as_second();
    let end = now + grant.seconds;
    let name = api::object::name(grant.account);
    let mut about = json!({
        "namespace": grant.namespace,
        "serviceaccount": {"name": name, "uid": api::object::uid(grant.account)},
    });
    if let Some((kind, name, uid)) = &grant.bound {
        about[kind.to_lowercase()] = json!({"name": name, "uid": uid});
    }
    let claims = json!({
        "aud": grant.audiences, "exp": end, "iat": now, "nbf": now, "iss": issuer(server),
        "jti": server.rng.uid(), "kubernetes.io": about,
        "sub": format!("{USER_PREFIX}{}:{name}", grant.namespace),
    });
    let token = server.config.pki.token_key().sign(&claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Status::internal("a token could not be signed")
    })?;
    Ok((token, end))
}

/// The user a bearer token names, if it is meant for this server.
pub(super) async fn user_of(server: &Server, token: &str) -> Result<UserInfo, Refused> {
    let own = issuer(server);
    user_for(server, token, &[own]).await.map(|(user, _)| user)
}

/// The user a bearer token names, and which of these audiences it is meant for: at least one.
pub(super) async fn user_for(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), Refused> {
    let claims = server.config.pki.token_key().verify(token)?;
    let now = server.clock.now().as_second();
    let (from, until) = (claims["nbf"].as_i64().unwrap_or(i64::MAX), claims["exp"].as_i64().unwrap_or(0));
    // Ten seconds of leeway for clocks that differ, as upstream grants.
    if now + 10 < from || now - 10 > until {
        return Err(Refused::Time);
    }
    let is_meant_for = |audience: &&String| match &claims["aud"] {
        Value::Array(list) => list.iter().any(|a| a == audience.as_str()),
        single => single == audience.as_str(),
    };
    let meant: Vec<String> = audiences.iter().filter(is_meant_for).cloned().collect();
    if claims["iss"] != issuer(server).as_str() || meant.is_empty() {
        return Err(Refused::Audience);
    }
    let about = &claims["kubernetes.io"];
    let namespace = about["namespace"].as_str().unwrap_or_default();
    let account = &about["serviceaccount"];
    alive(server, "serviceaccounts", namespace, account).await?;
    if about["pod"].is_object() {
        alive(server, "pods", namespace, &about["pod"]).await?;
    }
    let name = account["name"].as_str().unwrap_or_default();
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
    let mut user = UserInfo::component(&format!("{USER_PREFIX}{namespace}:{name}"), &groups);
    account["uid"].as_str().unwrap_or_default().clone_into(&mut user.uid);
    for (claim, key) in [("name", "pod-name"), ("uid", "pod-uid")] {
        if let Some(text) = about["pod"][claim].as_str() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![text.to_owned()]);
        }
    }
    Ok((user, meant))
}

async fn alive(server: &Server, plural: &str, namespace: &str, reference: &Value) -> Result<(), Refused> {
    let name = reference["name"].as_str().unwrap_or_default();
    let key = api::names::storage_key("", plural, Some(namespace), name);
    let object = server.stored(&key).await.map_err(Refused::Store)?;
    let same = object.is_some_and(|object| reference["uid"] == object["metadata"]["uid"]);
    if same { Ok(()) } else { Err(Refused::Gone(format!("{plural} {namespace}/{name}"))) }
}
