//! Protobuf out: JSON as stored, written as Go's generated code writes it.
//!
//! Every field Go holds by value is written, zero or not; pointers, lists and maps only when there is
//! something. Fields go by tag. Entry points: [`encode`] for one object with its envelope, [`List`] for a
//! list whose items come one by one, [`watch_frame`] for an event.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::buffer::Buffer;
use super::{JSON_SCHEMA, MAGIC, schema_of};
use crate::names::GroupVersion;
use crate::schema::{DefId, FieldRef, Raw, Schema, Type, bits, facts};
use crate::time;

/// A place in a message.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// Position among the definition's fields.
    Field(usize),
    Inline(DefId),
}

/// Per definition its tags, highest first: the buffer is written from its end.
static ORDER: LazyLock<Vec<Vec<(u16, Slot)>>> = LazyLock::new(|| {
    let definitions = facts().definitions.iter();
    definitions
        .map(|definition| {
            let fields = definition.fields.iter().enumerate().filter(|(_, field)| field.tag != 0);
            let mut slots: Vec<_> = fields.map(|(at, field)| (field.tag, Slot::Field(at))).collect();
            slots.extend(definition.inlines.iter().map(|i| (i.tag, Slot::Inline(i.definition))));
            slots.sort_by_key(|(tag, _)| std::cmp::Reverse(*tag));
            slots
        })
        .collect()
});

/// One object with its envelope; `None` when its `apiVersion` and `kind` are no built-in kind.
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let mut buffer = Buffer::with_capacity(1024);
    let mark = tail(&mut buffer);
    match metadata_kind(api_version, kind) {
        Some(metadata) => partial(metadata, object, &mut buffer),
        None => {
            let parsed = GroupVersion::parse(api_version);
            message(schema_of(&parsed.group, &parsed.version, kind)?, object, &mut buffer);
        }
    }
    buffer.close(2, mark);
    head(&mut buffer, api_version, kind);
    Some(buffer.into_vec())
}

/// Whether objects of a kind have a protobuf form.
pub fn knows(group: &str, version: &str, kind: &str) -> bool {
    schema_of(group, version, kind).is_some()
}

/// `Unknown.contentEncoding` and `contentType`, which Go writes though they are empty; the mark is where
/// `Unknown.raw` ends.
fn tail(buffer: &mut Buffer) -> usize {
    buffer.bytes(4, b"");
    buffer.bytes(3, b"");
    buffer.len()
}

/// `Unknown.typeMeta`, and what every body begins with.
fn head(buffer: &mut Buffer, api_version: &str, kind: &str) {
    let mark = buffer.len();
    buffer.bytes(2, kind.as_bytes());
    buffer.bytes(1, api_version.as_bytes());
    buffer.close(1, mark);
    buffer.raw(MAGIC);
}

/// `PartialObjectMetadata` and its list are in no published document: one `ObjectMeta`, or a
/// `ListMeta` and items of the former.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    Object,
    List,
}

fn metadata_kind(api_version: &str, kind: &str) -> Option<Partial> {
    if !api_version.starts_with("meta.k8s.io/") {
        return None;
    }
    match kind {
        "PartialObjectMetadata" => Some(Partial::Object),
        "PartialObjectMetadataList" => Some(Partial::List),
        _ => None,
    }
}

fn partial(what: Partial, object: &Value, buffer: &mut Buffer) {
    if what == Partial::List {
        for item in object["items"].as_array().into_iter().flatten().rev() {
            let mark = buffer.len();
            partial(Partial::Object, item, buffer);
            buffer.close(2, mark);
        }
    }
    let name = match what {
        Partial::Object => "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        Partial::List => "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
    };
    if let Some(schema) = facts().schema(name) {
        let mark = buffer.len();
        message(schema, &object["metadata"], buffer);
        buffer.close(1, mark);
    }
}

/// A bare message of a definition of the built-in facts.
pub fn encode_message(schema: Schema<'_>, object: &Value) -> Vec<u8> {
    let mut buffer = Buffer::with_capacity(1024);
    message(schema, object, &mut buffer);
    buffer.into_vec()
}

