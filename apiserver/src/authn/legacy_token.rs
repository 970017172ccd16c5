//! Tokens in secrets of type `kubernetes.io/service-account-token`: without an end, good as long as the secret holds
//! exactly this token and the account is the one it was made for.

use component_base::user::UserInfo;
use serde_json::Value;

use super::credentials::{LEGACY_TYPE, Object};
use super::service_account::{account_user, object};
use super::{Known, Outcome, bearer_token};
use crate::call::Server;

/// The `iss` claim of all of them.
const ISSUER: &str = "kubernetes/serviceaccount";
/// Start of the claims.
const CLAIM: &str = "kubernetes.io/serviceaccount/";
/// Set by whoever takes unused tokens out of use (KEP-2799).
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What the claims name.
struct Named<'a> {
    namespace: &'a str,
    secret: &'a str,
    account: &'a str,
    account_uid: &'a str,
}

impl<'a> Named<'a> {
    fn of(claims: &'a Value) -> Result<Self, String> {
        let claim = |key: &str, word: &str| {
            let text = claims[format!("{CLAIM}{key}")].as_str().unwrap_or_default();
            if text.is_empty() { Err(format!("{word} claim is missing")) } else { Ok(text) }
        };
        let subject = claims["sub"].as_str().unwrap_or_default();
        if subject.is_empty() {
            return Err("sub claim is missing".to_owned());
        }
        let named = Self {
            namespace: claim("namespace", "namespace")?,
            secret: claim("secret.name", "secretName")?,
            account: claim("service-account.name", "serviceAccountName")?,
            account_uid: claim("service-account.uid", "serviceAccountUID")?,
        };
        let expected = format!("system:serviceaccount:{}:{}", named.namespace, named.account);
        if subject == expected { Ok(named) } else { Err("sub claim is invalid".to_owned()) }
    }
}

pub(super) async fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let Some(claims) = server.authentication.verified.claims(server, token, ISSUER)? else { return Ok(None) };
    // They name no audience, and are for the API server alone.
    let own = super::issuer(server);
    let meant = bearer_token::own_audiences(server, audiences).ok_or_else(|| {
        format!("token audiences {:?} is invalid for the target audiences {audiences:?}", [own])
    })?;
    let user = user(server, token, &Named::of(&claims)?).await?;
    Ok(Some(Known { user, audiences: meant }))
}

async fn user(server: &Server, token: &str, named: &Named<'_>) -> Result<UserInfo, String> {
    let key = |plural: &str, name: &str| api::names::storage_key("", plural, Some(named.namespace), name);
    check_secret(server, token, named, &key("secrets", named.secret)).await?;
    let account = object(server, &key("serviceaccounts", named.account), named.account_uid).await?;
    let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", named.account))?;
    if account.deleted.is_some() {
        return Err(format!("ServiceAccount {}/{} has been deleted", named.namespace, named.account));
    }
    if &*account.uid != named.account_uid {
        let claim = named.account_uid;
        return Err(format!("ServiceAccount UID ({}) does not match claim ({claim})", account.uid));
    }
    Ok(account_user(named.namespace, named.account, named.account_uid))
}

/// The secret must be there and hold this very token.
async fn check_secret(server: &Server, token: &str, named: &Named<'_>, key: &str) -> Result<(), String> {
    let held = |secret: &Object| {
        let stored = secret.token.as_ref().filter(|stored| stored.kind == LEGACY_TYPE)?;
        stored.data.get("token").map(|held| held == token)
    };
    let known = server.authentication.credentials.read().get(key).cloned();
    let secret = match known.filter(|secret| held(secret) == Some(true)) {
        Some(secret) => secret,
        // Memory follows the store a moment later.
        None => object(server, key, "").await?.ok_or("Token has been invalidated")?,
    };
    if secret.deleted.is_some() {
        return Err("Token has been invalidated".to_owned());
    }
    if held(&secret) != Some(true) {
        return Err("Token does not match server's copy".to_owned());
    }
    if secret.token.is_some_and(|stored| stored.labels.contains_key(INVALID_SINCE)) {
        let Named { namespace, secret, account, .. } = named;
        return Err(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    Ok(())
}
