//! Lines of a watch, in the form the client accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::Status;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::call::{Call, parse};
use crate::output::{self, Form};
use crate::storage::Revision;

/// Marks the end of the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Makes lines for one watch.
pub(super) struct Encoder {
    call: Arc<Call>,
    form: Form,
    /// Table columns go only with the first event.
    columns_sent: AtomicBool,
}

impl Encoder {
    pub(super) fn new(call: Arc<Call>, form: Form) -> Self {
        Self { call, form, columns_sent: AtomicBool::new(false) }
    }

    /// A line for an object as stored.
    pub(super) fn event(&self, kind: &str, stored: &Bytes) -> Bytes {
        match self.object(stored) {
            Ok(object) => line(kind, &object),
            Err(status) => self.error(&status),
        }
    }

    fn object(&self, stored: &Bytes) -> Result<Bytes, Status> {
        let bytes = self.call.visible(stored)?;
        if self.form == Form::Object {
            return Ok(bytes);
        }
        let object = parse(&bytes)?;
        let value = match self.form {
            Form::Table => {
                let metadata = json!({"resourceVersion": api::object::resource_version(&object)});
                let first = !self.columns_sent.swap(true, Ordering::Relaxed);
                let mut table = output::table(&self.call, metadata, &[object])?;
                if !first {
                    api::table::without_headers(&mut table);
                }
                table
            }
            Form::Metadata | Form::MetadataList | Form::Object => output::metadata_only(&object),
        };
        Ok(Bytes::from(value.to_string()))
    }

    /// A line that only says how far the watch has come.
    pub(super) fn bookmark(&self, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = match self.form {
            Form::Table => {
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                       "columnDefinitions": [], "rows": []})
            }
            Form::Metadata | Form::MetadataList => {
                metadata["creationTimestamp"] = Value::Null;
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Object => {
                metadata["creationTimestamp"] = Value::Null;
                json!({"kind": self.call.kind.kind, "apiVersion": self.call.kind.api_version(),
                       "metadata": metadata})
            }
        };
        line("BOOKMARK", object.to_string().as_bytes())
    }

    /// A line that ends the watch.
    pub(super) fn error(&self, status: &Status) -> Bytes {
        line("ERROR", status.to_json().to_string().as_bytes())
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"{\"type\":\"";
    const MIDDLE: &[u8] = b"\",\"object\":";
    const TAIL: &[u8] = b"}\n";
    let mut line =
        BytesMut::with_capacity(HEAD.len() + kind.len() + MIDDLE.len() + object.len() + TAIL.len());
    for part in [HEAD, kind.as_bytes(), MIDDLE, object, TAIL] {
        line.put_slice(part);
    }
    line.freeze()
}
