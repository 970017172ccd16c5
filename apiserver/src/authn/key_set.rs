//! The keys of an issuer: found through its discovery document, kept, and asked for again when a token is signed by
//! one that is not known.
//!
//! Entry point: [`KeySet::verify`].

use std::time::Duration;

use component_base::jws::{Jws, VerifyingKey};
use http::Request;
use serde_json::Value;
use tokio::sync::Mutex;

use super::configuration::Issuer;
use crate::call::Server;
use crate::transport::{Client, tls};

/// An issuer is not asked again sooner: forged tokens must not become its problem.
const PAUSE: Duration = Duration::from_secs(10);
/// For a whole exchange (upstream's client of issuers).
const TIMEOUT: Duration = Duration::from_secs(30);
/// No document about keys is larger.
const MAX_BYTES: usize = 1 << 20;

/// Where keys are, and those that are known.
#[derive(Debug)]
pub(super) struct KeySet {
    client: Client,
    issuer: String,
    discovery_url: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<VerifyingKey>,
    /// When the issuer was asked last, by the monotonic clock.
    asked: Option<Duration>,
}

impl KeySet {
    /// Nothing known yet.
    pub(super) fn new(issuer: &Issuer) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(tls(issuer.authority.as_bytes(), None)?, None),
            issuer: issuer.url.clone(),
            discovery_url: issuer.discovery_url.clone(),
            known: Mutex::default(),
        })
    }

    /// Whether the issuer signed the token.
    pub(super) async fn verify(&self, server: &Server, token: &Jws<'_>) -> Result<(), String> {
        let mut known = self.known.lock().await;
        if known.verifies(token) {
            return Ok(());
        }
        let now = server.clock.monotonic();
        if known.asked.is_none_or(|asked| now.saturating_sub(asked) >= PAUSE) {
            known.asked = Some(now);
            // Others wait here for the same answer.
            known.keys = self.fetch(server).await.map_err(|problem| format!("fetching keys {problem}"))?;
        }
        if known.verifies(token) {
            return Ok(());
        }
        Err("failed to verify signature: failed to verify id token signature".to_owned())
    }

    async fn fetch(&self, server: &Server) -> Result<Vec<VerifyingKey>, String> {
        let provider = self.document(server, &self.discovery_url).await?;
        let issuer = provider["issuer"].as_str().unwrap_or_default();
        if issuer != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {issuer:?}",
                self.issuer
            ));
        }
        let place = provider["jwks_uri"].as_str().ok_or("the provider names no jwks_uri")?;
        let keys = self.document(server, place).await?;
        let keys = keys["keys"].as_array().ok_or_else(|| format!("{place:?}: it has no keys"))?;
        Ok(keys.iter().filter_map(VerifyingKey::from_jwk).collect())
    }

    async fn document(&self, server: &Server, url: &str) -> Result<Value, String> {
        if !url.starts_with("https://") {
            return Err(format!("Get {url:?}: expected an https URL"));
        }
        let asked = self.client.exchange(Request::get(url), None, MAX_BYTES);
        let answer = tokio::select! {
            answer = asked => answer,
            () = server.clock.sleep(TIMEOUT) => Err("context deadline exceeded".to_owned()),
        };
        let (code, bytes) = answer.map_err(|problem| format!("Get {url:?}: {problem}"))?;
        if !code.is_success() {
            return Err(format!("{url:?}: {code}"));
        }
        serde_json::from_slice(&bytes).map_err(|error| format!("{url:?}: {error}"))
    }
}

impl Known {
    /// A token that names its key is verified by that one alone.
    fn verifies(&self, token: &Jws<'_>) -> bool {
        let mut keys = self.keys.iter().filter(|key| token.key_id.is_empty() || key.id == token.key_id);
        keys.any(|key| key.verify(token).is_ok())
    }
}
