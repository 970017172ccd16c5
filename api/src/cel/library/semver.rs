//! `semver('1.2.3')`: versions as semver.org 2.0.0 defines them, ordered as it says.

use std::cmp::Ordering;

use std::sync::Arc;

use super::{Args, Run, go};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::value::{Eval, Value};

/// A version. Build metadata counts for equality only where upstream's does: not at all.
#[derive(Debug, Clone)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        compare(self, other) == Ordering::Equal
    }
}

/// A part of a pre-release: numbers come before names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Name(String),
}

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "semver" => |args| {
            let version = read(&args)?.map_err(EvalError::new)?;
            Ok(Value::Extension(Extension::Semver(Arc::new(version))))
        },
        "isSemver" => |args| Ok(Value::Bool(read(&args)?.is_ok())),
        "major" => |args| part(args, 0),
        "minor" => |args| part(args, 1),
        "patch" => |args| part(args, 2),
        _ => return None,
    })
}

fn part<'a>(args: Args<'_, 'a>, at: usize) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Extension(Extension::Semver(version))] => {
            Ok(Value::Int(version.numbers.get(at).copied().unwrap_or_default() as i64))
        }
        _ => args.refuse(),
    }
}

fn read(args: &Args<'_, '_>) -> Eval<Result<Semver, String>> {
    match &args.values[..] {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(parse(text)),
        [Value::String(text), Value::Bool(true)] => Ok(normalize(text).and_then(|text| parse(&text))),
        _ => args.refuse(),
    }
}

/// Without a leading `v`, with three numbers, without leading zeros.
fn normalize(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = Vec::new();
    for part in text.splitn(3, '.') {
        let mut part = part.to_owned();
        if part.len() > 1 {
            part = part.trim_start_matches('0').to_owned();
            if !part.starts_with(|c: char| c.is_ascii_digit()) {
                part.insert(0, '0');
            }
        }
        parts.push(part);
    }
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3.max(parts.len()), "0".to_owned());
    Ok(parts.join("."))
}

fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let &[major, minor, rest] = &parts[..] else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
    let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
    let numbers = [number(major, "Major")?, number(minor, "Minor")?, number(patch, "Patch")?];
    let pre = match pre {
        Some(pre) => pre.split('.').map(identifier).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !is_identifier(part) {
            return Err(format!("Invalid character(s) found in build meta data {}", go::quote(part)));
        }
    }
    Ok(Semver { numbers, pre })
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    if !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {} number {}",
            what.to_lowercase(),
            go::quote(text)
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {}", go::quote(text)));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {}: invalid syntax", go::quote(text)))
}

fn identifier(text: &str) -> Result<Identifier, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|c| c.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            let quoted = go::quote(text);
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {quoted}"));
        }
        let wrong = |_| format!("strconv.ParseUint: parsing {}: value out of range", go::quote(text));
        return text.parse().map(Identifier::Number).map_err(wrong);
    }
    if is_identifier(text) {
        return Ok(Identifier::Name(text.to_owned()));
    }
    Err(format!("Invalid character(s) found in prerelease {}", go::quote(text)))
}

/// The order of precedence.
pub(super) fn compare(a: &Semver, b: &Semver) -> Ordering {
    a.numbers.cmp(&b.numbers).then_with(|| match (a.pre.is_empty(), b.pre.is_empty()) {
        // A release comes after its pre-releases.
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => a.pre.cmp(&b.pre),
    })
}
