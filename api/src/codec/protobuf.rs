//! Protobuf in and out: `k8s\0`, `runtime.Unknown`, and a message read by the facts table straight into JSON.
//!
//! Entry points [`decode`] for a request body, [`decode_message`] for a bare message, [`encode`] and
//! [`List`] for answers. Go clients send built-in kinds this way. They write every scalar they hold by value even when zero: the result needs
//! [`crate::validation::types`], which drops what Go's JSON would not have, as for any other body.

mod buffer;
mod encode;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::codec::json;
use crate::schema::{FieldRef, Raw, Schema, Type, bits, facts};
use crate::time;
use wire::{Fields, Payload};

pub use encode::{List, encode, encode_message, knows, watch_frame};
pub use wire::WireError;

/// The media type of the envelope.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The first bytes of a body.
pub const MAGIC: &[u8; 4] = b"k8s\0";
/// Messages nest at most so deep: deeper is an attack on the stack (JSONSchemaProps recurses).
const DEEPEST: usize = 100;

/// What the three unions of JSONSchemaProps hold.
const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// A body that is not protobuf of a known kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The envelope is not there.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes break the wire format.
    #[error("proto: {0}")]
    Wire(#[from] WireError),
    /// A kind the facts table does not have.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// `apiVersion` of the envelope.
        api_version: String,
        /// `kind` of the envelope.
        kind: String,
    },
    /// Messages within messages beyond all measure.
    #[error("proto: message nested too deeply")]
    Depth,
    /// A raw extension that holds no JSON.
    #[error("embedded object is not JSON: {0}")]
    Embedded(String),
}

type Outcome<T> = Result<T, ProtobufError>;

