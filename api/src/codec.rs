//! Wire forms of objects: JSON, YAML and protobuf.
//!
//! Entry points: [`decode_object`] for a request body that should be of one kind, [`decode`] for bytes of
//! a content type, [`json`], [`yaml`] and [`protobuf`] for one form each.

pub mod json;
pub mod protobuf;
mod tree;
pub mod yaml;

use std::fmt::Write as _;

use serde_json::Value;

use crate::custom;
use crate::kinds::Kind;
use crate::names::GroupVersion;
use crate::pruning::{self, FieldValidation};
use crate::schema::{Schema, facts};
use crate::status::Status;
use crate::validation;

/// Media types a request body may have, as the 415 names them.
pub const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// A body that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not of the form the content type promises; the text says where.
    #[error("{0}")]
    Malformed(String),
    /// A media type nobody here reads.
    #[error("unsupported media type {0:?}")]
    MediaType(String),
}

/// A tree and the keys that occurred twice in it (the last one won).
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The value.
    pub value: Value,
    /// At most a hundred.
    pub duplicates: Duplicates,
}

impl From<Value> for Tree {
    /// A tree that repeats nothing.
    fn from(value: Value) -> Self {
        Self { value, duplicates: Duplicates::default() }
    }
}

/// Keys that occurred twice, as the reader of the form names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duplicates {
    /// JSON: paths such as `spec.replicas`.
    Fields(Vec<String>),
    /// YAML: `line 7: key "replicas" already set in map`.
    Lines(Vec<String>),
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::Fields(Vec::new())
    }
}

impl Duplicates {
    /// Whether every key occurred once.
    pub fn is_empty(&self) -> bool {
        let (Self::Fields(list) | Self::Lines(list)) = self;
        list.is_empty()
    }

    /// A warning for each.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Fields(paths) => paths.iter().map(|path| pruning::duplicate_field(path)).collect(),
            Self::Lines(lines) => lines.clone(),
        }
    }

    /// What a strict reader fails with: all lines are one error.
    pub fn errors(&self) -> Vec<String> {
        match self {
            Self::Lines(lines) if !lines.is_empty() => {
                vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))]
            }
            _ => self.warnings(),
        }
    }
}

/// The media type of a `Content-Type`, without parameters, in lower case; JSON if there is none.
pub fn media_type(content_type: &str) -> String {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.is_empty() { "application/json".to_owned() } else { media.to_ascii_lowercase() }
}

/// Reads bytes of a content type. Protobuf is read only for kinds of the facts table.
///
/// # Errors
/// When the media type is unknown, or the bytes are not of it.
pub fn decode(content_type: &str, bytes: &[u8]) -> Result<Tree, DecodeError> {
    match media_type(content_type).as_str() {
        "application/json" => json::decode(bytes),
        "application/yaml" => yaml::decode(bytes),
        protobuf::MEDIA_TYPE => {
            let value = protobuf::decode(bytes).map_err(|e| DecodeError::Malformed(e.to_string()))?;
            Ok(value.into())
        }
        other => Err(DecodeError::MediaType(other.to_owned())),
    }
}

/// What a body should be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Empty for core.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Schema to check against; without one any fields pass.
    pub schema: Option<Schema<'a>>,
    /// A custom kind: types are a matter of its validation, and there is no protobuf for it.
    pub custom: bool,
}

impl<'a> Expected<'a> {
    /// A row of the table of kinds.
    pub fn row(kind: &'a Kind) -> Self {
        Self {
            group: &kind.group,
            version: &kind.version,
            kind: &kind.kind,
            schema: kind.schema(),
            custom: kind.is_custom(),
        }
    }

    /// A built-in kind that is no row: what a subresource takes (`Scale`, `Binding`, `Eviction`,
    /// `TokenRequest`), or `DeleteOptions`.
    pub fn builtin(group: &'a str, version: &'a str, kind: &'a str) -> Self {
        Self { group, version, kind, schema: facts().by_gvk(group, version, kind), custom: false }
    }

    fn api_version(&self) -> String {
        GroupVersion { group: self.group.to_owned(), version: self.version.to_owned() }.to_string()
    }
}

/// A body read, checked and normalised, and texts for `Warning` headers.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// With `apiVersion` and `kind` set; defaults are not filled yet.
    pub object: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.replicas"`; empty unless asked to warn.
    pub warnings: Vec<String>,
}

/// Reads a request body that should be an object of `kind`: decode, check types, drop unknown fields.
/// The caller fills defaults ([`crate::defaulting::apply`]) when the pipeline says so.
///
/// # Errors
/// 415 for an unknown media type; 400 for malformed bytes, another kind or version, wrong types, and
/// under [`FieldValidation::Strict`] unknown or duplicate fields. Texts are upstream's.
pub fn decode_object(
    kind: &Kind,
    content_type: &str,
    bytes: &[u8],
    field_validation: FieldValidation,
) -> Result<Decoded, Status> {
    decode_expected(&Expected::row(kind), content_type, bytes, field_validation)
}

