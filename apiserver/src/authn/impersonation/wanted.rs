//! The user that a request's headers ask for.
//!
//! Entry points: [`take`] and [`check_extra`].

use std::collections::BTreeMap;

use api::{Cause, Status};
use component_base::user::UserInfo;
use http::HeaderMap;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// Reads the headers and removes them: nobody further on may tell the difference. `None` if there are none.
///
/// # Errors
/// 400 for headers that name no user.
pub(super) fn take(headers: &mut HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut wanted = UserInfo { name: one(USER), uid: one(UID), ..UserInfo::default() };
    wanted.groups = headers.get_all(GROUP).iter().map(text).collect();
    for (name, value) in headers.iter() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted.extra.entry(unescaped(key)).or_default().push(text(value));
        }
    }
    if wanted == UserInfo::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        let shown = format!("requested {} without impersonating a user name", go_syntax(&wanted));
        return Err(Status::bad_request(shown));
    }
    let ours: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    Ok(Some(wanted))
}

/// Percent-decoded, or as it is if that cannot be done.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return key.to_owned();
        };
        bytes.push(byte);
        rest = tail.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

/// As Go's `%#v` shows upstream's `user.DefaultInfo`.
fn go_syntax(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        if items.is_empty() {
            "[]string(nil)".to_owned()
        } else {
            format!("[]string{{{}}}", items.join(", "))
        }
    };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{}, Extra:map[string][]string{extra}}}",
        user.name,
        user.uid,
        list(&user.groups)
    )
}

/// What the limited ways to impersonate demand of extras.
///
/// # Errors
/// What is wrong.
pub(super) fn check_extra(extra: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let say = |what: &str| Err(format!("impersonating {what} is not allowed"));
    for (key, values) in extra {
        if key.is_empty() {
            return say("the empty string key in extra");
        }
        if let Some(cause) = domain_prefixed(key) {
            return Err(format!("impersonating an invalid key in extra is not allowed: {cause}"));
        }
        if *key != key.to_lowercase() {
            return Err(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
        }
        if values.iter().any(String::is_empty) {
            return say("the empty string value in extra");
        }
    }
    Ok(())
}

/// Upstream's `IsDomainPrefixedPath`.
fn domain_prefixed(key: &str) -> Option<Cause> {
    let invalid = |detail: &str| Some(Cause::invalid("extra.key", &key.into(), detail));
    let Some((domain, path)) =
        key.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return invalid("must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    if let Some(error) = api::names::dns1123_subdomain(domain).first() {
        return invalid(error);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if path.chars().all(allowed) {
        return None;
    }
    invalid("Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value): (http::HeaderName, http::HeaderValue)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn headers_become_a_user_and_go() {
        let mut map = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2Fproject", "x"),
            ("impersonate-extra-acme.com%2Fproject", "y"),
            ("impersonate-extra-bad%2", "z"),
            ("accept", "all"),
        ]);
        let user = take(&mut map).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.uid.as_str(), user.groups.join(",").as_str()),
            ("jane", "7", "a,b")
        );
        let extra = [
            ("acme.com/project".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
            ("bad%2".to_owned(), vec!["z".to_owned()]),
        ];
        assert_eq!(user.extra, extra.into());
        assert_eq!(map.keys().count(), 1);
        assert_eq!(take(&mut map).unwrap(), None);
    }

    #[test]
    fn parts_without_a_name_are_refused() {
        let mut map = headers(&[("impersonate-group", "a"), ("impersonate-extra-k", "v")]);
        assert_eq!(
            take(&mut map).unwrap_err().message,
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"a\"}, Extra:map[string][]string{\"k\":[]string{\"v\"}}} without impersonating a user name"
        );
    }

    #[test]
    fn keys_of_extras() {
        let check = |key: &str, value: &str| {
            check_extra(&[(key.to_owned(), vec![value.to_owned()])].into()).err().unwrap_or_default()
        };
        assert_eq!(check("acme.io/foo", "x"), "");
        assert_eq!(check("acme.io/foo", ""), "impersonating the empty string value in extra is not allowed");
        assert_eq!(
            check("foo", "x"),
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")"
        );
    }
}