/// Writes a list's items one by one. Lengths stand before contents, so every item is encoded once to be
/// measured and perhaps again to be sent; the caller chooses what it keeps in between.
pub struct List {
    items: Items,
    api_version: String,
    kind: String,
    buffer: Buffer,
}

enum Items {
    Of(Schema<'static>),
    Metadata,
}

impl List {
    /// A list kind such as `v1`, `PodList`, or `meta.k8s.io/v1`, `PartialObjectMetadataList`; `None` when it is
    /// not built in.
    pub fn new(api_version: &str, kind: &str) -> Option<Self> {
        let items = match metadata_kind(api_version, kind) {
            Some(Partial::List) => Items::Metadata,
            _ => {
                let parsed = GroupVersion::parse(api_version);
                let list = schema_of(&parsed.group, &parsed.version, kind)?;
                Items::Of(list.field("items")?.schema().items()?)
            }
        };
        let buffer = Buffer::with_capacity(4096);
        Some(Self { items, api_version: api_version.to_owned(), kind: kind.to_owned(), buffer })
    }

    /// One item, as it stands in the list.
    pub fn item(&mut self, object: &Value) -> &[u8] {
        self.buffer.clear();
        match self.items {
            Items::Of(schema) => message(schema, object, &mut self.buffer),
            Items::Metadata => partial(Partial::Object, object, &mut self.buffer),
        }
        self.buffer.close(2, 0);
        self.buffer.content()
    }

    /// What stands before the first item, given the items' total length.
    pub fn head(&self, metadata: &Value, items: usize) -> Vec<u8> {
        let mut buffer = Buffer::with_capacity(256);
        if let Some(schema) = facts().schema("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta") {
            message(schema, metadata, &mut buffer);
            buffer.close(1, 0);
        }
        buffer.header(2, buffer.len() + items);
        head(&mut buffer, &self.api_version, &self.kind);
        buffer.into_vec()
    }

    /// What stands after the last item.
    pub fn tail() -> Vec<u8> {
        let mut buffer = Buffer::default();
        tail(&mut buffer);
        buffer.into_vec()
    }
}

/// An event of a watch: its length in four bytes, then a bare `WatchEvent` around an object with
/// envelope.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut buffer = Buffer::with_capacity(object.len() + 64);
    buffer.bytes(1, object);
    buffer.close(2, 0);
    buffer.bytes(1, event.as_bytes());
    let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    buffer.raw(&length.to_be_bytes());
    buffer.into_vec()
}

fn message(schema: Schema<'_>, object: &Value, buffer: &mut Buffer) {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    let map = object.as_object().unwrap_or(&NONE);
    let (Type::Object(id), Some(definition)) = (schema.ty(), schema.def()) else { return };
    for (tag, slot) in ORDER.get(id.0 as usize).into_iter().flatten() {
        match slot {
            Slot::Field(at) => {
                if let Some(field) = definition.fields.get(*at) {
                    let value = map.get(field.name.as_ref()).filter(|value| !value.is_null());
                    write_field(FieldRef { facts: schema.facts, field }, *tag, value, buffer);
                }
            }
            Slot::Inline(inlined) => {
                let mark = buffer.len();
                message(schema.facts.of(*inlined), object, buffer);
                buffer.close(*tag, mark);
            }
        }
    }
}

fn write_field(field: FieldRef<'_>, tag: u16, value: Option<&Value>, buffer: &mut Buffer) {
    let schema = field.schema();
    let wrapped = field.has(bits::WRAPPED);
    if let Some(items) = schema.items() {
        if let Some(Value::Array(list)) = value {
            write_list(items, tag, list, wrapped, buffer);
        }
    } else if let Some(values) = schema.values() {
        if let Some(Value::Object(map)) = value {
            write_map(values, tag, map, wrapped, buffer);
        }
    } else if value.is_some() || !(field.is_pointer() || schema.ty() == Type::Bytes) {
        single(schema, tag, value.unwrap_or(&Value::Null), buffer);
    }
}

fn write_list(items: Schema<'_>, tag: u16, list: &[Value], wrapped: bool, buffer: &mut Buffer) {
    let mark = buffer.len();
    for item in list.iter().rev() {
        single(items, if wrapped { 1 } else { tag }, item, buffer);
    }
    if wrapped {
        buffer.close(tag, mark);
    }
}

