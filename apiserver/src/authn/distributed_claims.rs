//! Claims that stand elsewhere (OpenID Connect Core 1.0, 5.6.2): a token names a server that has them, and that one
//! answers with a token of its own. Texts are upstream's.
//!
//! Entry point: [`Distributed::expand`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::claims::unverified_issuer;
use super::jwt::Rules;
use super::key_set::{Documents, KeySet};
use crate::call::Server;

/// How long a claim is remembered (upstream remembers tokens so long, with all they gave).
const KEPT: Duration = Duration::from_secs(10);
/// Claims, and issuers of claims, that are remembered at most; when there are more, all are forgotten.
const MOST: usize = 1_024;

/// Claims by the digest of the token that named them, and when they were had.
type Resolved = BTreeMap<[u8; 32], (Duration, Value)>;

/// What is known of claims elsewhere.
#[derive(Debug, Default)]
pub(super) struct Distributed {
    issuers: Mutex<BTreeMap<String, Arc<KeySet>>>,
    resolved: Mutex<Resolved>,
}

impl Distributed {
    /// Puts a claim among the others of a token that says where it is. One that is there already stays.
    ///
    /// # Errors
    /// When it is said where the claim is, but it cannot be had from there.
    pub(super) async fn expand(
        &self,
        server: &Server,
        (documents, rules): (&Documents, &Rules<'_>),
        token: &str,
        (claim, claims): (&str, &mut Value),
    ) -> Result<(), String> {
        let Some((endpoint, access)) = source(claim, claims)? else { return Ok(()) };
        let (now, digest) = (server.clock.monotonic(), Sha256::digest(token).into());
        let known = self.resolved.lock().get(&digest).cloned();
        let known = known.filter(|(at, _)| now.saturating_sub(*at) < KEPT);
        let value = match known {
            Some((_, value)) => value,
            None => {
                let value = self.resolve(server, (documents, rules), claim, (&endpoint, &access)).await?;
                let mut resolved = self.resolved.lock();
                if resolved.len() >= MOST {
                    resolved.clear();
                }
                resolved.insert(digest, (now, value.clone()));
                value
            }
        };
        claims[claim] = value;
        Ok(())
    }

    async fn resolve(
        &self,
        server: &Server,
        (documents, rules): (&Documents, &Rules<'_>),
        claim: &str,
        (endpoint, access): (&str, &str),
    ) -> Result<Value, String> {
        let mut request = Request::get(endpoint);
        if !access.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {access}"));
        }
        let answer = documents.fetch(server, endpoint, request).await;
        let answer = answer.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let token = String::from_utf8_lossy(&answer);
        let issuer = unverified_issuer(&token).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {endpoint} failed for claim {claim:?}: malformed token")
        })?;
        let keys = self.keys(documents, issuer);
        let verified = rules.verify(server, &token, &keys).await;
        let found = verified.map_err(|why| format!("verify distributed claim token: {why}"))?;
        found.get(claim).cloned().ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {endpoint:?} did not contain claim: {claim}")
        })
    }

    fn keys(&self, documents: &Documents, issuer: String) -> Arc<KeySet> {
        let mut issuers = self.issuers.lock();
        if issuers.len() >= MOST {
            issuers.clear();
        }
        let keys = issuers.entry(issuer.clone()).or_insert_with(|| {
            let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            Arc::new(KeySet::new(documents.clone(), issuer, place))
        });
        Arc::clone(keys)
    }
}

/// Where a claim is, and what to show there; `None` when the token has it, or does not say.
fn source(claim: &str, claims: &Value) -> Result<Option<(String, String)>, String> {
    let Some(names) = claims.get("_claim_names").filter(|_| claims.get(claim).is_none()) else {
        return Ok(None);
    };
    let names = names.as_object().filter(|names| names.values().all(Value::is_string));
    let names = names.ok_or("oidc: error parsing distributed claim names: they are no texts by name")?;
    let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
    let sources = sources.as_object().ok_or("oidc: could not parse claim sources: they are no object")?;
    let Some(name) = names.get(claim).and_then(Value::as_str) else { return Ok(None) };
    let source = sources.get(name).ok_or_else(|| {
        format!("id token _claim_names contained a source {name} missing in _claims_sources")
    })?;
    let text = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
    // Without an endpoint it is aggregated, which nobody here reads.
    Ok(Some((text("endpoint"), text("access_token"))).filter(|(endpoint, _)| !endpoint.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_a_claim_is() {
        let names = json!({"groups": "s"});
        let far = json!({"s": {"endpoint": "https://e", "access_token": "t"}});
        for (claims, expected) in [
            (json!({}), Ok(None)),
            (json!({"groups": [], "_claim_names": names, "_claim_sources": far}), Ok(None)),
            (json!({"_claim_names": {"other": "s"}, "_claim_sources": far}), Ok(None)),
            (json!({"_claim_names": names, "_claim_sources": {"s": {"JWT": "x"}}}), Ok(None)),
            (json!({"_claim_names": names, "_claim_sources": far}), Ok(Some(("https://e", "t")))),
            (json!({"_claim_names": names}), Err("no claim sources")),
            (json!({"_claim_names": names, "_claim_sources": []}), Err("could not parse claim sources")),
            (json!({"_claim_names": names, "_claim_sources": {}}), Err("missing in _claims_sources")),
            (json!({"_claim_names": {"groups": 1}, "_claim_sources": far}), Err("error parsing distributed")),
        ] {
            let found = source("groups", &claims);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    let expected = expected.map(|(place, token)| (place.to_owned(), token.to_owned()));
                    assert_eq!(found, expected, "{claims}");
                }
                (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{claims}: {problem}"),
                (found, expected) => panic!("{claims}: {found:?}, not {expected:?}"),
            }
        }
    }
}
