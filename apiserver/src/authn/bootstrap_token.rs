//! Bootstrap tokens: `ID.SECRET` of a secret `bootstrap-token-ID` in `kube-system`, with which machines join.

use component_base::user::UserInfo;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::bearer_token::own_audiences;
use super::credentials::{BOOTSTRAP_TYPE, Object};
use super::{Known, Outcome};
use crate::call::Server;

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// Longest name of an extra group after its prefix.
const LONGEST_GROUP: usize = 255 - "system:bootstrappers:".len();

pub(super) fn authenticate(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    let Some((id, secret)) = parts(token).filter(|_| server.authentication.settings.bootstrap_tokens) else {
        return Ok(None);
    };
    let Some(audiences) = own_audiences(server, audiences) else { return Ok(None) };
    let key = api::names::storage_key("", "secrets", Some(NAMESPACE), &format!("{NAME_PREFIX}{id}"));
    let Some(stored) = server.authentication.credentials.read().get(&key).cloned() else {
        tracing::debug!(id, "no secret matches this bootstrap token");
        return Ok(None);
    };
    match user(&stored, id, secret, server.clock.now()) {
        Ok(user) => Ok(Some(Known { user, audiences })),
        Err(problem) => {
            tracing::info!("Bootstrap secret {NAMESPACE}/{NAME_PREFIX}{id} matching bearer token {problem}");
            Ok(None)
        }
    }
}

/// Id and secret of a token of the right form.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// Whom a secret lets in, or why it does not; the text ends a sentence and holds no secret.
fn user(stored: &Object, id: &str, secret: &str, now: Timestamp) -> Result<UserInfo, String> {
    if stored.deleted.is_some() {
        return Err("is deleted and awaiting removal".to_owned());
    }
    let Some(token) = stored.token.as_ref().filter(|token| token.kind == BOOTSTRAP_TYPE) else {
        return Err(format!("has invalid type, expected {BOOTSTRAP_TYPE}."));
    };
    let data = |key: &str| token.data.get(key).map(String::as_str).unwrap_or_default();
    // Digests are compared, so that the time it takes tells nothing of how much was right.
    if Sha256::digest(data("token-secret")) != Sha256::digest(secret) {
        return Err("has invalid value for key token-secret.".to_owned());
    }
    if data("token-id") != id {
        return Err(format!("has invalid value for key token-id, expected {id}."));
    }
    if has_expired(data("expiration"), now) {
        return Err("has expired.".to_owned());
    }
    if data("usage-bootstrap-authentication") != "true" {
        return Err("not marked usage-bootstrap-authentication=true.".to_owned());
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return Err(format!(
                "has invalid value for key auth-extra-groups: invalid bootstrap group {group:?}."
            ));
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    Ok(UserInfo { name: format!("{USER_PREFIX}{id}"), groups, ..UserInfo::default() })
}

/// Whether the end is past; a secret without one stays, one that cannot be read has ended.
fn has_expired(expiration: &str, now: Timestamp) -> bool {
    !expiration.is_empty() && expiration.parse::<Timestamp>().map_or(true, |end| now >= end)
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= LONGEST_GROUP
        && rest.bytes().all(|byte| is_plain(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().next_back().is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_lets_in_who_knows_it() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        for (what, key, value, expected) in [
            ("good", "description", "x", ""),
            ("another secret", "token-secret", "0000000000000000", "token-secret"),
            ("another id", "token-id", "zzzzzz", "token-id"),
            ("ended", "expiration", "2026-01-01T00:00:00Z", "has expired"),
            ("not ended", "expiration", "2026-01-01T00:00:01Z", ""),
            ("no time", "expiration", "tomorrow", "has expired"),
            ("for signing only", "usage-bootstrap-authentication", "false", "not marked"),
            ("a group", "auth-extra-groups", "system:bootstrappers:a:b", ""),
            ("a group too many", "auth-extra-groups", "system:masters", "invalid bootstrap group"),
            ("a group too long", "auth-extra-groups", "system:bootstrappers:a-", "invalid bootstrap group"),
        ] {
            let mut data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
                "usage-bootstrap-authentication": "true"});
            data[key] = json!(value);
            for (_, value) in data.as_object_mut().expect("an object") {
                *value = json!(STANDARD.encode(value.as_str().expect("text")));
            }
            let secret = json!({"metadata": {"uid": "u"}, "type": BOOTSTRAP_TYPE, "data": data});
            let stored = Object::parse(secret.to_string().as_bytes()).expect("read");
            let problem = user(&stored, "abcdef", "0123456789abcdef", now).err().unwrap_or_default();
            assert!(
                problem.contains(expected) && problem.is_empty() == expected.is_empty(),
                "{what}: {problem}"
            );
            assert!(!problem.contains("0123456789abcdef"), "{what} tells the secret");
        }
        assert_eq!(parts("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in ["abcdef", "abcdef.", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef0", "a.b.c"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
