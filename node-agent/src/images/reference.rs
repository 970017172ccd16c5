//! Names of images as Docker reads them: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;

use super::ImageError;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// Longest repository, with domain.
const MAX_NAME: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// A complete name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Registry host, perhaps with port.
    pub domain: String,
    /// Repository in it.
    pub path: String,
    /// `latest` when neither tag nor digest is given.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a name and completes it.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        parse(text).ok_or_else(|| ImageError::InvalidReference(text.to_owned()))
    }

    /// Domain and path.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(out, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<Reference> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(valid(digest, is_digest)?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; before, it is a port.
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[slash..].find(':') {
        Some(at) => (&name[..slash + at], Some(valid(&name[slash + at + 1..], is_tag)?)),
        None => (name, None),
    };
    // 64 hex digits are an image id, never a name.
    if name.len() == 64 && name.bytes().all(is_hex) {
        return None;
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_domain_by_look(first) => (first, rest.to_owned()),
        _ => (DEFAULT_DOMAIN, name.to_owned()),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let path =
        if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("{OFFICIAL}{path}") } else { path };
    let sound = is_domain(domain) && path.split('/').all(is_component);
    if !sound || domain.len() + 1 + path.len() > MAX_NAME {
        return None;
    }
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Some(Reference { domain: domain.to_owned(), path, tag, digest })
}

fn valid(text: &str, check: fn(&str) -> bool) -> Option<String> {
    check(text).then(|| text.to_owned())
}

/// Docker's rule for telling a registry from the first part of a path.
fn is_domain_by_look(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    plain(first)
        && plain(last)
        && bytes
            .split(plain)
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|byte| *byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Only SHA-256, the one algorithm in use.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Reference::parse(text).map(|r| r.to_string()).unwrap(), expect);
        };
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("me/app", "docker.io/me/app:latest");
        check("index.docker.io/busybox", "docker.io/library/busybox:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:t", "localhost:5000/a/b:t");
        check("registry.k8s.io/e2e-test-images/agnhost:2.53", "registry.k8s.io/e2e-test-images/agnhost:2.53");
        check("a__b/c---d", "docker.io/a__b/c---d:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&format!("busybox@{digest}"), &format!("docker.io/library/busybox@{digest}"));
        check(&format!("busybox:1@{digest}"), &format!("docker.io/library/busybox:1@{digest}"));
    }

    #[test]
    fn nonsense_is_refused() {
        let id = "0".repeat(64);
        let long = "a".repeat(256);
        for text in [
            "",
            "Busybox",
            "a:",
            "a:-b",
            "a@sha256:12",
            "a//b",
            "/a",
            "a/",
            "a_-b",
            "x.io:/a",
            "a b",
            &id,
            &long,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
