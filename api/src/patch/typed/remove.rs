//! An object without some of its fields and items.

use serde_json::{Map, Value};

use super::{Shape, Typing, item_element};
use crate::patch::field_set::{FieldSet, PathElement};

/// The value without the paths of `set`. What is emptied by that becomes null.
pub fn remove_items(typing: Typing<'_>, value: &Value, set: &FieldSet) -> Value {
    let shape = typing.shape(value);
    match (shape, value) {
        (Shape::Map, Value::Object(map)) => {
            let kept = remove_from_map(typing, map, set);
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Shape::Set | Shape::Keyed(_), Value::Array(list)) => {
            let kept = remove_from_list(typing, shape, list, set);
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        // An atomic value goes as a whole.
        (Shape::Leaf, Value::Array(_) | Value::Object(_)) => Value::Null,
        _ => value.clone(),
    }
}

fn remove_from_map(typing: Typing<'_>, map: &Map<String, Value>, set: &FieldSet) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in map {
        let element = PathElement::field(key);
        if set.has_element(&element) {
            continue;
        }
        let rest = match (set.below(&element), typing.child(key)) {
            (Some(below), Some(child)) => remove_items(child, value, below),
            _ => value.clone(),
        };
        kept.insert(key.clone(), rest);
    }
    kept
}

fn remove_from_list(typing: Typing<'_>, shape: Shape<'_>, list: &[Value], set: &FieldSet) -> Vec<Value> {
    let items = typing.item();
    let mut kept = Vec::with_capacity(list.len());
    for item in list {
        let Ok(element) = item_element(shape, items, item) else {
            kept.push(item.clone());
            continue;
        };
        if set.has_element(&element) {
            continue;
        }
        kept.push(match set.below(&element) {
            Some(below) => remove_items(items, item, below),
            None => item.clone(),
        });
    }
    kept
}
