//! Strings, lists and maps of values.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use super::{Eval, Value};
use crate::cel::decl::{DeclType, ListSemantics, Object};

/// A string, in the data or made by the expression.
#[derive(Clone)]
pub enum Text<'a> {
    /// In the data or the program.
    Borrowed(&'a str),
    /// Made.
    Shared(Arc<str>),
}

/// A list.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// JSON, the declared type of its items, and how such lists compare.
    Json(&'a [Json], &'a DeclType, &'a ListSemantics),
    /// Made by the expression.
    Values(Arc<Vec<Value<'a>>>),
}

/// A map or an object.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// JSON with free keys, and the declared type of the values.
    Json(&'a JsonMap<String, Json>, &'a DeclType),
    /// JSON with declared fields.
    Object(&'a JsonMap<String, Json>, &'a Object),
    /// Made by the expression.
    Values(Arc<Entries<'a>>),
    /// Made by the expression as an object of a named type.
    Message(&'a str, Arc<Entries<'a>>),
    /// Fields that are computed when asked for.
    Fields(&'a dyn Fields),
}

/// An object whose fields are computed when asked for, such as the variables of a policy.
pub trait Fields: fmt::Debug + Sync {
    /// The field's value; none if there is no such field.
    fn field(&self, name: &str) -> Option<Eval<Value<'_>>>;
}

/// A key of a map.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A string.
    String(Text<'a>),
}

impl<'a> List<'a> {
    /// How many items.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, ..) => items.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at a position.
    pub fn get(&self, at: usize) -> Option<Eval<Value<'a>>> {
        match self {
            Self::Json(items, decl, _) => items.get(at).map(|item| Value::typed(item, decl)),
            Self::Values(values) => values.get(at).cloned().map(Ok),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Eval<Value<'a>>> + use<'_, 'a> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'a> Map<'a> {
    /// How many entries; of an object, also those that are not declared.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) | Self::Object(fields, _) => fields.len(),
            Self::Values(entries) | Self::Message(_, entries) => entries.0.len(),
            Self::Fields(_) => 1,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a key.
    pub fn get(&self, key: &Key<'_>) -> Option<Eval<Value<'a>>> {
        match (self, key) {
            (Self::Values(entries) | Self::Message(_, entries), key) => entries.get(key).cloned().map(Ok),
            (Self::Json(fields, decl), Key::String(key)) => {
                fields.get(&**key).map(|value| Value::typed(value, decl))
            }
            (Self::Object(fields, object), Key::String(key)) => {
                let property = object.identifiers.get(&**key)?;
                // A null in a nullable field is the same as an absent field.
                let value = fields.get(property).filter(|value| !value.is_null())?;
                Some(Value::typed(value, object.properties.get(property)?))
            }
            (Self::Fields(fields), Key::String(key)) => fields.field(key),
            _ => None,
        }
    }

    /// The keys an expression sees.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(fields, _) => fields.keys().map(|key| Value::String(Text::Borrowed(key))).collect(),
            Self::Object(fields, object) => {
                let seen = object.identifiers.iter().filter(|(_, property)| fields.contains_key(*property));
                seen.map(|(identifier, _)| Value::String(Text::Borrowed(identifier))).collect()
            }
            Self::Values(entries) | Self::Message(_, entries) => {
                entries.iter().map(|(key, _)| key.to_value()).collect()
            }
            Self::Fields(_) => Vec::new(),
        }
    }
}

/// Entries of a map the expression made, in order of their keys.
#[derive(Debug, Clone, Default)]
pub struct Entries<'a>(Vec<(Key<'a>, Value<'a>)>);

impl<'a> Entries<'a> {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &(Key<'a>, Value<'a>)> {
        self.0.iter()
    }

    /// Sets an entry; what was there before.
    pub fn insert(&mut self, key: Key<'a>, value: Value<'a>) -> Option<Value<'a>> {
        match self.place(&key) {
            Ok(at) => self.0.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// The value under a key; numbers are found by value, whatever their type.
    pub fn get(&self, key: &Key<'_>) -> Option<&Value<'a>> {
        let exact = |key: &Key<'_>| self.place(key).ok().and_then(|at| self.0.get(at)).map(|entry| &entry.1);
        exact(key).or_else(|| match key {
            Key::Int(value) => exact(&Key::Uint(u64::try_from(*value).ok()?)),
            Key::Uint(value) => exact(&Key::Int(i64::try_from(*value).ok()?)),
            _ => None,
        })
    }

    fn place(&self, key: &Key<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.order(key))
    }
}

impl Key<'_> {
    /// Kinds in a fixed order, then by value.
    fn order(&self, other: &Key<'_>) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Key::Bool(b)) => a.cmp(b),
            (Self::Int(a), Key::Int(b)) => a.cmp(b),
            (Self::Uint(a), Key::Uint(b)) => a.cmp(b),
            (Self::String(a), Key::String(b)) => (**a).cmp(&**b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Uint(_) => 2,
            Self::String(_) => 3,
        }
    }
}

impl<'a> Key<'a> {
    /// As a value.
    pub fn to_value(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::String(text.clone()),
        }
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
