//! Bearer tokens, in `Authorization` or among the subprotocols of a WebSocket: an ordered table of those who
//! may know one.
//!
//! Entry points: [`authenticate`], [`authenticate_websocket`], [`known`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue};

use super::{Asked, Outcome, bootstrap_token, jwt, legacy_token, service_account, token_file, token_webhook};
use crate::authz::aggregate;
use crate::call::Server;

/// What is said of a token that nobody knows.
pub(super) const INVALID: &str = "invalid bearer token";

/// Longer ones cost more to read than they can be worth.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// The subprotocol that carries a token, which JavaScript in a browser cannot put into a header.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Judges a token for audiences.
type TokenAuthenticator = for<'a> fn(&'a Server, &'a str, &'a [String]) -> BoxFuture<'a, Outcome>;

/// In upstream's order: what is known here first, then what must be asked for.
const TOKEN_AUTHENTICATORS: &[TokenAuthenticator] = &[
    |server, token, audiences| Box::pin(async move { token_file::authenticate(server, token, audiences) }),
    |server, token, audiences| Box::pin(legacy_token::authenticate(server, token, audiences)),
    |server, token, audiences| Box::pin(service_account::authenticate(server, token, audiences)),
    |server, token, audiences| {
        Box::pin(async move { bootstrap_token::authenticate(server, token, audiences) })
    },
    |server, token, audiences| Box::pin(jwt::authenticate(server, token, audiences)),
    |server, token, audiences| Box::pin(token_webhook::authenticate(server, token, audiences)),
];

/// Who holds a token that is meant for one of the audiences.
pub(super) async fn known(server: &Server, token: &str, audiences: &[String]) -> Outcome {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(INVALID.to_owned());
    }
    let mut problems = Vec::new();
    for authenticator in TOKEN_AUTHENTICATORS {
        match authenticator(server, token, audiences).await {
            Ok(None) => {}
            Ok(Some(known)) => return Ok(Some(known)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(None) } else { Err(aggregate(&problems)) }
}

/// For authenticators whose tokens are for the API server alone: which of the audiences asked for that is.
pub(super) fn own_audiences(server: &Server, audiences: &[String]) -> Option<Vec<String>> {
    let own = service_account::issuer(server);
    let meant: Vec<String> = audiences.iter().filter(|audience| **audience == own).cloned().collect();
    (!meant.is_empty()).then_some(meant)
}

pub(super) async fn authenticate(server: &Server, asked: &mut Asked<'_>) -> Outcome {
    let Some(token) = bearer(asked.headers) else { return Ok(None) };
    known(server, &token, asked.audiences).await?.map(Some).ok_or_else(|| INVALID.to_owned())
}

/// The token of an `Authorization: Bearer` header; other schemes are nobody's business.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = header.splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

pub(super) async fn authenticate_websocket(server: &Server, asked: &mut Asked<'_>) -> Outcome {
    let Some((token, others)) = protocols(asked.headers)? else { return Ok(None) };
    let known = known(server, &token, asked.audiences).await?.ok_or_else(|| INVALID.to_owned())?;
    if let Ok(others) = HeaderValue::from_str(&others.join(",")) {
        asked.headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    }
    Ok(Some(known))
}

/// The token among the subprotocols, and the others: the server must have one to agree to.
fn protocols(headers: &HeaderMap) -> Result<Option<(String, Vec<String>)>, String> {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .any(|value| value.to_str().unwrap_or_default().to_lowercase().contains(word))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Ok(None);
    }
    let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let all = all.flat_map(|value| value.split(',')).map(str::trim);
    let (tokens, others): (Vec<&str>, Vec<&str>) = all.partition(|word| word.starts_with(PROTOCOL_PREFIX));
    let encoded = match tokens.as_slice() {
        [] => return Ok(None),
        [one] => one.strip_prefix(PROTOCOL_PREFIX).unwrap_or_default(),
        _ => return Err("multiple base64.bearer.authorization tokens specified".to_owned()),
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| "invalid base64.bearer.authorization token encoding".to_owned())?;
    let token =
        String::from_utf8(bytes).map_err(|_| "invalid base64.bearer.authorization token".to_owned())?;
    if token.is_empty() {
        return Ok(None);
    }
    if others.is_empty() {
        return Err("missing additional subprotocol".to_owned());
    }
    Ok(Some((token, others.into_iter().map(str::to_owned).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_headers_hold_tokens() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc def", Some("abc")),
            (" Bearer abc ", Some("abc")),
            ("Bearer  abc", None),
            ("Basic abc", None),
            ("Bearer", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().expect("a value"))]);
            assert_eq!(bearer(&headers).as_deref(), expected, "{header:?}");
        }
    }

    #[test]
    fn a_websocket_brings_its_token_as_a_protocol() {
        let token = format!("{PROTOCOL_PREFIX}{}", URL_SAFE_NO_PAD.encode("abc"));
        for (offered, expected) in [
            (
                format!("v5.channel.k8s.io, {token}"),
                Ok(Some(("abc".to_owned(), vec!["v5.channel.k8s.io".to_owned()]))),
            ),
            ("v5.channel.k8s.io".to_owned(), Ok(None)),
            (token.clone(), Err("missing additional subprotocol".to_owned())),
            (
                format!("{token},{token}"),
                Err("multiple base64.bearer.authorization tokens specified".to_owned()),
            ),
            (
                format!("{PROTOCOL_PREFIX}%,x"),
                Err("invalid base64.bearer.authorization token encoding".to_owned()),
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.parse().expect("a value"));
            assert_eq!(protocols(&headers), expected, "{offered}");
        }
    }
}
