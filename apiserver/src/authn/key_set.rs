//! The keys of an issuer: found through its discovery document, kept, and asked for again when a token is signed by
//! one that is not known.
//!
//! Entry points: [`KeySet::verify`], and [`Documents`] for whatever else an issuer has.

use std::time::Duration;

use bytes::Bytes;
use component_base::jws::{Jws, VerifyingKey};
use http::Request;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::call::Server;
use crate::transport::{Client, TOO_LATE, tls};

/// An issuer is not asked again sooner: forged tokens must not become its problem.
const PAUSE: Duration = Duration::from_secs(10);
/// For a whole exchange (upstream's client of issuers).
const TIMEOUT: Duration = Duration::from_secs(30);
/// No document about keys is larger.
const MAX_BYTES: usize = 1 << 20;

/// The way to issuers that one authority signed for.
#[derive(Debug, Clone)]
pub(super) struct Documents(Client);

impl Documents {
    /// Believes this authority (PEM), or those of this machine when there is none.
    pub(super) fn new(authority: &str) -> Result<Self, String> {
        Ok(Self(Client::new(tls(authority.as_bytes(), None)?, None)))
    }

    /// What stands at a URL; `request` is for it.
    pub(super) async fn fetch(
        &self,
        server: &Server,
        url: &str,
        request: http::request::Builder,
    ) -> Result<Bytes, String> {
        if !url.starts_with("https://") {
            return Err(format!("Get {url:?}: expected an https URL"));
        }
        let answer = tokio::select! {
            answer = self.0.exchange(request, None, MAX_BYTES) => answer,
            () = server.clock.sleep(TIMEOUT) => Err(TOO_LATE.to_owned()),
        };
        let (code, bytes) = answer.map_err(|problem| format!("Get {url:?}: {problem}"))?;
        if !code.is_success() {
            return Err(format!("{url:?}: {code}"));
        }
        Ok(bytes)
    }
}

/// Where keys are, and those that are known.
#[derive(Debug)]
pub(super) struct KeySet {
    documents: Documents,
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
    pub(super) fn new(documents: Documents, issuer: String, discovery_url: String) -> Self {
        Self { documents, issuer, discovery_url, known: Mutex::default() }
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
        let bytes = self.documents.fetch(server, url, Request::get(url)).await?;
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
