//! An OpenAPI 2.0 document as protobuf, in the messages of gnostic's `openapi.v2` package, which is how
//! `kubectl` asks for it.
//!
//! Entry point: [`Document`]. Input are the same JSON entries the JSON document has; keywords that our
//! documents never contain are not translated. Anything whose name starts with `x-` becomes a vendor
//! extension, its value as YAML.

use serde_json::{Map, Value};

/// A document under construction.
pub(super) struct Document {
    out: Message,
    paths: Message,
    definitions: Message,
}

impl Document {
    /// Starts with `swagger` and `info`.
    pub(super) fn new(info: &Value) -> Self {
        let mut out = Message::default();
        out.text(1, "2.0");
        let mut message = Message::default();
        message.text_of(1, info, "title");
        message.text_of(2, info, "version");
        out.message(2, &message);
        Self { out, paths: Message::default(), definitions: Message::default() }
    }

    /// Adds a path item.
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        self.paths.message(2, &named(path, &path_item(item)));
    }

    /// Adds a definition.
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        self.definitions.message(1, &named(name, &schema(definition)));
    }

    /// The bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.message(8, &self.paths);
        self.out.message(9, &self.definitions);
        self.out.0
    }
}

/// `NamedX`: name and value.
fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, value);
    message
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    let methods = ["get", "put", "post", "delete", "options", "head", "patch"];
    for (tag, method) in (2..).zip(methods) {
        if let Some(value) = item.get(method) {
            message.message(tag, &operation(value));
        }
    }
    parameters(&mut message, 9, item);
    message
}

fn operation(value: &Value) -> Message {
    let mut message = Message::default();
    message.texts_of(1, value, "tags");
    message.text_of(3, value, "description");
    message.text_of(5, value, "operationId");
    message.texts_of(6, value, "produces");
    message.texts_of(7, value, "consumes");
    parameters(&mut message, 8, value);
    let mut responses = Message::default();
    for (code, response) in entries(value, "responses") {
        let mut body = Message::default();
        body.text_of(1, response, "description");
        if let Some(answer) = response.get("schema") {
            body.message(2, &wrapped(1, &schema(answer)));
        }
        responses.message(1, &named(code, &wrapped(1, &body)));
    }
    message.message(9, &responses);
    message.texts_of(10, value, "schemes");
    extensions(&mut message, 13, value);
    message
}

/// `ParametersItem { Parameter { BodyParameter | NonBodyParameter { Query | Path } } }`.
fn parameters(message: &mut Message, tag: u32, owner: &Value) {
    for value in owner.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let place = value.get("in").and_then(Value::as_str).unwrap_or_default();
        let parameter = if place == "body" {
            wrapped(1, &body_parameter(value))
        } else {
            let kind = if place == "path" { 4 } else { 3 };
            wrapped(2, &wrapped(kind, &simple_parameter(value, place == "path")))
        };
        message.message(tag, &wrapped(1, &parameter));
    }
}

fn body_parameter(value: &Value) -> Message {
    let mut message = Message::default();
    message.text_of(1, value, "description");
    message.text_of(2, value, "name");
    message.text_of(3, value, "in");
    message.flag_of(4, value, "required");
    if let Some(body) = value.get("schema") {
        message.message(5, &schema(body));
    }
    message
}

/// `QueryParameterSubSchema` has one field (`allow_empty_value`) more than `PathParameterSubSchema`.
fn simple_parameter(value: &Value, path: bool) -> Message {
    let shift = u32::from(!path);
    let mut message = Message::default();
    message.flag_of(1, value, "required");
    message.text_of(2, value, "in");
    message.text_of(3, value, "description");
    message.text_of(4, value, "name");
    message.text_of(5 + shift, value, "type");
    message.flag_of(19 + shift, value, "uniqueItems");
    message
}

fn schema(value: &Value) -> Message {
    let mut message = Message::default();
    message.text_of(1, value, "$ref");
    message.text_of(2, value, "format");
    message.text_of(4, value, "description");
    if let Some(default) = value.get("default") {
        message.message(5, &any(default));
    }
    message.texts_of(19, value, "required");
    for item in value.get("enum").and_then(Value::as_array).into_iter().flatten() {
        message.message(20, &any(item));
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            let mut item = Message::default();
            item.flag(2, *allowed);
            message.message(21, &item);
        }
        Some(values) => message.message(21, &wrapped(1, &schema(values))),
        None => {}
    }
    if let Some(ty) = value.get("type").and_then(Value::as_str) {
        let mut item = Message::default();
        item.text(1, ty);
        message.message(22, &item);
    }
    if let Some(items) = value.get("items") {
        message.message(23, &wrapped(1, &schema(items)));
    }
    if value.get("properties").is_some() {
        let mut properties = Message::default();
        for (name, property) in entries(value, "properties") {
            properties.message(1, &named(name, &schema(property)));
        }
        message.message(25, &properties);
    }
    extensions(&mut message, 31, value);
    message
}

fn extensions(message: &mut Message, tag: u32, owner: &Value) {
    for (name, value) in owner.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
        message.message(tag, &named(name, &any(value)));
    }
}

/// `Any { yaml }`; JSON is YAML.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &format!("{value}\n"));
    message
}

fn entries<'a>(owner: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    owner.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// A message whose only field is another message.
fn wrapped(tag: u32, inner: &Message) -> Message {
    let mut message = Message::default();
    message.message(tag, inner);
    message
}

/// Bytes of a protobuf message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: usize) {
        while number > 0x7f {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.varint((tag as usize) << 3 | 2);
        self.varint(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u32, message: &Self) {
        self.bytes(tag, &message.0);
    }

    fn text(&mut self, tag: u32, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    fn flag(&mut self, tag: u32, on: bool) {
        self.varint((tag as usize) << 3);
        self.varint(usize::from(on));
    }

    fn text_of(&mut self, tag: u32, owner: &Value, key: &str) {
        if let Some(text) = owner.get(key).and_then(Value::as_str) {
            self.text(tag, text);
        }
    }

    fn texts_of(&mut self, tag: u32, owner: &Value, key: &str) {
        for text in owner.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.text(tag, text);
        }
    }

    fn flag_of(&mut self, tag: u32, owner: &Value, key: &str) {
        if owner.get(key) == Some(&Value::Bool(true)) {
            self.flag(tag, true);
        }
    }
}
