//! Values of expressions. JSON of the request is looked at where it lies and never copied.
//!
//! A value made from JSON knows the declared type of what it was made from; objects, lists and maps convert
//! their parts when these are asked for (`apiserver/pkg/cel/common/valuesunstructured.go`).

mod containers;

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map as JsonMap, Value as Json};

use super::decl::{DeclKind, DeclType, ListSemantics};
use super::error::EvalError;
use super::extension::Extension;
use super::instant::Instant;
use super::types::Type;
use crate::time;

pub use containers::{Entries, Fields, Key, List, Map, Text};

/// The outcome of evaluating something.
pub type Eval<T> = Result<T, EvalError>;

/// A value; `'a` is the life of the data and the program it came from.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A double.
    Double(f64),
    /// A string.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(Instant),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// A type.
    Type(Type),
    /// A value or none.
    Optional(Option<Arc<Value<'a>>>),
    /// A value of a library.
    Extension(Extension<'a>),
    /// Data without a schema: can only be compared.
    Unknown(&'a Json),
}

/// What undeclared JSON is taken for.
static DYNAMIC: DeclType = DeclType::DYNAMIC;

impl<'a> Value<'a> {
    /// JSON typed by what it is.
    pub fn dynamic(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::String(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json(items, &DYNAMIC, &ListSemantics::Atomic)),
            Json::Object(fields) => Self::Map(Map::Json(fields, &DYNAMIC)),
        }
    }

    /// JSON of a declared type.
    ///
    /// # Errors
    /// When the data is not of that type, which validation against the schema excludes.
    pub fn typed(json: &'a Json, decl: &'a DeclType) -> Eval<Self> {
        if json.is_null() && !matches!(decl.kind, DeclKind::Dyn | DeclKind::Unknown) {
            if decl.nullable {
                return Ok(Self::Null);
            }
            return Err(EvalError::new("invalid data, got null for schema with nullable=false"));
        }
        let wrong = |expected: &str| {
            EvalError::new(format!("invalid data, expected {expected}, got {}", go_type(json)))
        };
        let text = || json.as_str().ok_or_else(|| wrong("string"));
        Ok(match &decl.kind {
            DeclKind::Dyn => Self::dynamic(json),
            DeclKind::IntOrString => match json {
                Json::String(_) => Self::dynamic(json),
                Json::Number(number) if number.as_i64().is_some() => Self::dynamic(json),
                _ => return Err(wrong("XIntOrString value to be either a string or integer")),
            },
            DeclKind::Unknown | DeclKind::Other(_) => Self::Unknown(json),
            DeclKind::Bool => Self::Bool(json.as_bool().ok_or_else(|| wrong("bool"))?),
            DeclKind::Int => Self::Int(json.as_i64().ok_or_else(|| wrong("int"))?),
            DeclKind::Double => Self::Double(json.as_f64().ok_or_else(|| wrong("float"))?),
            DeclKind::String => Self::String(Text::Borrowed(text()?)),
            DeclKind::Bytes => Self::Bytes(bytes(text()?)?),
            DeclKind::Duration => Self::Duration(duration(text()?)?),
            DeclKind::Date => Self::Timestamp(date(text()?)?),
            DeclKind::Timestamp => Self::Timestamp(date_time(text()?)?),
            DeclKind::List(items, semantics) => match json {
                Json::Array(values) => Self::List(List::Json(values, items, semantics)),
                _ => {
                    let text = "invalid data, expected an array for the provided schema with type=array";
                    return Err(EvalError::new(text));
                }
            },
            DeclKind::Map(values) => Self::Map(Map::Json(fields(json)?, values)),
            DeclKind::Object(object) => Self::Map(Map::Object(fields(json)?, object)),
        })
    }

    /// A list made of these.
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::Values(Arc::new(values)))
    }

    /// A string that was made.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    /// An optional with a value.
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The type at run time; lists and maps do not know of what.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(Map::Message(name, _)) => Type::Object((*name).into()),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Extension(extension) => extension.type_of(),
            Self::Unknown(_) => Type::Object("unknown".into()),
        }
    }

    /// The name of [`Self::type_of`].
    pub fn type_name(&self) -> String {
        type_name(&self.type_of())
    }

    /// What `size()` gives, or 1 for what has no size: the measure of costs.
    pub fn cost_size(&self) -> u64 {
        match self {
            Self::String(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(inner)) => inner.cost_size(),
            Self::Extension(extension) => extension.cost_size(),
            _ => 1,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// As a map key.
    pub(crate) fn as_key(&self) -> Option<Key<'a>> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Uint(value) => Key::Uint(*value),
            Self::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    /// As JSON, where it has such a form (what a mutation writes).
    ///
    /// # Errors
    /// For types, optionals, library values and keys that are no strings.
    pub fn to_json(&self) -> Eval<Json> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::String(text) => Json::from(&**text),
            Self::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::Duration(nanos) => Json::from(time::go_duration(*nanos)),
            Self::Timestamp(at) => Json::from(at.to_string()),
            Self::List(List::Json(items, ..)) => Json::Array(items.to_vec()),
            Self::List(list) => {
                let items = (0..list.len()).filter_map(|at| list.get(at));
                Json::Array(items.map(|item| item?.to_json()).collect::<Eval<_>>()?)
            }
            Self::Map(Map::Json(fields, _) | Map::Object(fields, _)) => Json::Object((*fields).clone()),
            Self::Map(Map::Values(entries) | Map::Message(_, entries)) => {
                let mut fields = JsonMap::new();
                for (key, value) in entries.iter() {
                    let Key::String(key) = key else {
                        return Err(EvalError::new("map keys must be strings"));
                    };
                    fields.insert(key.to_string(), value.to_json()?);
                }
                Json::Object(fields)
            }
            Self::Unknown(json) => (*json).clone(),
            Self::Map(Map::Fields(_)) | Self::Type(_) | Self::Optional(_) | Self::Extension(_) => {
                return Err(EvalError::new(format!("type '{}' has no JSON form", self.type_name())));
            }
        })
    }
}

/// The name of a type at run time.
pub(crate) fn type_name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::List(_) => "list".to_owned(),
        Type::Map(..) => "map".to_owned(),
        Type::Optional(_) => "optional_type".to_owned(),
        Type::Type(_) => "type".to_owned(),
        other => other.to_string(),
    }
}

fn go_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn fields(json: &Json) -> Eval<&JsonMap<String, Json>> {
    let wrong = "invalid data, expected a map for the provided schema with type=object";
    json.as_object().ok_or_else(|| EvalError::new(wrong))
}

fn bytes(text: &str) -> Eval<Arc<[u8]>> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    let wrong = |error| EvalError::new(format!("Invalid byte formatted string {text}: {error}"));
    Ok(decoded.map_err(wrong)?.into())
}

fn duration(text: &str) -> Eval<i64> {
    let wrong = || EvalError::new(format!("Invalid duration {text}: unable to parse {text} as duration"));
    time::parse_go_duration(text).ok_or_else(wrong)
}

fn date(text: &str) -> Eval<Instant> {
    let wrong = || EvalError::new(format!("Invalid date formatted string {text}"));
    Instant::parse_date(text).ok_or_else(wrong)
}

fn date_time(text: &str) -> Eval<Instant> {
    let wrong = |_| EvalError::new(format!("Invalid date-time formatted string {text}"));
    Instant::parse(text, true).map_err(wrong)
}
