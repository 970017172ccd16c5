//! `url('https://…')` and its parts, read as Go's `net/url` reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Args, Run, go};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::value::{Entries, Eval, Key, Map, Text, Value};

/// A URL with a scheme, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: String,
    host: String,
    /// Escaped.
    path: String,
    query: String,
    fragment: String,
}

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "url" => |args| {
            let [text] = args.texts()?;
            let parsed = parse_request_uri(text).and_then(|_| parse(text));
            let wrong =
                |error| EvalError::new(format!("URL parse error during conversion from string: {error}"));
            Ok(Value::Extension(Extension::Url(Arc::new(parsed.map_err(wrong)?))))
        },
        "isURL" => |args| {
            let [text] = args.texts()?;
            Ok(Value::Bool(parse_request_uri(text).is_ok()))
        },
        "getScheme" => |args| part(args, |url| url.scheme.clone()),
        "getHost" => |args| part(args, |url| url.host.clone()),
        "getHostname" => |args| part(args, |url| host_and_port(&url.host).0.to_owned()),
        "getPort" => |args| part(args, |url| host_and_port(&url.host).1.to_owned()),
        "getEscapedPath" => |args| part(args, |url| url.path.clone()),
        "getQuery" => query,
        _ => return None,
    })
}

fn part<'a>(args: Args<'_, 'a>, of: fn(&Url) -> String) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Extension(Extension::Url(url))] => Ok(Value::text(of(url))),
        _ => args.refuse(),
    }
}

fn query<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Url(url))] = &args.values[..] else { return args.refuse() };
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            found.entry(key).or_default().push(Value::text(value));
        }
    }
    let mut entries = Entries::default();
    for (key, values) in found {
        entries.insert(Key::String(Text::Shared(key.into())), Value::list(values));
    }
    Ok(Value::Map(Map::Values(Arc::new(entries))))
}

/// Without brackets, and what is behind the last colon.
fn host_and_port(host: &str) -> (&str, &str) {
    let after_bracket = host.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match host.get(after_bracket..).and_then(|tail| tail.rfind(':')) {
        Some(colon) => {
            let (name, port) = host.split_at(after_bracket + colon);
            (name, port.get(1..).unwrap_or_default())
        }
        None => (host, ""),
    };
    (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
}

/// As `url.ParseRequestURI`: absolute, or a path from the root; a fragment is no fragment there.
pub(super) fn parse_request_uri(text: &str) -> Result<Url, String> {
    parse_rest(text, true).map_err(|why| format!("parse {}: {why}", go::quote(text)))
}

fn parse(text: &str) -> Result<Url, String> {
    let (head, fragment) = text.split_once('#').unwrap_or((text, ""));
    let wrong = |why: String| format!("parse {}: {why}", go::quote(text));
    let mut url = parse_rest(head, false).map_err(wrong)?;
    url.fragment = unescape(fragment, false).ok_or_else(|| wrong(bad_escape(fragment)))?;
    Ok(url)
}

fn parse_rest(text: &str, via_request: bool) -> Result<Url, String> {
    if text.bytes().any(|c| c < 0x20 || c == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() && via_request {
        return Err("empty url".to_owned());
    }
    let (scheme, rest) = scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url {
        scheme: scheme.to_ascii_lowercase(),
        user: String::new(),
        host: String::new(),
        path: String::new(),
        query: query.to_owned(),
        fragment: String::new(),
    };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            // `mailto:someone`: opaque.
            return Ok(url);
        }
        if via_request {
            return Err("invalid URI for request".to_owned());
        }
        if rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let has_authority =
        rest.starts_with("//") && (!scheme.is_empty() || !via_request && !rest.starts_with("///"));
    let path = match rest.strip_prefix("//").filter(|_| has_authority) {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (url.user, url.host) = self::authority(authority)?;
            path
        }
        None => rest,
    };
    unescape(path, false).ok_or_else(|| bad_escape(path))?;
    url.path = escape_path(path);
    Ok(url)
}

/// The scheme before the first colon, if it can be one.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())),
            _ => break,
        }
    }
    Ok(("", text))
}

fn authority(text: &str) -> Result<(String, String), String> {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let user_char = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !user.chars().all(user_char) || unescape(user, false).is_none() {
        return Err("net/url: invalid userinfo".to_owned());
    }
    if let Some(inner) = host.strip_prefix('[') {
        let Some((_, port)) = inner.rsplit_once(']') else { return Err("missing ']' in host".to_owned()) };
        check_port(port)?;
    } else if let Some(colon) = host.rfind(':') {
        check_port(host.get(colon..).unwrap_or_default())?;
    }
    let host_char =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    if let Some(bad) = host.chars().find(|c| !host_char(*c)) {
        return Err(format!("invalid character {} in host name", go::quote(&bad.to_string())));
    }
    let host = unescape(host, false).ok_or_else(|| bad_escape(host))?;
    Ok((user.to_owned(), host))
}

fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    if port.is_empty() || (port.starts_with(':') && digits.bytes().all(|c| c.is_ascii_digit())) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", go::quote(port)))
}

/// Text with `%xx` decoded; none if one is malformed or the bytes are no text.
fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |c: &u8| char::from(*c).to_digit(16);
                out.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = tail;
                continue;
            }
            (b'%', _) => return None,
            (b'+', _) if plus_is_space => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        rest = tail;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn bad_escape(text: &str) -> String {
    let at = text.char_indices().find(|(at, c)| {
        let digits = text.get(at + 1..at + 3);
        *c == '%' && !digits.is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
    });
    let shown: String = at.map_or_else(String::new, |(at, _)| text.chars().skip(at).take(3).collect());
    format!("invalid URL escape {}", go::quote(&shown))
}

/// A path with what must be escaped escaped; what is already stays.
fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