fn write_map(values: Schema<'_>, tag: u16, map: &Map<String, Value>, wrapped: bool, buffer: &mut Buffer) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in entries.into_iter().rev() {
        let mark = buffer.len();
        match (values.items(), value) {
            (Some(items), Value::Array(list)) if wrapped => write_list(items, 2, list, true, buffer),
            _ => single(values, 2, value, buffer),
        }
        buffer.bytes(1, key.as_bytes());
        buffer.close(tag, mark);
    }
}

/// One value as a field; null is Go's zero.
fn single(schema: Schema<'_>, tag: u16, value: &Value, buffer: &mut Buffer) {
    match schema.ty() {
        Type::String => return buffer.bytes(tag, value.as_str().unwrap_or_default().as_bytes()),
        Type::Bytes => {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
            return buffer.bytes(tag, &bytes);
        }
        Type::Bool => return buffer.integer(tag, i64::from(value == true)),
        Type::Int32 | Type::Int64 => return buffer.integer(tag, value.as_i64().unwrap_or_default()),
        Type::Number => return buffer.double(tag, value.as_f64().unwrap_or_default()),
        // A list of lists or a map of maps does not exist in protobuf.
        Type::List(_) | Type::Map(_) => return,
        _ => {}
    }
    let mark = buffer.len();
    match schema.ty() {
        Type::Object(_) => message(schema, value, buffer),
        Type::Raw(raw) => opaque(raw, value, buffer),
        Type::Quantity => {
            let text = crate::quantity::canonical(value).unwrap_or_else(|| "0".to_owned());
            buffer.bytes(1, text.as_bytes());
        }
        Type::IntOrString => int_or_string(value, buffer),
        Type::Time => moment(value, false, buffer),
        Type::MicroTime => moment(value, true, buffer),
        Type::Duration => {
            let nanos = value.as_str().and_then(time::parse_go_duration).unwrap_or_default();
            buffer.integer(1, nanos);
        }
        _ => {}
    }
    buffer.close(tag, mark);
}

fn int_or_string(value: &Value, buffer: &mut Buffer) {
    let text = value.as_str();
    buffer.bytes(3, text.unwrap_or_default().as_bytes());
    buffer.integer(2, value.as_i64().unwrap_or_default());
    buffer.integer(1, i64::from(text.is_some()));
}

/// `{seconds, nanos}`; the zero time is no bytes at all.
fn moment(value: &Value, micros: bool, buffer: &mut Buffer) {
    let Some(at) = time::read(value) else { return };
    let (mut seconds, mut nanos) = (at.as_second(), i64::from(at.subsec_nanosecond()));
    if nanos < 0 {
        // Before 1970 the fraction counts backwards; protobuf's never does.
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    buffer.integer(2, if micros { nanos / 1000 * 1000 } else { 0 });
    buffer.integer(1, seconds);
}

/// `{raw: JSON}`, and the three unions of JSONSchemaProps.
fn opaque(raw: Raw, value: &Value, buffer: &mut Buffer) {
    match (raw, value, facts().schema(JSON_SCHEMA)) {
        (Raw::Extension | Raw::Fields | Raw::Json, Value::Null, _) if raw != Raw::Json => {}
        (Raw::Extension | Raw::Fields | Raw::Json, ..) => buffer.bytes(1, value.to_string().as_bytes()),
        (Raw::SchemaOrBool, Value::Bool(allows), _) => buffer.integer(1, i64::from(*allows)),
        (Raw::SchemaOrBool, _, Some(schema)) => {
            single(schema, 2, value, buffer);
            // Go reads an object as a schema and as permission.
            buffer.integer(1, 1);
        }
        (Raw::SchemaOrArray, Value::Array(list), Some(schema)) => {
            write_list(schema, 2, list, false, buffer);
        }
        (Raw::SchemaOrStrings, Value::Array(list), _) => {
            for item in list.iter().rev() {
                buffer.bytes(2, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        (Raw::SchemaOrArray | Raw::SchemaOrStrings, _, Some(schema)) => single(schema, 1, value, buffer),
        (.., None) => {}
    }
}
