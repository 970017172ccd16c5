//! The paths an object mentions.

use serde_json::Value;

use super::{Shape, Typing, item_element};
use crate::patch::field_set::{FieldSet, PathElement};

/// Every leaf and every item that `value` mentions.
pub fn field_set(typing: Typing<'_>, value: &Value) -> FieldSet {
    walk(typing, value).1
}

/// Whether the value is a leaf, and what is below it.
fn walk(typing: Typing<'_>, value: &Value) -> (bool, FieldSet) {
    let mut set = FieldSet::default();
    let shape = typing.shape(value);
    match (shape, value) {
        (Shape::Leaf, _) => return (true, set),
        (Shape::Map, Value::Object(map)) => {
            for (key, inner) in map {
                let Some(child) = typing.child(key) else { continue };
                let (leaf, below) = walk(child, inner);
                let nothing = inner.is_null() || inner.as_object().is_some_and(serde_json::Map::is_empty);
                set.graft(PathElement::field(key), leaf || nothing || !typing.declares(key), below);
            }
        }
        (Shape::Set | Shape::Keyed(_), Value::Array(list)) => {
            let items = typing.item();
            let elements: Vec<Option<PathElement>> =
                list.iter().map(|item| item_element(shape, items, item).ok()).collect();
            for (element, item) in elements.iter().zip(list) {
                let Some(element) = element else { continue };
                let twice = elements.iter().flatten().filter(|other| *other == element).nth(1).is_some();
                // Of items that occur twice only the fact is owned: nobody could tell them apart.
                let below = if twice { FieldSet::default() } else { walk(items, item).1 };
                set.graft(element.clone(), true, below);
            }
        }
        _ => {}
    }
    (false, set)
}

/// The set with every declared field that leads to a member a member itself.
pub(crate) fn with_named_fields(typing: Typing<'_>, set: &FieldSet) -> FieldSet {
    set.rebuild(|element, member, below| {
        let (named, child) = match element {
            PathElement::Field(name) => (!below.is_empty() && typing.declares(name), typing.child(name)),
            PathElement::Key(_) => (false, Some(typing.item())),
            PathElement::Value(_) | PathElement::Index(_) => (false, None),
        };
        let below = child.map_or_else(|| below.clone(), |child| with_named_fields(child, below));
        (member || named, below)
    })
}
