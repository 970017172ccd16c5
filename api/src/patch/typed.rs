//! Values with their types, as apply sees them: which lists are sets or maps, what is atomic.
//!
//! Entry points: [`Typing`], and the walks [`field_set`], [`compare`], [`merge`], [`remove_items`],
//! [`check`]. Source: structured-merge-diff's `typed`.

mod atomics;
mod check;
mod compare;
mod fields;
mod merge;
mod remove;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::field_set::PathElement;
use crate::schema::{FieldRef, ListType, Schema, Type, facts};

pub use atomics::atomics;
pub use check::{Duplicates, TypedError, check};
pub use compare::{Comparison, compare};
pub use fields::field_set;
pub(crate) use fields::with_named_fields;
pub use merge::merge;
pub use remove::remove_items;

/// What is known about a value's type.
#[derive(Clone, Copy)]
pub struct Typing<'a>(Rule<'a>);

#[derive(Clone, Copy)]
enum Rule<'a> {
    /// The schema says it; `field` is where the value stands, unless it is an item or a map's value.
    Known { schema: Schema<'a>, field: Option<FieldRef<'a>> },
    /// A whole object without a schema: its metadata is known all the same.
    Root,
    /// The value itself says it: maps are granular, lists atomic.
    Deduced,
}

/// How a value is owned.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// Key by key.
    Map,
    /// Item by item, known by their values.
    Set,
    /// Item by item, known by the key fields the field names.
    Keyed(FieldRef<'a>),
}

/// Key fields of a list's items.
pub(crate) fn keys<'a>(field: FieldRef<'a>) -> impl Iterator<Item = &'a str> {
    let declared = field.list_map_keys();
    let marked = field.marked_list_type().is_some();
    declared.chain(field.patch_merge_key().filter(|_| !marked))
}

impl<'a> Typing<'a> {
    /// Of an object with this schema; without one types are deduced.
    pub fn of(schema: Option<Schema<'a>>) -> Self {
        match schema {
            Some(schema) => Self(Rule::Known { schema, field: None }),
            None => Self(Rule::Root),
        }
    }

    pub(crate) fn shape(self, value: &Value) -> Shape<'a> {
        let Rule::Known { schema, field } = self.0 else { return deduced(value) };
        let atomic = schema.is_atomic() || field.is_some_and(FieldRef::is_marked_atomic);
        match schema.ty() {
            Type::Object(_) | Type::Map(_) if atomic => Shape::Leaf,
            Type::Object(_) | Type::Map(_) => Shape::Map,
            Type::List(_) => field.map_or(Shape::Leaf, list_shape),
            Type::Raw(_) => deduced(value),
            _ => Shape::Leaf,
        }
    }

    /// The type of a field or a map's value; `None` where the schema has no such field.
    pub(crate) fn child(self, name: &str) -> Option<Self> {
        match self.0 {
            Rule::Deduced => Some(self),
            Rule::Root => Some(match object_meta().filter(|_| name == "metadata") {
                Some(schema) => Self::of(Some(schema)),
                None => Self(Rule::Deduced),
            }),
            Rule::Known { schema, .. } => {
                if let Some(field) = schema.field(name) {
                    return Some(Self(Rule::Known { schema: field.schema(), field: Some(field) }));
                }
                if let Some(schema) = schema.values() {
                    return Some(Self(Rule::Known { schema, field: None }));
                }
                schema.preserves_unknown().then_some(Self(Rule::Deduced))
            }
        }
    }

    /// The type of a list's items.
    pub(crate) fn item(self) -> Self {
        match self.0 {
            Rule::Known { schema, .. } => match schema.items() {
                Some(schema) => Self(Rule::Known { schema, field: None }),
                None => Self(Rule::Deduced),
            },
            Rule::Root | Rule::Deduced => Self(Rule::Deduced),
        }
    }

    /// Whether the name is a declared field, not a free key.
    pub(crate) fn declares(self, name: &str) -> bool {
        match self.0 {
            Rule::Known { schema, .. } => schema.field(name).is_some(),
            Rule::Root => name == "metadata",
            Rule::Deduced => false,
        }
    }

    /// What an absent field of a built-in kind counts as: Go's structs always have their inner structs and
    /// whatever else their encoder does not leave out.
    fn zero(self, name: &str) -> Option<&'static Value> {
        let Rule::Known { schema, .. } = self.0 else { return None };
        if !std::ptr::eq(schema.facts, facts()) {
            return None;
        }
        let field = schema.field(name)?;
        if field.is_pointer() {
            return None;
        }
        match field.schema().ty() {
            Type::Object(_) if !field.omits_zero() => Some(&EMPTY),
            Type::String if !field.omits_empty() => Some(&NO_TEXT),
            Type::Bool if !field.omits_empty() => Some(&FALSE),
            Type::Int32 | Type::Int64 if !field.omits_empty() => Some(&ZERO),
            Type::List(_) | Type::Map(_) if !field.omits_empty() => Some(&Value::Null),
            _ => None,
        }
    }

    /// The schema, for checks of scalars.
    fn schema(self) -> Option<Schema<'a>> {
        match self.0 {
            Rule::Known { schema, .. } => Some(schema),
            Rule::Root | Rule::Deduced => None,
        }
    }
}

static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static NO_TEXT: Value = Value::String(String::new());
static FALSE: Value = Value::Bool(false);
static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0));

fn object_meta() -> Option<Schema<'static>> {
    facts().schema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}

fn deduced<'a>(value: &Value) -> Shape<'a> {
    if matches!(value, Value::Object(_) | Value::Null) { Shape::Map } else { Shape::Leaf }
}

/// Unmarked lists follow their patch strategy, as upstream's schema conversion has it.
fn list_shape(field: FieldRef<'_>) -> Shape<'_> {
    match field.marked_list_type() {
        Some(ListType::Map) => Shape::Keyed(field),
        Some(ListType::Set) => Shape::Set,
        Some(ListType::Atomic) => Shape::Leaf,
        None if !field.patch_strategy().merge => Shape::Leaf,
        None if field.patch_merge_key().is_some() => Shape::Keyed(field),
        None => Shape::Set,
    }
}

/// The element an item of a list is known by.
///
/// # Errors
/// Why the item cannot be known; the text is upstream's.
pub(crate) fn item_element(shape: Shape<'_>, items: Typing<'_>, item: &Value) -> Result<PathElement, String> {
    let Shape::Keyed(field) = shape else { return set_element(item) };
    let Value::Object(map) = item else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let mut found = Vec::new();
    for key in keys(field) {
        let default = || items.schema()?.field(key)?.default();
        if let Some(value) = map.get(key) {
            found.push((key.to_owned(), value.clone()));
        } else if let Some(value) = default().and_then(|text| serde_json::from_str(text).ok()) {
            found.push((key.to_owned(), value));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys(field).map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(PathElement::Key(found))
}

fn set_element(item: &Value) -> Result<PathElement, String> {
    let text = match item {
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
        scalar => return Ok(PathElement::Value(scalar.clone())),
    };
    Err(text.to_owned())
}

#[cfg(test)]
mod tests;
