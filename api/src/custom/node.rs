//! A structural schema, read from JSON into what the walks need.
//!
//! Reading never fails: what validation of the CRD would have refused reads as absent.

use std::collections::BTreeMap;

use serde_json::Value;

use super::checks::Checks;
use crate::schema::ListType;

/// The types a structural schema may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// A map with string keys.
    Object,
    /// A list.
    Array,
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
}

impl JsonType {
    /// From the schema's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// The schema's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// `additionalProperties`.
#[derive(Debug, Clone)]
pub enum Additional {
    /// Any value, or none.
    Allowed(bool),
    /// Values of this schema.
    Schema(Box<Node>),
}

/// One place in a structural schema.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `type`.
    pub ty: Option<JsonType>,
    /// Null is a value here.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// By name.
    pub properties: BTreeMap<String, Node>,
    /// Values of free keys.
    pub additional: Option<Additional>,
    /// Items of a list.
    pub items: Option<Box<Node>>,
    /// `default`.
    pub default: Option<Value>,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// `required`.
    pub required: Vec<String>,
    /// Everything else a value must obey.
    pub checks: Checks,
}

impl Node {
    /// Reads a schema.
    pub fn read(schema: &Value) -> Self {
        let flag = |key: &str| schema[key] == true;
        Self {
            ty: schema["type"].as_str().and_then(JsonType::parse),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            properties: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), Self::read(inner)))
                .collect(),
            additional: additional(&schema["additionalProperties"]),
            items: schema["items"].is_object().then(|| Box::new(Self::read(&schema["items"]))),
            default: schema.get("default").cloned(),
            list_type: match schema["x-kubernetes-list-type"].as_str() {
                Some("atomic") => Some(ListType::Atomic),
                Some("map") => Some(ListType::Map),
                Some("set") => Some(ListType::Set),
                _ => None,
            },
            list_map_keys: texts(&schema["x-kubernetes-list-map-keys"]),
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            required: texts(&schema["required"]),
            checks: Checks::read(schema),
        }
    }
}

fn additional(value: &Value) -> Option<Additional> {
    match value {
        Value::Bool(on) => Some(Additional::Allowed(*on)),
        Value::Object(_) => Some(Additional::Schema(Box::new(Node::read(value)))),
        _ => None,
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