/// Like [`decode_object`] for something that is no row of the table.
///
/// # Errors
/// As [`decode_object`].
pub fn decode_expected(
    expected: &Expected<'_>,
    content_type: &str,
    bytes: &[u8],
    field_validation: FieldValidation,
) -> Result<Decoded, Status> {
    if expected.custom && media_type(content_type) == protobuf::MEDIA_TYPE {
        return Err(Status::unsupported_media_type(custom::ACCEPTED));
    }
    let tree = decode(content_type, bytes).map_err(|error| match error {
        DecodeError::MediaType(_) => Status::unsupported_media_type(ACCEPTED),
        DecodeError::Malformed(text) => malformed(expected, &text, bytes),
    })?;
    // Go reads objects of its own types from JSON strictly as it goes; what is YAML, or of a custom kind, went
    // through a map before, whose keys are in order.
    let typed = !expected.custom && media_type(content_type) == "application/json";
    check(expected, tree, typed.then_some(bytes), field_validation)
}

/// The part of [`decode_object`] after the bytes: for trees that come from elsewhere, such as a patch's
/// result.
///
/// # Errors
/// As [`decode_object`], without the 415.
pub fn check_tree(
    expected: &Expected<'_>,
    tree: Tree,
    field_validation: FieldValidation,
) -> Result<Decoded, Status> {
    check(expected, tree, None, field_validation)
}

fn check(
    expected: &Expected<'_>,
    tree: Tree,
    document: Option<&[u8]>,
    field_validation: FieldValidation,
) -> Result<Decoded, Status> {
    let Tree { value: mut object, duplicates } = tree;
    identify(expected, &mut object)?;
    let mut problems = match field_validation {
        FieldValidation::Strict => duplicates.errors(),
        FieldValidation::Warn | FieldValidation::Ignore => duplicates.warnings(),
    };
    if let Some(schema) = expected.schema {
        check_types(expected, schema, &mut object).map_err(|e| cannot_handle(expected, &e.to_string()))?;
        let unknown = pruning::prune(schema, &mut object);
        problems.extend(unknown.iter().map(|path| pruning::unknown_field(path)));
        if let Some(document) = document.filter(|_| problems.len() > 1) {
            problems = json::strict::problems(schema, document);
        }
    }
    match field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(cannot_handle(expected, &format!("strict decoding error: {}", problems.join(", "))))
        }
        FieldValidation::Warn => Ok(Decoded { object, warnings: problems }),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Decoded { object, warnings: Vec::new() }),
    }
}

/// Of a custom object only `metadata` has Go types.
fn check_types(
    expected: &Expected<'_>,
    schema: Schema<'_>,
    object: &mut Value,
) -> Result<(), validation::TypeError> {
    if !expected.custom {
        return validation::types(schema, object);
    }
    match (schema.field("metadata"), object.get_mut("metadata")) {
        (Some(field), Some(metadata)) => validation::types(field.schema(), metadata),
        _ => Ok(()),
    }
}

/// Fills `apiVersion` and `kind` where the caller left them out and refuses others.
fn identify(expected: &Expected<'_>, object: &mut Value) -> Result<(), Status> {
    let want = (expected.api_version(), expected.kind);
    let Value::Object(map) = object else {
        let text = "json: cannot unmarshal into Go value of type struct";
        return Err(cannot_handle(expected, text));
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (got_version, got_kind) = (text("apiVersion"), text("kind"));
    if !got_kind.is_empty() && got_kind != want.1 {
        let version = if got_version.is_empty() { &want.0 } else { &got_version };
        let version = GroupVersion::parse(version);
        return Err(Status::bad_request(format!(
            "{got_kind} in version {:?} cannot be handled as a {kind}: converting ({}.{got_kind}) to \
             ({}.{kind}): unknown conversion",
            version.version,
            version.version,
            go_package(expected.group),
            kind = want.1,
        )));
    }
    if !got_version.is_empty() && got_version != want.0 {
        return Err(Status::bad_request(format!(
            "the API version in the data ({got_version}) does not match the expected API version ({})",
            want.0,
        )));
    }
    map.insert("apiVersion".to_owned(), Value::String(want.0));
    map.insert("kind".to_owned(), Value::from(want.1));
    Ok(())
}

/// The Go package of a group's internal types, which upstream names in messages.
pub fn go_package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

fn cannot_handle(expected: &Expected<'_>, problem: &str) -> Status {
    let Expected { kind, version, .. } = expected;
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {problem}"))
}

fn malformed(expected: &Expected<'_>, problem: &str, bytes: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {problem} ({})",
        expected.kind,
        summary(bytes),
    ))
}

/// The first thirty bytes, as text if they look like JSON, else in hexadecimal.
fn summary(bytes: &[u8]) -> String {
    const MOST: usize = 30;
    let head = bytes.get(..MOST).unwrap_or(bytes);
    let mut text = match bytes.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().fold(String::new(), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
    };
    if bytes.len() > MOST {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests;
