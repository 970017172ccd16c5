//! Service-account tokens: bound to the account and optionally to a pod, node or secret, audience- and
//! time-limited (KEP-1205, KEP-4193). Issued by the `token` subresource, checked on every request against the
//! live objects, which are kept in memory.
//!
//! Entry points: [`authenticate`], [`issue`].

use api::Status;
use component_base::user::UserInfo;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::claims::{self, LEEWAY};
use super::credentials::Object;
use super::{Known, Outcome};
use crate::call::Server;

/// Start of every service account's user name.
const USER_PREFIX: &str = "system:serviceaccount:";
/// Start of the keys of extras.
const EXTRA: &str = "authentication.kubernetes.io/";
/// What is said of a token whose object is gone.
const INVALIDATED: &str = "service account token has been invalidated";

/// The `iss` claim, also the API server's own audience.
pub(crate) fn issuer(server: &Server) -> String {
    issuer_of(&server.config.cluster_domain)
}

/// The same for a DNS domain.
pub(crate) fn issuer_of(cluster_domain: &str) -> String {
    format!("https://kubernetes.default.svc.{cluster_domain}")
}

/// An object a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// `pod`, `secret` or `node`.
    pub(crate) claim: &'static str,
    pub(crate) name: String,
    /// Empty for a node that is not there.
    pub(crate) uid: String,
}

/// What a token shall say.
pub(crate) struct Grant<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a Value,
    pub(crate) audiences: Vec<String>,
    /// How long it is good.
    pub(crate) seconds: i64,
    /// After how many seconds its use is worth a warning.
    pub(crate) warn_after: Option<i64>,
    /// What it lives and dies with; for a pod its node, too.
    pub(crate) bindings: Vec<Binding>,
}

/// A signed token.
pub(crate) fn issue(server: &Server, grant: &Grant<'_>) -> Result<String, Status> {
    let now = server.clock.now().as_second();
    let name = api::object::name(grant.account);
    let mut about = json!({
        "namespace": grant.namespace,
        "serviceaccount": {"name": name, "uid": api::object::uid(grant.account)},
    });
    for Binding { claim, name, uid } in &grant.bindings {
        about[*claim] =
            if uid.is_empty() { json!({"name": name}) } else { json!({"name": name, "uid": uid}) };
    }
    if let Some(seconds) = grant.warn_after {
        about["warnafter"] = json!(now + seconds);
    }
    let claims = json!({
        "aud": grant.audiences, "exp": now + grant.seconds, "iat": now, "nbf": now, "iss": issuer(server),
        "jti": server.rng.uid(), "kubernetes.io": about,
        "sub": format!("{USER_PREFIX}{}:{name}", grant.namespace),
    });
    server.config.pki.token_keys().sign(&claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Status::internal("a token could not be signed")
    })
}

/// Who holds the token, if this cluster issued it.
pub(super) async fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let Some(claims) = server.authentication.verified.claims(server, token, &issuer(server))? else {
        return Ok(None);
    };
    let meant = meant_for(&claims::audiences(&claims), audiences)?;
    let now = server.clock.now();
    claims::check_time(&claims, now)?;
    let about = &claims["kubernetes.io"];
    let namespace = text(about, "namespace");
    check_account(server, namespace, &about["serviceaccount"], now).await?;
    for (claim, plural, kind) in [("secret", "secrets", "secret"), ("pod", "pods", "pod")] {
        if about[claim].is_object() {
            check_bound(server, (plural, kind), Some(namespace), &about[claim], now).await?;
        }
    }
    // The node of a pod says where the pod was when the token was issued: it may be gone before the pod.
    if about["node"].is_object() && !about["pod"].is_object() {
        check_bound(server, ("nodes", "node"), None, &about["node"], now).await?;
    }
    if claims["kubernetes.io"]["warnafter"].as_i64().is_some_and(|after| now.as_second() > after) {
        tracing::debug!(subject = text(&claims, "sub"), "a token is used longer than it was asked for");
    }
    Ok(Some(Known { user: user(&claims), audiences: meant }))
}

