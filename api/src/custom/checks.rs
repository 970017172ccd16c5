//! The value validations of a schema, compiled once.

use regex::Regex;
use serde_json::{Number, Value};

use super::Node;

/// What a schema asks of a value beyond its type.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub(super) format: String,
    pub(super) pattern: String,
    /// `None` where there is no pattern, or none that can be compiled.
    pub(super) regex: Option<Regex>,
    pub(super) allowed: Option<Vec<Value>>,
    pub(super) maximum: Option<Number>,
    pub(super) minimum: Option<Number>,
    pub(super) exclusive_maximum: bool,
    pub(super) exclusive_minimum: bool,
    pub(super) multiple_of: Option<Number>,
    pub(super) max_length: Option<u64>,
    pub(super) min_length: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) min_items: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) min_properties: Option<u64>,
    pub(super) unique_items: bool,
    pub(super) all_of: Vec<Node>,
    pub(super) any_of: Vec<Node>,
    pub(super) one_of: Vec<Node>,
    pub(super) not: Option<Box<Node>>,
}

impl Checks {
    pub(super) fn read(schema: &Value) -> Self {
        let text = |key: &str| schema[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| schema[key].as_number().cloned();
        let count = |key: &str| schema[key].as_u64();
        let nodes = |key: &str| schema[key].as_array().into_iter().flatten().map(Node::read).collect();
        let pattern = text("pattern");
        Self {
            regex: compile(&pattern),
            pattern,
            format: text("format"),
            allowed: schema["enum"].as_array().filter(|values| !values.is_empty()).cloned(),
            maximum: number("maximum"),
            minimum: number("minimum"),
            exclusive_maximum: schema["exclusiveMaximum"] == true,
            exclusive_minimum: schema["exclusiveMinimum"] == true,
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            unique_items: schema["uniqueItems"] == true,
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: schema["not"].is_object().then(|| Box::new(Node::read(&schema["not"]))),
        }
    }
}

/// A pattern as Go understands it; its size is bounded, because CRDs are written by strangers.
pub fn compile(pattern: &str) -> Option<Regex> {
    const MOST_BYTES: usize = 1 << 20;
    (!pattern.is_empty())
        .then(|| regex::RegexBuilder::new(pattern).size_limit(MOST_BYTES).build().ok())
        .flatten()
}
