//! Tokens of OpenID Connect issuers, as the structured configuration has them. The file is followed: a change takes
//! effect by itself, a mistake in it leaves all as it was and is in the log.
//!
//! Entry points: [`authenticate`], [`Issuers::read`], [`keep`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use component_base::jws::Jws;
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use serde_json::Value;

use super::bearer_token::own_audiences;
use super::claims::{audiences as audiences_of, date, unverified_issuer};
use super::configuration::{Anonymous, Configuration, Issuer};
use super::distributed_claims::Distributed;
use super::key_set::{Documents, KeySet};
use super::settings::{AuthenticationSettings, SettingsError};
use super::{Known, Outcome};
use crate::call::Server;
use crate::followed_file::{Look, What, follow};

/// Issuers' clocks may be ahead by this much (go-oidc).
const EARLY: SignedDuration = SignedDuration::from_mins(5);

/// An issuer and its keys.
#[derive(Debug)]
struct Trusted {
    issuer: Issuer,
    keys: KeySet,
    documents: Documents,
    /// Claims of its tokens that others have.
    distributed: Distributed,
}

impl Trusted {
    fn new(issuer: Issuer) -> Result<Self, String> {
        let documents = Documents::new(&issuer.authority)?;
        let keys = KeySet::new(documents.clone(), issuer.url.clone(), issuer.discovery_url.clone());
        Ok(Self { issuer, keys, documents, distributed: Distributed::default() })
    }
}

/// What a file says.
#[derive(Debug, Default)]
struct Loaded {
    text: String,
    trusted: Vec<Trusted>,
    anonymous: Option<Anonymous>,
}

/// The issuers of a file.
#[derive(Default)]
pub(super) struct Issuers {
    path: Option<PathBuf>,
    own: String,
    loaded: RwLock<Arc<Loaded>>,
}

impl Issuers {
    /// Reads the file, or takes the one issuer that settings have; without either nobody is trusted. `own` is the
    /// issuer of service-account tokens.
    pub(super) fn read(settings: &AuthenticationSettings, own: &str) -> Result<Self, SettingsError> {
        let path = settings.configuration.as_deref();
        let loaded = match (path, &settings.oidc) {
            (None, None) => Loaded::default(),
            (None, Some(oidc)) => {
                let issuer = oidc.issuer(own)?;
                let trusted = Trusted::new(issuer).map_err(SettingsError::Issuer)?;
                Loaded { trusted: vec![trusted], ..Loaded::default() }
            }
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
                load(text, own).map_err(|detail| SettingsError::Content { path: path.to_owned(), detail })?
            }
        };
        let loaded = RwLock::new(Arc::new(loaded));
        Ok(Self { path: path.map(Path::to_owned), own: own.to_owned(), loaded })
    }

    /// What the file says of requests without credentials.
    pub(super) fn anonymous(&self) -> Option<Anonymous> {
        self.loaded.read().anonymous.clone()
    }

    fn look(&self, path: &Path) -> Look {
        let text = match std::fs::read_to_string(path) {
            Ok(text) if text == self.loaded.read().text => return Look::Same,
            Ok(text) => text,
            Err(error) => return Look::Refused(format!("{}: {error}", path.display())),
        };
        match load(text, &self.own) {
            Ok(loaded) => {
                *self.loaded.write() = Arc::new(loaded);
                Look::Taken
            }
            Err(problem) => Look::Refused(format!("{}: {problem}", path.display())),
        }
    }
}

fn load(text: String, own: &str) -> Result<Loaded, String> {
    let Configuration { issuers, anonymous } = Configuration::parse(&text, own)?;
    let trusted = issuers.into_iter().map(Trusted::new).collect::<Result<_, _>>()?;
    Ok(Loaded { text, trusted, anonymous })
}

/// Follows the file, as long as the server lives.
pub(crate) async fn keep(server: Arc<Server>) {
    let Some(path) = server.authentication.issuers.path.clone() else { return };
    let (clock, followed) = (Arc::clone(&server.clock), path.clone());
    let look = move || server.authentication.issuers.look(&path);
    follow(What::Authentication, clock, move || vec![followed.clone()], look).await;
}

