//! What tokens depend on, kept in memory: accounts, and the pods, nodes and secrets tokens live and die with;
//! and the tokens that are stored in secrets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

use crate::followed::Index;
use crate::storage::Entry;

/// What is followed.
pub(super) const KINDS: [(&str, &str); 4] =
    [("", "serviceaccounts"), ("", "pods"), ("", "nodes"), ("", "secrets")];

/// Secret types whose content authentication needs.
pub(super) const LEGACY_TYPE: &str = "kubernetes.io/service-account-token";
pub(super) const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";

/// One object, as far as a token depends on it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) uid: Box<str>,
    /// When it was asked to go, if it was.
    pub(super) deleted: Option<Timestamp>,
    /// What is in it, if it is a secret with a token.
    pub(super) token: Option<Box<StoredToken>>,
}

/// A secret with a token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredToken {
    pub(super) kind: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) data: BTreeMap<String, String>,
}

/// Objects by storage key.
#[derive(Default)]
pub(crate) struct Credentials(BTreeMap<Box<str>, Object>);

impl Credentials {
    pub(super) fn get(&self, key: &str) -> Option<&Object> {
        self.0.get(key)
    }
}

/// The parts of a stored object that are read.
#[derive(Deserialize)]
struct Stored {
    metadata: Metadata,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Object {
    /// Reads a stored object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let stored: Stored = serde_json::from_slice(bytes)?;
        let token = match stored.kind {
            Some(kind) if [LEGACY_TYPE, BOOTSTRAP_TYPE].contains(&kind.as_str()) => {
                let data = stored.data.unwrap_or_default().into_iter().filter_map(|(key, value)| {
                    Some((key, String::from_utf8(STANDARD.decode(value).ok()?).ok()?))
                });
                let labels = stored.metadata.labels.unwrap_or_default();
                Some(Box::new(StoredToken { kind, labels, data: data.collect() }))
            }
            _ => None,
        };
        Ok(Self { uid: stored.metadata.uid, deleted: stored.metadata.deletion_timestamp, token })
    }
}

impl Index for Credentials {
    fn put(&mut self, entry: &Entry) {
        match Object::parse(&entry.bytes) {
            Ok(object) => drop(self.0.insert((*entry.key).into(), object)),
            Err(error) => {
                tracing::error!(key = &*entry.key, %error, "authentication cannot read this object");
                self.remove(&entry.key);
            }
        }
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tokens_depend_on_is_kept() {
        let pod = br#"{"kind":"Pod","metadata":{"uid":"u","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"x":[1]}}"#;
        let pod = Object::parse(pod).expect("read");
        assert_eq!((&*pod.uid, pod.deleted.is_some(), pod.token), ("u", true, None));
        let secret = br#"{"metadata":{"uid":"u"},"type":"Opaque","data":{"a":"YQ=="}}"#;
        assert_eq!(Object::parse(secret).expect("read").token, None);
        let secret = br#"{"metadata":{"uid":"u"},"type":"bootstrap.kubernetes.io/token","data":{"a":"YQ==","b":"//8="}}"#;
        let token = Object::parse(secret).expect("read").token.expect("a token");
        assert_eq!(token.data, BTreeMap::from([("a".to_owned(), "a".to_owned())]));
    }
}
