//! Claims of tokens this cluster signed.
//!
//! Entry point: [`Verified::claims`]. That a signature is good is remembered; whether the token is still good is
//! asked with every request.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::call::Server;

/// Clocks differ (go-jose's `DefaultLeeway`).
pub(super) const LEEWAY: SignedDuration = SignedDuration::from_mins(1);
/// Tokens remembered at most; when there are more, all are forgotten and verified once more.
const MOST_REMEMBERED: usize = 4096;

/// Claims of a token by the digest of the token.
type Remembered = BTreeMap<[u8; 32], Arc<Value>>;

/// Tokens whose signature has been verified, with the generation of keys that did.
#[derive(Default)]
pub(super) struct Verified(Mutex<(u64, Remembered)>);

impl Verified {
    /// The claims of a token that one of the cluster's keys signed and that names `issuer`; `None` when it names
    /// another.
    pub(super) fn claims(
        &self,
        server: &Server,
        token: &str,
        issuer: &str,
    ) -> Result<Option<Arc<Value>>, String> {
        if unverified_issuer(token).as_deref() != Some(issuer) {
            return Ok(None);
        }
        let (digest, generation) = (Sha256::digest(token).into(), server.config.pki.generation());
        {
            let mut known = self.0.lock();
            if known.0 != generation {
                *known = (generation, Remembered::new());
            }
            if let Some(claims) = known.1.get(&digest) {
                return Ok(Some(Arc::clone(claims)));
            }
        }
        let claims = server.config.pki.token_keys().verify(token).map_err(|problem| problem.to_string())?;
        let claims = Arc::new(claims);
        let mut known = self.0.lock();
        if known.1.len() >= MOST_REMEMBERED {
            known.1.clear();
        }
        known.1.insert(digest, Arc::clone(&claims));
        Ok(Some(claims))
    }
}

/// The issuer a token names, whoever wrote it: says only who is to judge it.
pub(super) fn unverified_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

/// `aud`, which may be one or several.
pub(super) fn audiences(claims: &Value) -> Vec<String> {
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A NumericDate, which may have a fraction.
pub(super) fn date(claim: &Value) -> Option<Timestamp> {
    let seconds = claim.as_f64()?;
    // Beyond any time there is, whole seconds are as good.
    Timestamp::from_second(seconds.clamp(-1e11, 1e11) as i64).ok()
}

/// Whether a token with these claims is good now. One that never ends is not.
pub(super) fn check_time(claims: &Value, now: Timestamp) -> Result<(), String> {
    let later = now.saturating_add(LEEWAY).unwrap_or(now);
    let earlier = now.saturating_sub(LEEWAY).unwrap_or(now);
    let is_future = |claim: &Value| !claim.is_null() && date(claim).is_none_or(|at| later < at);
    if is_future(&claims["nbf"]) || is_future(&claims["iat"]) {
        return Err("service account token is not valid yet".to_owned());
    }
    if date(&claims["exp"]).is_none_or(|end| earlier > end) {
        return Err("service account token has expired".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_a_beginning_and_an_end() {
        let now = Timestamp::from_second(10_000).expect("a time");
        let (expired, early) =
            ("service account token has expired", "service account token is not valid yet");
        for (claims, expected) in [
            (json!({"nbf": 10_000, "iat": 10_000, "exp": 10_600}), None),
            (json!({"exp": 10_000.5}), None),
            (json!({"exp": 9_941}), None),
            (json!({"exp": 9_939}), Some(expired)),
            (json!({}), Some(expired)),
            (json!({"exp": "soon"}), Some(expired)),
            (json!({"exp": 1e300, "nbf": 10_060}), None),
            (json!({"exp": 20_000, "nbf": 10_061}), Some(early)),
            (json!({"exp": 20_000, "iat": 10_061}), Some(early)),
            (json!({"exp": 20_000, "nbf": "now"}), Some(early)),
        ] {
            assert_eq!(check_time(&claims, now).err().as_deref(), expected, "{claims}");
        }
    }

    #[test]
    fn only_three_parts_are_a_token() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"me"}"#);
        for (token, expected) in [
            (format!("h.{claims}.s"), Some("me")),
            (format!("h.{claims}"), None),
            (format!("h.{claims}.s.x"), None),
            ("h.!.s".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(unverified_issuer(&token).as_deref(), expected, "{token}");
        }
    }
}