pub(super) async fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let loaded = Arc::clone(&server.authentication.issuers.loaded.read());
    if loaded.trusted.is_empty() {
        return Ok(None);
    }
    let issuer = unverified_issuer(token);
    let Some(trusted) = loaded.trusted.iter().find(|trusted| issuer.as_ref() == Some(&trusted.issuer.url))
    else {
        return Ok(None);
    };
    let Some(audiences) = own_audiences(server, audiences) else { return Ok(None) };
    let Trusted { issuer, keys, documents, distributed } = trusted;
    let rules = Rules { audiences: &issuer.audiences, algorithms: &issuer.algorithms };
    let claims = rules.verify(server, token, keys).await;
    let mut claims = claims.map_err(|problem| format!("oidc: verify token: {problem}"))?;
    if let Some(claim) = issuer.mapping.groups_claim() {
        let elsewhere = distributed.expand(server, (documents, &rules), token, (claim, &mut claims)).await;
        elsewhere.map_err(|problem| format!("oidc: could not expand distributed claims: {problem}"))?;
    }
    let user = issuer.mapping.user(&claims)?;
    Ok(Some(Known { user, audiences }))
}

/// What is asked of tokens besides a signature that verifies.
pub(super) struct Rules<'a> {
    audiences: &'a [String],
    algorithms: &'a [String],
}

impl Rules<'_> {
    /// The claims of a token that is good now and signed with one of these keys.
    pub(super) async fn verify(&self, server: &Server, token: &str, keys: &KeySet) -> Result<Value, String> {
        let jws = Jws::parse(token).map_err(|problem| problem.to_string())?;
        // Before the claims: what cannot be signed is not expired, it is nobody's.
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {:?} got {:?}",
                self.algorithms, jws.algorithm
            ));
        }
        check(&jws.claims, self.audiences, server.clock.now())?;
        keys.verify(server, &jws).await?;
        Ok(jws.claims)
    }
}

/// Audience and times, as go-oidc checks them.
fn check(claims: &Value, audiences: &[String], now: Timestamp) -> Result<(), String> {
    let named = audiences_of(claims);
    if named.iter().all(|audience| !audiences.contains(audience)) {
        return Err(format!("oidc: expected audience in {audiences:?} got {named:?}"));
    }
    match date(&claims["exp"]) {
        Some(end) if end >= now => {}
        end => {
            let end = end.map_or_else(|| "none".to_owned(), |end| end.to_string());
            return Err(format!("oidc: token is expired (Token Expiry: {end})"));
        }
    }
    let start = date(&claims["nbf"]);
    if start.is_some_and(|start| now.saturating_add(EARLY).unwrap_or(now) < start)
        || start.is_none() && !claims["nbf"].is_null()
    {
        return Err(format!("oidc: current time {now} before the nbf (not before) time: {}", claims["nbf"]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_for_an_audience_and_a_time() {
        let now = Timestamp::from_second(10_000).expect("a time");
        let audiences = ["a".to_owned(), "b".to_owned()];
        for (claims, expected) in [
            (json!({"aud": "a", "exp": 10_000}), ""),
            (json!({"aud": ["x", "b"], "exp": 10_001, "nbf": 10_300}), ""),
            (json!({"aud": "x", "exp": 10_001}), "oidc: expected audience in [\"a\", \"b\"] got [\"x\"]"),
            (json!({"exp": 10_001}), "oidc: expected audience"),
            (json!({"aud": "a", "exp": 9_999}), "oidc: token is expired"),
            (json!({"aud": "a"}), "oidc: token is expired"),
            (json!({"aud": "a", "exp": 20_000, "nbf": 10_301}), "before the nbf"),
        ] {
            let problem = check(&claims, &audiences, now).err().unwrap_or_default();
            assert!(
                problem.contains(expected) && problem.is_empty() == expected.is_empty(),
                "{claims}: {problem}"
            );
        }
    }
}
