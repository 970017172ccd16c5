//! Events of a watch, in the form the client accepts: JSON lines or framed protobuf, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::Status;
use api::codec::protobuf;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::call::{Call, parse, unreadable};
use crate::encode;
use crate::negotiation::{Accepted, Form, Media};
use crate::output;
use crate::storage::Revision;

/// Marks the end of the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Makes lines for one watch.
pub(super) struct Encoder {
    call: Arc<Call>,
    accepted: Accepted,
    /// Table columns go only with the first event.
    columns_sent: AtomicBool,
}

impl Encoder {
    pub(super) fn new(call: Arc<Call>, accepted: Accepted) -> Self {
        Self { call, accepted, columns_sent: AtomicBool::new(false) }
    }

    /// Writes an event about an object as stored.
    pub(super) fn event(&self, out: &mut BytesMut, kind: &str, stored: &Bytes) {
        match self.object(stored) {
            Ok(object) => self.frame(out, kind, &object),
            Err(status) => self.error(out, &status),
        }
    }

    fn object(&self, stored: &Bytes) -> Result<Bytes, Status> {
        let bytes = self.call.visible(stored)?;
        // Upstream sends whole objects to a watch that asks for lists of metadata.
        let whole = matches!(self.accepted.form, Form::Object | Form::MetadataList);
        if whole && self.accepted.media == Media::Json {
            return Ok(bytes);
        }
        if self.accepted.form == Form::Metadata && self.accepted.media == Media::Json {
            return encode::metadata_only(self.accepted.meta_version(), &bytes).map_err(unreadable);
        }
        let object = parse(&bytes)?;
        let value = match self.accepted.form {
            Form::Table => self.table(object)?,
            Form::Metadata => output::metadata_only(self.accepted, &object),
            Form::MetadataList | Form::Object => object,
        };
        Ok(output::embedded(&value, self.accepted))
    }

    fn table(&self, object: Value) -> Result<Value, Status> {
        let metadata = json!({"resourceVersion": api::object::resource_version(&object)});
        let first = !self.columns_sent.swap(true, Ordering::Relaxed);
        let mut table = output::table(&self.call, self.accepted, metadata, &[object])?;
        if !first {
            api::table::without_headers(&mut table);
        }
        Ok(table)
    }

    /// Writes an event that only says how far the watch has come.
    pub(super) fn bookmark(&self, out: &mut BytesMut, revision: Revision, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = json!({"kind": self.call.kind.kind, "apiVersion": self.call.kind.api_version(),
                            "metadata": metadata});
        let value = match self.accepted.form {
            Form::Table => match self.table(object) {
                Ok(table) => table,
                Err(status) => return self.error(out, &status),
            },
            Form::Metadata => output::metadata_only(self.accepted, &object),
            Form::MetadataList | Form::Object => object,
        };
        self.frame(out, "BOOKMARK", &output::embedded(&value, self.accepted));
    }

    /// Writes an event that ends the watch.
    pub(super) fn error(&self, out: &mut BytesMut, status: &Status) {
        self.frame(out, "ERROR", &output::embedded(&status.to_json(), self.accepted));
    }

    fn frame(&self, out: &mut BytesMut, kind: &str, object: &[u8]) {
        match self.accepted.media {
            Media::Protobuf => out.put_slice(&protobuf::watch_frame(kind, object)),
            Media::Json | Media::Yaml => {
                for part in [b"{\"type\":\"", kind.as_bytes(), b"\",\"object\":", object, b"}\n"] {
                    out.put_slice(part);
                }
            }
        }
    }
}
