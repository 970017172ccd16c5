//! The bytes of a list: stored JSON concatenated, or protobuf made of it item by item. Long bodies are
//! made as the client reads them.

use api::codec::protobuf;
use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::Value;

use crate::compression;
use crate::negotiation::{Accepted, Form, Media};
use crate::output;

/// Bytes per frame of a streamed list: large enough to cost little, small enough not to hold much.
pub(super) const FRAME_BYTES: usize = 64 * 1024;
/// What a protobuf list may hold encoded; the rest is encoded twice, to be measured and to be sent.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Items encoded before other requests get a turn.
const ITEMS_PER_TURN: usize = 128;

/// How an object's bytes become an item of a list.
pub(crate) type Write = Box<dyn Fn(&Bytes, &mut BytesMut) + Send>;

/// A list body of JSON, `head` and then the items as `write` has them: one buffer when small, else frames.
pub(crate) fn stream(head: Bytes, items: Vec<Bytes>, write: Write) -> Response<Body> {
    let total: usize = head.len() + TAIL.len() + items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut frames = Frames { head, items: items.into_iter(), write, ended: false };
    let body = if total <= FRAME_BYTES {
        Body::from(frames.frame(usize::MAX, total).unwrap_or_default())
    } else {
        Body::from_stream(stream::unfold(frames, |mut frames| async move {
            // A connection whose peer reads fast would make the whole list before anything else gets a turn.
            if frames.head.is_empty() {
                tokio::task::yield_now().await;
            }
            let frame = frames.frame(FRAME_BYTES, FRAME_BYTES + 4096)?;
            Some((Ok::<_, std::convert::Infallible>(frame), frames))
        }))
    };
    respond(body, Media::Json, total)
}

/// `total` is what the items have as they are stored: near enough for whether it is worth compressing.
fn respond(body: Body, media: Media, total: usize) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    compression::mark(&mut response, total);
    response
}

const TAIL: &[u8] = b"]}\n";

pub(super) struct Frames {
    /// Up to the bracket that opens the items; empty once it has gone out.
    pub(super) head: Bytes,
    pub(super) items: std::vec::IntoIter<Bytes>,
    pub(super) write: Write,
    pub(super) ended: bool,
}

impl Frames {
    /// At least `size` bytes unless the list ends before; they may need about `room`.
    pub(super) fn frame(&mut self, size: usize, room: usize) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut frame = BytesMut::with_capacity(room);
        let mut first = !self.head.is_empty();
        frame.put(std::mem::take(&mut self.head));
        for item in self.items.by_ref() {
            if !std::mem::take(&mut first) {
                frame.put_u8(b',');
            }
            (self.write)(&item, &mut frame);
            if frame.len() >= size {
                return Some(frame.freeze());
            }
        }
        frame.put_slice(TAIL);
        self.ended = true;
        Some(frame.freeze())
    }
}

/// A list body of protobuf; `items` are JSON. `None` when the list kind has no protobuf form.
pub(super) async fn protobuf(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: Vec<Bytes>,
    accepted: Accepted,
) -> Option<Response<Body>> {
    let mut source = Source { list: protobuf::List::new(api_version, kind)?, accepted };
    let (mut total, mut slots) = (0, Vec::with_capacity(items.len()));
    for (at, json) in items.into_iter().enumerate() {
        if at % ITEMS_PER_TURN == ITEMS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let encoded = source.item(&json);
        total += encoded.len();
        let slot = if total <= KEPT_BYTES {
            Slot::Encoded(Bytes::copy_from_slice(encoded))
        } else {
            Slot::Json(json)
        };
        slots.push(slot);
    }
    let head = source.list.head(metadata, total);
    let length = head.len() + total;
    let state = (Some(head), slots.into_iter(), source, false);
    let body = Body::from_stream(stream::unfold(state, |(head, mut slots, mut source, ended)| async move {
        if ended {
            return None;
        }
        let mut frame = head.unwrap_or_default();
        for slot in slots.by_ref() {
            match slot {
                Slot::Encoded(bytes) => frame.extend_from_slice(&bytes),
                Slot::Json(json) => frame.extend_from_slice(source.item(&json)),
            }
            if frame.len() >= FRAME_BYTES {
                return Some((Ok::<_, std::convert::Infallible>(frame), (None, slots, source, false)));
            }
        }
        frame.extend_from_slice(&protobuf::List::tail());
        Some((Ok(frame), (None, slots, source, true)))
    }));
    Some(respond(body, Media::Protobuf, length))
}

enum Slot {
    Encoded(Bytes),
    Json(Bytes),
}

/// Makes items of stored objects.
struct Source {
    list: protobuf::List,
    accepted: Accepted,
}

impl Source {
    /// Our own bytes are JSON; if they were not, the item would be empty, the same at both passes.
    fn item(&mut self, json: &[u8]) -> &[u8] {
        let object: Value = serde_json::from_slice(json).unwrap_or_default();
        match self.accepted.form {
            Form::MetadataList => self.list.item(&output::metadata_only(self.accepted, &object)),
            _ => self.list.item(&object),
        }
    }
}
