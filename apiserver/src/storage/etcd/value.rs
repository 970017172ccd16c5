//! What stands in etcd, and how it becomes an [`Entry`].
//!
//! Entry points: [`Root::encode`] and [`Root::entry`]. An object is stored with an empty
//! `metadata.resourceVersion`, because etcd numbers a transaction only when it is done. Reading parses
//! the JSON once without building it, which checks it and borrows the text between the quotes; where
//! that text stands is the gap, whatever the order of the fields and whoever wrote them. An object
//! written by hand without that field, or with escapes in it, is rebuilt. What is no JSON object is
//! told once per sight in the log and otherwise treated as not there.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut as _, Bytes, BytesMut};
use etcd_client::KeyValue;
use serde::Deserialize;
use serde_json::Value;

use crate::encryption::{Encryption, is_sealed};
use crate::storage::{Draft, Entry, Revision, StoreError};

/// The part of etcd's keys that is ours.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// What our keys start with.
    pub(super) start: String,
    /// What encrypts their values.
    pub(super) encryption: Encryption,
}

/// The gap, borrowed from the text it was found in.
#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    metadata: Inner<'a>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, rename = "resourceVersion")]
    gap: &'a str,
}

/// etcd's numbers are never negative; ours are never that large.
pub(super) fn revision(number: i64) -> Revision {
    number.try_into().unwrap_or_default()
}

/// A revision as etcd wants it.
pub(super) fn number(revision: Revision) -> i64 {
    revision.try_into().unwrap_or(i64::MAX)
}

/// First key after all that start with `prefix`, or `\0` for "to the end", as etcd has it.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

impl Root {
    /// What is written to etcd.
    pub(super) fn encode(&self, key: &str, draft: &Draft) -> Result<Vec<u8>, StoreError> {
        let clear = [&draft.head[..], &draft.tail[..]].concat();
        Ok(self.encryption.seal(key, &clear)?.unwrap_or(clear))
    }

    /// A key of ours.
    pub(super) fn key<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok().filter(|key| key.starts_with(&self.start))
    }

    /// The prefix to read in etcd for those of our keys that start with `prefix`, if there can be any.
    pub(super) fn narrow<'a>(&'a self, prefix: &'a str) -> Option<&'a str> {
        if prefix.starts_with(&self.start) {
            Some(prefix)
        } else {
            self.start.starts_with(prefix).then_some(&*self.start)
        }
    }

    /// A key and value of etcd as an entry, if it is one.
    pub(super) fn entry(&self, found: &KeyValue) -> Option<Arc<Entry>> {
        let key = self.key(found.key())?;
        let mod_revision = revision(found.mod_revision());
        let Some(bytes) = self.opened(key, found.value(), mod_revision) else {
            tracing::warn!(key, "what etcd holds there is no JSON object; it is left alone and not shown");
            return None;
        };
        Some(Arc::new(Entry {
            key: key.into(),
            bytes,
            create_revision: revision(found.create_revision()),
            mod_revision,
            index: OnceLock::new(),
        }))
    }

    /// The object in clear with its revision filled in; as it is stored if no key opens it.
    fn opened(&self, key: &str, value: &[u8], revision: Revision) -> Option<Bytes> {
        if !is_sealed(value) {
            return splice(value, revision);
        }
        let stored = Bytes::copy_from_slice(value);
        match self.encryption.open(key, stored.clone()) {
            Ok(clear) => splice(&clear, revision),
            Err(_refused_when_asked_for) => Some(stored),
        }
    }
}

/// The object with its revision filled in.
fn splice(value: &[u8], revision: Revision) -> Option<Bytes> {
    let number = revision.to_string();
    let text = std::str::from_utf8(value).ok()?;
    let Ok(Outer { metadata: Inner { gap } }) = serde_json::from_str::<Outer<'_>>(text) else {
        return rebuild(text, number);
    };
    let start = gap.as_ptr().addr() - text.as_ptr().addr();
    let mut bytes = BytesMut::with_capacity(value.len() - gap.len() + number.len());
    bytes.put_slice(value.get(..start)?);
    bytes.put_slice(number.as_bytes());
    bytes.put_slice(value.get(start + gap.len()..)?);
    Some(bytes.freeze())
}

/// The same for an object that has no gap.
fn rebuild(text: &str, number: String) -> Option<Bytes> {
    let mut object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    match object.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new())) {
        Value::Object(metadata) => metadata.insert("resourceVersion".to_owned(), number.into()),
        other => {
            *other = serde_json::json!({ "resourceVersion": number });
            None
        }
    };
    Some(Value::Object(object).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_goes_into_the_gap_and_nowhere_else() {
        for (value, expected) in [
            (
                r#"{"kind":"A","metadata":{"resourceVersion":"","name":"a"}}"#,
                Some(r#"{"kind":"A","metadata":{"resourceVersion":"7","name":"a"}}"#),
            ),
            (
                r#"{"data":{"x\"resourceVersion":"","metadata":{"resourceVersion":""}},"metadata" : {"a":[{}], "resourceVersion" : ""} }"#,
                Some(
                    r#"{"data":{"x\"resourceVersion":"","metadata":{"resourceVersion":""}},"metadata" : {"a":[{}], "resourceVersion" : "7"} }"#,
                ),
            ),
            (r#"{"metadata":{"resourceVersion":"123"}}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#)),
            (r#"{"metadata":{"resourceVersion":"\n"}}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#)),
            (r#"{"metadata":{"resourceVersion":5}}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#)),
            (r#"{"metadata":null}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#)),
            ("{}", Some(r#"{"metadata":{"resourceVersion":"7"}}"#)),
            (r#"{"metadata":{"resourceVersion":""}"#, None),
            (r#"[{"metadata":{"resourceVersion":""}}]"#, None),
            ("k8s\0protobuf", None),
            ("", None),
        ] {
            let spliced = splice(value.as_bytes(), 7);
            assert_eq!(spliced.as_deref(), expected.map(str::as_bytes), "{value}");
        }
        assert!(splice(&[0xff, 0xfe], 7).is_none());
    }

    #[test]
    fn a_range_ends_after_its_prefix() {
        assert_eq!(end_of("/a/"), b"/a0");
        assert_eq!(end_of(""), [0]);
    }
}
