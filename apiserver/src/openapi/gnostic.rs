//! An OpenAPI document as protobuf, in the messages of gnostic's `openapi.v2` and `openapi.v3` packages: how
//! `kubectl` and client-go ask for it.
//!
//! Entry point: [`Document`]. Input are the same JSON entries the JSON document has; which field of which message
//! they become says the table of messages, as gnostic's own reader does it.

mod messages;

use serde_json::{Map, Value};

use super::definitions::Dialect;
use messages::{Field, Message, Messages, Type};

/// A document under construction.
pub(super) struct Document {
    messages: &'static Messages,
    paths: Bytes,
    definitions: Bytes,
}

impl Document {
    /// Without anything.
    pub(super) fn new(dialect: Dialect) -> Self {
        let (paths, definitions) = Default::default();
        Self { messages: Messages::of(dialect), paths, definitions }
    }

    /// Adds a path item.
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        self.messages.entry("Paths", path, item, &mut self.paths);
    }

    /// Adds a definition.
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        for holder in ["Definitions", "SchemasOrReferences"] {
            self.messages.entry(holder, name, definition, &mut self.definitions);
        }
    }

    /// The bytes; `frame` is what the document has besides.
    pub(super) fn finish(self, frame: &Value) -> Vec<u8> {
        let message = |name: &str| self.messages.get(name).map_or(&[][..], |message| &message.fields);
        let mut out = Bytes::default();
        for field in message("Document") {
            match field.name {
                "paths" => out.bytes(field.number, &self.paths.0),
                "definitions" => out.bytes(field.number, &self.definitions.0),
                "components" => {
                    let mut inner = Bytes::default();
                    for field in message("Components") {
                        match field.name {
                            "schemas" => inner.bytes(field.number, &self.definitions.0),
                            _ => self.messages.field(field, &frame["components"], &mut inner),
                        }
                    }
                    out.bytes(field.number, &inner.0);
                }
                _ => self.messages.field(field, frame, &mut out),
            }
        }
        out.0
    }
}

impl Messages {
    /// An entry of a message that is a map.
    fn entry(&self, holder: &str, key: &str, value: &Value, out: &mut Bytes) {
        let field = self.get(holder).and_then(|holder| holder.field_of_key(key, self));
        if let Some(field) = field {
            self.map_entry(field, key, value, out);
        }
    }

    fn message(&self, message: &Message, value: &Value, out: &mut Bytes) {
        if let Some(field) = message.field("yaml") {
            // JSON is YAML.
            out.bytes(field.number, format!("{value}\n").as_bytes());
        } else if message.is_choice {
            if let Some(field) = self.choice(message, value) {
                self.single(field, value, out);
            }
        } else if let Some(field) = message.list(self) {
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            items.iter().for_each(|item| self.single(field, item, out));
        } else {
            message.fields.iter().for_each(|field| self.field(field, value, out));
            self.entries(message, value, out);
        }
    }

    /// What of an object belongs into a field of that name.
    fn field(&self, field: &Field, owner: &Value, out: &mut Bytes) {
        if field.is_map(self) {
            return;
        }
        match owner.get(&field.key) {
            Some(Value::Array(items)) if field.is_repeated => {
                items.iter().for_each(|item| self.single(field, item, out));
            }
            Some(value) if is_written(field, value) => self.single(field, value, out),
            _ => {}
        }
    }

    /// What of an object has no field of that name.
    fn entries(&self, message: &Message, value: &Value, out: &mut Bytes) {
        for field in message.fields.iter().filter(|field| field.is_map(self)) {
            for (key, value) in value.as_object().into_iter().flat_map(Map::iter) {
                let taken = message.field_of_key(key, self);
                if taken.is_some_and(|taken| taken.number == field.number) {
                    self.map_entry(field, key, value, out);
                }
            }
        }
    }

    fn map_entry(&self, field: &Field, key: &str, value: &Value, out: &mut Bytes) {
        let Type::Message(entry) = field.ty else { return };
        let Some(entry) = self.get(entry) else { return };
        let mut inner = Bytes::default();
        entry.field("name").into_iter().for_each(|name| inner.bytes(name.number, key.as_bytes()));
        entry.field("value").into_iter().for_each(|field| self.single(field, value, &mut inner));
        out.bytes(field.number, &inner.0);
    }

    fn single(&self, field: &Field, value: &Value, out: &mut Bytes) {
        match field.ty {
            Type::Text => out.bytes(field.number, value.as_str().unwrap_or_default().as_bytes()),
            Type::Flag => out.integer(field.number, u64::from(value == true)),
            Type::Integer => out.integer(field.number, value.as_i64().unwrap_or_default().cast_unsigned()),
            Type::Double => out.double(field.number, value.as_f64().unwrap_or_default()),
            Type::Message(name) => {
                let mut inner = Bytes::default();
                if let Some(message) = self.get(name) {
                    self.message(message, value, &mut inner);
                }
                out.bytes(field.number, &inner.0);
            }
        }
    }

    /// The field of a choice that can hold a value. Parameters differ by their place only.
    fn choice<'a>(&self, message: &'a Message, value: &Value) -> Option<&'a Field> {
        let place = value.get("in").and_then(Value::as_str).unwrap_or_default();
        let fitting = || message.fields.iter().filter(|field| self.fits(field, value));
        let is_named = |field: &&Field| field.key.starts_with(&format!("{place}Parameter"));
        fitting().find(is_named).or_else(|| fitting().next())
    }

    fn fits(&self, field: &Field, value: &Value) -> bool {
        let message = match field.ty {
            Type::Text => return value.is_string(),
            Type::Flag => return value.is_boolean(),
            Type::Integer | Type::Double => return value.is_number(),
            Type::Message(name) => self.get(name),
        };
        message.zip(value.as_object()).is_some_and(|(message, map)| match message.is_choice {
            true => self.choice(message, value).is_some(),
            false => map.keys().all(|key| message.field_of_key(key, self).is_some()),
        })
    }
}

/// Messages leave zeroes out, unless they stand in messages of their own.
fn is_written(field: &Field, value: &Value) -> bool {
    match value {
        _ if matches!(field.ty, Type::Message(_)) => true,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A protobuf message under construction.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn integer(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number) << 3);
        self.varint(value);
    }

    fn double(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
