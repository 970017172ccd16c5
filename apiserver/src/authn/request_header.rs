//! Front proxies: a proxy with a certificate of the front-proxy authority says in headers who is asking
//! (`--requestheader-*`).

use std::collections::BTreeMap;

use component_base::user::UserInfo;
use http::{HeaderMap, HeaderName};

use super::settings::RequestHeaderSettings;
use super::{Asked, Known, Outcome};
use crate::call::Server;

/// Cleared from every request, whatever the settings: later servers must not believe them.
const USUAL_HEADERS: [&str; 3] = ["x-remote-user", "x-remote-uid", "x-remote-group"];
const USUAL_PREFIX: &str = "x-remote-extra-";

pub(super) fn authenticate(server: &Server, asked: &Asked<'_>) -> Outcome {
    let settings = &server.authentication.settings.request_header;
    let Some(peer) = &asked.peer else { return Ok(None) };
    let Some(user) = user(settings, asked.headers) else { return Ok(None) };
    peer.is_front_proxy(&server.config.pki, server.clock.now())?;
    if !settings.allowed_names.is_empty()
        && settings.allowed_names.iter().all(|name| name != peer.common_name())
    {
        return Err(format!("x509: subject with cn={} is not in the allowed list", peer.common_name()));
    }
    Ok(Some(Known { user, audiences: asked.audiences.to_vec() }))
}

/// Whom the headers name; `None` when they name nobody.
fn user(settings: &RequestHeaderSettings, headers: &HeaderMap) -> Option<UserInfo> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &settings.extra_prefixes {
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(prefix.to_lowercase().as_str()) {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                extra.entry(unescaped(key)).or_default().push(value);
            }
        }
    }
    Some(UserInfo {
        name: first(headers, &settings.username_headers)?,
        uid: first(headers, &settings.uid_headers).unwrap_or_default(),
        groups: settings.group_headers.iter().flat_map(|name| values(headers, name)).collect(),
        extra,
    })
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values.filter(|value| !value.is_empty()).collect()
}

/// The first value of the first header that has one.
fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().find_map(|name| values(headers, name).into_iter().next())
}

/// Header names cannot say everything that keys can, so the rest is percent-encoded. What is not encoded well stays.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(code) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return key.to_owned();
        };
        bytes.push(code);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

/// Takes away everything that says who is asking.
pub(super) fn clear(settings: &RequestHeaderSettings, headers: &mut HeaderMap) {
    let named = [&settings.username_headers, &settings.uid_headers, &settings.group_headers];
    let named = || named.into_iter().flatten().map(String::as_str).chain(USUAL_HEADERS);
    let prefixes = || settings.extra_prefixes.iter().map(String::as_str).chain([USUAL_PREFIX]);
    let begins = |name: &str, prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let says = |name: &HeaderName| {
        let name = name.as_str();
        named().any(|one| one.eq_ignore_ascii_case(name)) || prefixes().any(|prefix| begins(name, prefix))
    };
    let ours: Vec<HeaderName> = headers.keys().filter(|name| says(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_who_asks_and_are_taken_away() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", ""),
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-example.com%2fscope", "read"),
            ("x-remote-extra-broken%zz", "x"),
            ("accept", "*/*"),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }
        let settings = RequestHeaderSettings::default();
        let found = user(&settings, &headers).expect("a user");
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("jane", "7"));
        assert_eq!(found.groups, ["a", "b"]);
        assert_eq!(found.extra["example.com/scope"], ["read"]);
        assert_eq!(found.extra["broken%zz"], ["x"]);
        clear(&settings, &mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        assert_eq!(user(&settings, &headers), None);
    }
}