/// Which audiences a token and the question have in common: at least one.
pub(super) fn meant_for(own: &[String], asked: &[String]) -> Result<Vec<String>, String> {
    let meant: Vec<String> = own.iter().filter(|audience| asked.contains(audience)).cloned().collect();
    if meant.is_empty() {
        return Err(format!("token audiences {own:?} is invalid for the target audiences {asked:?}"));
    }
    Ok(meant)
}

/// The user of a service account.
pub(super) fn account_user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
    let mut user = UserInfo::component(&format!("{USER_PREFIX}{namespace}:{name}"), &groups);
    uid.clone_into(&mut user.uid);
    user
}

fn user(claims: &Value) -> UserInfo {
    let about = &claims["kubernetes.io"];
    let account = &about["serviceaccount"];
    let mut user = account_user(text(about, "namespace"), text(account, "name"), text(account, "uid"));
    let id = Some(text(claims, "jti")).filter(|id| !id.is_empty()).map(|id| format!("JTI={id}"));
    let extras = [
        ("credential-id", id),
        ("pod-name", about["pod"]["name"].as_str().map(str::to_owned)),
        ("pod-uid", about["pod"]["uid"].as_str().map(str::to_owned)),
        ("node-name", about["node"]["name"].as_str().map(str::to_owned)),
        ("node-uid", about["node"]["uid"].as_str().map(str::to_owned)),
    ];
    for (key, value) in extras {
        if let Some(value) = value {
            user.extra.insert(format!("{EXTRA}{key}"), vec![value]);
        }
    }
    user
}

/// The object of a key as memory has it, if that is the one of `uid`; else as it is stored, because memory follows
/// the store a moment later.
pub(super) async fn object(server: &Server, key: &str, uid: &str) -> Result<Option<Object>, String> {
    let known = server.authentication.credentials.read().get(key).cloned();
    if known.as_ref().is_some_and(|object| &*object.uid == uid) {
        return Ok(known);
    }
    let stored = server.store.get(key, None).await.map_err(|error| error.to_string())?;
    stored.map(|entry| Object::parse(&entry.bytes)).transpose().map_err(|error| error.to_string())
}

/// Whether an object was asked to go longer ago than clocks may differ.
pub(super) fn is_gone(object: &Object, now: Timestamp) -> bool {
    object.deleted.is_some_and(|at| at < now.saturating_sub(LEEWAY).unwrap_or(now))
}

/// The account must be the one the token was issued for.
async fn check_account(
    server: &Server,
    namespace: &str,
    reference: &Value,
    now: Timestamp,
) -> Result<(), String> {
    let (name, uid) = (text(reference, "name"), text(reference, "uid"));
    let key = api::names::storage_key("", "serviceaccounts", Some(namespace), name);
    let account = object(server, &key, uid).await?;
    let account = account.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    if is_gone(&account, now) {
        return Err(format!("service account {namespace}/{name} has been deleted"));
    }
    if &*account.uid != uid {
        return Err(format!("service account UID ({}) does not match claim ({uid})", account.uid));
    }
    Ok(())
}

/// What the token is bound to must be there.
async fn check_bound(
    server: &Server,
    (plural, kind): (&str, &str),
    namespace: Option<&str>,
    reference: &Value,
    now: Timestamp,
) -> Result<(), String> {
    let (name, uid) = (text(reference, "name"), text(reference, "uid"));
    let key = api::names::storage_key("", plural, namespace, name);
    let bound = object(server, &key, uid).await?.filter(|bound| !is_gone(bound, now));
    let bound = bound.ok_or_else(|| INVALIDATED.to_owned())?;
    if &*bound.uid != uid {
        return Err(format!(
            "{kind} UID ({}) does not match service account {kind} ref claim ({uid})",
            bound.uid
        ));
    }
    Ok(())
}

fn text<'a>(claims: &'a Value, key: &str) -> &'a str {
    claims[key].as_str().unwrap_or_default()
}
