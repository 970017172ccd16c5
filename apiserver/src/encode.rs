//! Objects become bytes once, at commit. The resourceVersion stands first in `metadata`, so that the
//! store can splice it in and a deletion event can replace it without parsing.

use api::Kind;
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::storage::Draft;

const MARK: &[u8] = b"\"metadata\":{\"resourceVersion\":\"";

/// Encodes an object of `kind` up to its missing revision.
pub(crate) fn draft(kind: &Kind, object: &Value) -> Draft {
    Draft { lifetime: kind.strategy.lifetime(), ..draft_as(&kind.kind, &kind.api_version(), object) }
}

/// Like [`draft`], under a kind and version that need not be a row's.
pub(crate) fn draft_as(kind: &str, api_version: &str, object: &Value) -> Draft {
    let mut head = Vec::with_capacity(96);
    head.extend_from_slice(b"{\"kind\":");
    write(&mut head, &Value::from(kind));
    head.extend_from_slice(b",\"apiVersion\":");
    write(&mut head, &Value::from(api_version));
    head.push(b',');
    head.extend_from_slice(MARK);
    let mut tail = Vec::with_capacity(1024);
    tail.push(b'"');
    members(&mut tail, object.get("metadata"), &["resourceVersion"]);
    tail.push(b'}');
    members(&mut tail, Some(object), &["kind", "apiVersion", "metadata"]);
    tail.push(b'}');
    Draft { head: head.into(), tail: tail.into(), lifetime: None }
}

/// What an object would look like if it were stored: with no resourceVersion (dry runs).
pub(crate) fn unstored(kind: &Kind, object: &Value) -> Bytes {
    let mut object = object.clone();
    object["kind"] = kind.kind.as_ref().into();
    object["apiVersion"] = kind.api_version().into();
    Bytes::from(object.to_string())
}

/// The same object with another resourceVersion; the bytes must come from [`draft`].
pub(crate) fn at_revision(bytes: &Bytes, revision: u64) -> Bytes {
    let Some(start) = bytes.windows(MARK.len()).position(|window| window == MARK) else {
        return bytes.clone();
    };
    let start = start + MARK.len();
    let end = bytes[start..].iter().position(|byte| *byte == b'"').map_or(start, |length| start + length);
    let number = revision.to_string();
    let mut out = Vec::with_capacity(bytes.len() + number.len());
    out.extend_from_slice(&bytes[..start]);
    out.extend_from_slice(number.as_bytes());
    out.extend_from_slice(&bytes[end..]);
    out.into()
}

/// The metadata-only view of an object, made of its bytes without reading more of them than it takes to
/// find where they end.
pub(crate) fn metadata_only(api_version: &str, object: &[u8]) -> Result<Bytes, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let Metadata { metadata } = serde_json::from_slice(object)?;
    let text = format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{api_version}\",\"metadata\":{}}}",
        metadata.get()
    );
    Ok(Bytes::from(text))
}

fn members(out: &mut Vec<u8>, object: Option<&Value>, except: &[&str]) {
    let Some(Value::Object(map)) = object else { return };
    for (key, value) in map {
        if !except.contains(&key.as_str()) {
            out.push(b',');
            write(out, &Value::from(key.as_str()));
            out.push(b':');
            write(out, value);
        }
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    // Writing JSON values into memory cannot fail: keys are strings and memory does not refuse.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spliced_draft_is_the_object() {
        let table = api::kinds::builtin();
        let kind = table.resource("", "v1", "configmaps").expect("a row");
        let object =
            json!({"apiVersion": "x", "metadata": {"name": "a", "resourceVersion": "9"}, "data": {"k": "v"}});
        let draft = draft(kind, &object);
        let bytes = Bytes::from([&draft.head[..], b"7", &draft.tail[..]].concat());
        let expect = |revision: &str| {
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"},
                   "metadata": {"name": "a", "resourceVersion": revision}})
        };
        let parse = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).expect("JSON");
        assert_eq!(parse(&bytes), expect("7"));
        assert_eq!(parse(&at_revision(&bytes, 1234)), expect("1234"));
        let metadata = metadata_only("meta.k8s.io/v1", &bytes).expect("JSON");
        assert_eq!(
            parse(&metadata),
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                   "metadata": {"name": "a", "resourceVersion": "7"}})
        );
    }
}