/// Reads a body with envelope; `apiVersion` and `kind` come from it.
///
/// # Errors
/// When the envelope or a message is malformed, or the kind is not built in.
pub fn decode(bytes: &[u8]) -> Outcome<Value> {
    let body = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    let (mut type_meta, mut raw) = (&[][..], &[][..]);
    for field in Fields::new(body) {
        match field? {
            (1, Payload::Bytes(bytes)) => type_meta = bytes,
            (2, Payload::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (mut api_version, mut kind) = (String::new(), String::new());
    for field in Fields::new(type_meta) {
        match field? {
            (1, Payload::Bytes(bytes)) => api_version = text(bytes)?,
            (2, Payload::Bytes(bytes)) => kind = text(bytes)?,
            _ => {}
        }
    }
    let parsed = crate::names::GroupVersion::parse(&api_version);
    let Some(schema) = schema_of(&parsed.group, &parsed.version, &kind) else {
        return Err(ProtobufError::UnknownKind { api_version, kind });
    };
    let mut object = decode_message(schema, raw)?;
    if let Value::Object(map) = &mut object {
        map.insert("apiVersion".to_owned(), Value::String(api_version));
        map.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(object)
}

/// `DeleteOptions` and its like are registered with every group; the core group's discovery has no version.
fn schema_of(group: &str, version: &str, kind: &str) -> Option<Schema<'static>> {
    let meta = || facts().schema(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    facts().by_gvk(group, version, kind).or_else(|| {
        let unversioned = (group, version) == ("", "") && ["APIVersions", "APIResourceList"].contains(&kind);
        (unversioned || ["DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"].contains(&kind))
            .then(meta)
            .flatten()
    })
}

/// Reads a message of a definition.
///
/// # Errors
/// When the message is malformed.
pub fn decode_message(schema: Schema<'_>, bytes: &[u8]) -> Outcome<Value> {
    let mut map = Map::new();
    message(schema, bytes, &mut map, 0)?;
    Ok(Value::Object(map))
}

fn message(schema: Schema<'_>, bytes: &[u8], map: &mut Map<String, Value>, depth: usize) -> Outcome<()> {
    if depth > DEEPEST {
        return Err(ProtobufError::Depth);
    }
    for entry in Fields::new(bytes) {
        let (tag, payload) = entry?;
        if let Some(field) = schema.fields().find(|f| f.tag().map(u32::from) == Some(tag)) {
            read_field(field, payload, map, depth)?;
        } else if let Some(inlined) = schema.inlined(tag) {
            message(inlined, payload.bytes()?, map, depth + 1)?;
        }
    }
    Ok(())
}

fn read_field(
    field: FieldRef<'_>,
    payload: Payload<'_>,
    map: &mut Map<String, Value>,
    depth: usize,
) -> Outcome<()> {
    let (schema, name) = (field.schema(), field.name());
    if let Some(items) = schema.items() {
        let slot = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(list) = slot else { return Ok(()) };
        if field.has(bits::WRAPPED) {
            *list = wrapped_list(items, payload, depth)?;
        } else {
            repeated(items, payload, list, depth)?;
        }
        return Ok(());
    }
    if let Some(values) = schema.values() {
        let slot = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let (key, value) = map_entry(field, values, payload, depth)?;
        if let Value::Object(entries) = slot {
            entries.insert(key, value);
        }
        return Ok(());
    }
    map.insert(name.to_owned(), single(schema, payload, depth)?);
    Ok(())
}

/// A list's item, or several scalars packed into one payload.
fn repeated(items: Schema<'_>, payload: Payload<'_>, list: &mut Vec<Value>, depth: usize) -> Outcome<()> {
    let numeric = matches!(items.ty(), Type::Int32 | Type::Int64 | Type::Bool);
    match payload {
        Payload::Bytes(packed) if numeric => {
            for number in wire::varints(packed) {
                list.push(single(items, Payload::Varint(number?), depth)?);
            }
        }
        other => list.push(single(items, other, depth)?),
    }
    Ok(())
}

/// A named Go list (`Verbs`, `ExtraValue`): a message with `items = 1`.
fn wrapped_list(items: Schema<'_>, payload: Payload<'_>, depth: usize) -> Outcome<Vec<Value>> {
    let mut list = Vec::new();
    for entry in Fields::new(payload.bytes()?) {
        if let (1, payload) = entry? {
            repeated(items, payload, &mut list, depth + 1)?;
        }
    }
    Ok(list)
}

fn map_entry(
    field: FieldRef<'_>,
    values: Schema<'_>,
    payload: Payload<'_>,
    depth: usize,
) -> Outcome<(String, Value)> {
    let (mut key, mut value) = (String::new(), None);
    for entry in Fields::new(payload.bytes()?) {
        match entry? {
            (1, Payload::Bytes(bytes)) => key = text(bytes)?,
            (2, payload) => {
                value = Some(match values.items() {
                    Some(items) if field.has(bits::WRAPPED) => {
                        Value::Array(wrapped_list(items, payload, depth + 1)?)
                    }
                    _ => single(values, payload, depth + 1)?,
                });
            }
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => single(values, Payload::Bytes(&[]), depth + 1).unwrap_or(Value::Null),
    };
    Ok((key, value))
}

fn single(schema: Schema<'_>, payload: Payload<'_>, depth: usize) -> Outcome<Value> {
    Ok(match schema.ty() {
        Type::String => Value::String(text(payload.bytes()?)?),
        Type::Bytes => Value::String(STANDARD.encode(payload.bytes()?)),
        Type::Bool => Value::Bool(payload.varint()? != 0),
        Type::Int32 | Type::Int64 => Value::from(payload.varint()?.cast_signed()),
        Type::Number => Value::from(f64::from_bits(payload.fixed64()?)),
        Type::Object(_) => {
            let mut map = Map::new();
            message(schema, payload.bytes()?, &mut map, depth + 1)?;
            Value::Object(map)
        }
        Type::Raw(raw) => opaque(raw, payload.bytes()?, depth)?,
        Type::Quantity => quantity(payload.bytes()?)?,
        Type::IntOrString => int_or_string(payload.bytes()?)?,
        Type::Time => moment(payload.bytes()?, time::seconds)?,
        Type::MicroTime => moment(payload.bytes()?, time::micros)?,
        Type::Duration => duration(payload.bytes()?)?,
        // A list of lists or a map of maps does not exist in protobuf.
        Type::List(_) | Type::Map(_) => Value::Null,
    })
}

fn text(bytes: &[u8]) -> Outcome<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Utf8.into())
}

fn quantity(bytes: &[u8]) -> Outcome<Value> {
    for field in Fields::new(bytes) {
        if let (1, Payload::Bytes(bytes)) = field? {
            return Ok(Value::String(text(bytes)?));
        }
    }
    Ok(Value::from("0"))
}

/// `{type: 0 int | 1 string, intVal, strVal}`.
fn int_or_string(bytes: &[u8]) -> Outcome<Value> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in Fields::new(bytes) {
        match field? {
            (1, Payload::Varint(kind)) => is_text = kind == 1,
            (2, Payload::Varint(value)) => number = value.cast_signed(),
            (3, Payload::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::String(string) } else { Value::from(number) })
}

/// `{seconds, nanos}`; no bytes at all is Go's zero time, which JSON shows as null.
fn moment(bytes: &[u8], write: fn(jiff::Timestamp) -> String) -> Outcome<Value> {
    let (mut seconds, mut nanos) = (None, 0);
    for field in Fields::new(bytes) {
        match field? {
            (1, Payload::Varint(value)) => seconds = Some(value.cast_signed()),
            (2, Payload::Varint(value)) => nanos = i32::try_from(value.cast_signed()).unwrap_or_default(),
            _ => {}
        }
    }
    let at = seconds.and_then(|seconds| jiff::Timestamp::new(seconds, nanos).ok());
    // The year 1, written out by some clients, is the zero time too.
    let at = at.filter(|at| at.as_second() != -62_135_596_800);
    Ok(at.map_or(Value::Null, |at| Value::String(write(at))))
}

/// `{duration: nanoseconds}`.
fn duration(bytes: &[u8]) -> Outcome<Value> {
    let mut nanos = 0;
    for field in Fields::new(bytes) {
        if let (1, Payload::Varint(value)) = field? {
            nanos = value.cast_signed();
        }
    }
    Ok(Value::String(crate::time::go_duration(nanos)))
}

/// `{raw: JSON}`, and the three unions of JSONSchemaProps.
fn opaque(raw: Raw, bytes: &[u8], depth: usize) -> Outcome<Value> {
    let mut list = Vec::new();
    let mut allows = false;
    for field in Fields::new(bytes) {
        let (tag, payload) = field?;
        match (raw, tag) {
            (Raw::Extension | Raw::Fields | Raw::Json, 1) => return embedded(payload.bytes()?),
            (Raw::SchemaOrArray | Raw::SchemaOrStrings, 1) | (Raw::SchemaOrBool, 2) => {
                return json_schema(payload, depth);
            }
            (Raw::SchemaOrBool, 1) => allows = payload.varint()? != 0,
            (Raw::SchemaOrArray, 2) => list.push(json_schema(payload, depth)?),
            (Raw::SchemaOrStrings, 2) => list.push(Value::String(text(payload.bytes()?)?)),
            _ => {}
        }
    }
    Ok(match raw {
        Raw::SchemaOrBool => Value::Bool(allows),
        Raw::SchemaOrArray | Raw::SchemaOrStrings => Value::Array(list),
        Raw::Extension | Raw::Fields | Raw::Json => Value::Null,
    })
}

/// Opaque to the walk that drops Go's zeroes afterwards, so they are dropped here.
fn json_schema(payload: Payload<'_>, depth: usize) -> Outcome<Value> {
    let Some(schema) = facts().schema(JSON_SCHEMA) else { return Ok(Value::Null) };
    let mut value = single(schema, payload, depth + 1)?;
    crate::validation::types(schema, &mut value).map_err(|e| ProtobufError::Embedded(e.to_string()))?;
    Ok(value)
}

fn embedded(bytes: &[u8]) -> Outcome<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if bytes.starts_with(MAGIC) {
        return decode(bytes);
    }
    json::decode(bytes).map(|tree| tree.value).map_err(|e| ProtobufError::Embedded(e.to_string()))
}

#[cfg(test)]
mod tests;
