//! Strategic merge patch: a merge patch that knows which lists are maps.
//!
//! Entry point: [`apply`]. Source: the API conventions' "strategic merge patch" page. Directives:
//! `$patch: merge|replace|delete` in maps and list items, `$retainKeys`, `$setElementOrder/FIELD`,
//! `$deleteFromPrimitiveList/FIELD`. No directive ever reaches the result.

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{PatchStrategy, Schema};

mod order;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

type Fields = Map<String, Value>;

/// The object with the patch applied; `schema` says which lists merge and by which key (without one
/// every list is replaced).
///
/// # Errors
/// [`PatchError::Malformed`] for wrong directives, list items without their merge key, a patch that is
/// no object.
pub fn apply(object: &Value, patch: &Value, schema: Option<Schema<'_>>) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(malformed("a strategic merge patch must be an object"));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(original, patch, Place::of(schema))?))
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

/// What the schema knows about one value.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: Option<Schema<'a>>,
    merge_key: Option<&'a str>,
    strategy: PatchStrategy,
}

impl<'a> Place<'a> {
    fn of(schema: Option<Schema<'a>>) -> Self {
        Self { schema, merge_key: None, strategy: PatchStrategy::default() }
    }

    /// The value of a field or map key.
    fn below(self, key: &str) -> Self {
        let Some(schema) = self.schema else { return Self::of(None) };
        match schema.field(key) {
            Some(field) => Self {
                schema: Some(field.schema()),
                merge_key: field.patch_merge_key(),
                strategy: field.patch_strategy(),
            },
            None => Self::of(schema.values()),
        }
    }

    /// An item of the list.
    fn item(self) -> Self {
        Self::of(self.schema.and_then(Schema::items))
    }
}

fn merge_map(mut original: Fields, patch: &Fields, place: Place<'_>) -> Result<Fields, PatchError> {
    match patch.get(PATCH).map(|directive| (directive.as_str(), directive)) {
        None | Some((Some("merge"), _)) => {}
        Some((Some("replace"), _)) => return merge_map(Fields::new(), &without(patch, PATCH), place),
        Some((Some("delete"), _)) => return Ok(Fields::new()),
        Some((_, other)) => return Err(malformed(format!("unknown patch type: {other}"))),
    }
    retain_keys(&mut original, patch)?;
    for (key, change) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) {
            continue;
        }
        if let Some(field) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(&mut original, field, change)?;
            continue;
        }
        if change.is_null() {
            original.remove(key);
            continue;
        }
        let order = patch.get(&format!("{SET_ORDER}{key}"));
        let before = original.remove(key);
        let after = merge_value(before, change, place.below(key), order)?;
        original.insert(key.clone(), after);
    }
    // An order may come without a change of the list itself: items were only moved or deleted.
    for (key, order) in patch {
        let Some(field) = key.strip_prefix(SET_ORDER).filter(|field| !patch.contains_key(*field)) else {
            continue;
        };
        let place = place.below(field);
        if let Some(Value::Array(list)) = original.get_mut(field) {
            let before = std::mem::take(list);
            *list = order::arrange(before.clone(), list_of(order)?, &before, place.merge_key);
        }
    }
    Ok(original)
}

fn without(fields: &Fields, key: &str) -> Fields {
    fields
        .iter()
        .filter(|(name, _)| *name != key)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn list_of(value: &Value) -> Result<&[Value], PatchError> {
    let list =
        value.as_array().ok_or_else(|| malformed(format!("expected a list in the patch, got {value}")))?;
    Ok(list)
}

/// `$retainKeys` lists every key that may stay; it must name those the patch sets.
fn retain_keys(original: &mut Fields, patch: &Fields) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let retained = list_of(retained)?;
    let stays = |key: &str| retained.iter().any(|r| r == key);
    let sets = |(key, value): &(&String, &Value)| !key.starts_with('$') && !value.is_null();
    if let Some((key, _)) = patch.iter().filter(sets).find(|(key, _)| !stays(key)) {
        return Err(malformed(format!("$retainKeys must name every key the patch sets, but not {key:?}")));
    }
    original.retain(|key, _| stays(key));
    Ok(())
}

fn delete_primitives(original: &mut Fields, field: &str, doomed: &Value) -> Result<(), PatchError> {
    let doomed = list_of(doomed)?;
    if let Some(Value::Array(list)) = original.get_mut(field) {
        list.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

fn merge_value(
    before: Option<Value>,
    change: &Value,
    place: Place<'_>,
    order: Option<&Value>,
) -> Result<Value, PatchError> {
    match (before, change) {
        (before, Value::Object(fields)) => {
            let original = match before {
                Some(Value::Object(original)) if !place.strategy.replace => original,
                _ => Fields::new(),
            };
            Ok(Value::Object(merge_map(original, fields, place)?))
        }
        (before, Value::Array(items)) => {
            if !place.strategy.merge {
                return Ok(Value::Array(plain_items(items, place)?));
            }
            let original = match before {
                Some(Value::Array(original)) => original,
                _ => Vec::new(),
            };
            Ok(Value::Array(merge_list(original, items, place, order)?))
        }
        (_, scalar) => Ok(scalar.clone()),
    }
}

/// A list that replaces another, freed of directives and nulls below it.
fn plain_items(items: &[Value], place: Place<'_>) -> Result<Vec<Value>, PatchError> {
    let mut plain = Vec::with_capacity(items.len());
    for item in items {
        match item.get(PATCH).and_then(Value::as_str) {
            Some("delete") => {}
            // `{$patch: replace}` alone is a mark, not an item.
            Some("replace") if item.as_object().is_some_and(|fields| fields.len() == 1) => {}
            _ => plain.push(merge_value(None, item, place.item(), None)?),
        }
    }
    Ok(plain)
}

fn merge_list(
    original: Vec<Value>,
    patch: &[Value],
    place: Place<'_>,
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let of_maps = patch.iter().chain(&original).any(Value::is_object);
    let (server, merged) = if of_maps {
        let Some(key) = place.merge_key else {
            return Err(malformed("cannot merge lists without merge key"));
        };
        merge_maps(original, patch, key, place)?
    } else {
        let mut merged = Vec::new();
        for item in original.iter().chain(patch) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        (original, merged)
    };
    // Without an explicit order the patch's own order counts.
    let patch_order = match order {
        Some(order) => list_of(order)?,
        None => patch,
    };
    let merge_key = place.merge_key.filter(|_| of_maps);
    Ok(order::arrange(merged, patch_order, &server, merge_key))
}

/// The items on the server that stay, in the server's order, and all items merged.
fn merge_maps(
    mut original: Vec<Value>,
    patch: &[Value],
    key: &str,
    place: Place<'_>,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut changes: Vec<(&Value, &Fields)> = Vec::new();
    let mut replace = false;
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(malformed(format!("expected an object in a list of objects, got {item}")));
        };
        match fields.get(PATCH).map(|directive| (directive.as_str(), directive)) {
            None => changes.push((id(fields, key)?, fields)),
            Some((Some("delete"), _)) => {
                let doomed = id(fields, key)?;
                original.retain(|item| item.get(key) != Some(doomed));
            }
            Some((Some("replace"), _)) => {
                replace = true;
                // The mark may carry an item of its own.
                if let Some(value) = fields.get(key) {
                    changes.push((value, fields));
                }
            }
            Some((Some("merge"), _)) => {
                return Err(malformed("merging lists cannot yet be specified in the patch"));
            }
            Some((_, other)) => return Err(malformed(format!("unknown patch type: {other}"))),
        }
    }
    if replace {
        original.clear();
    }
    let mut merged = original.clone();
    for (value, fields) in changes {
        match merged.iter().position(|item| item.get(key) == Some(value)) {
            Some(at) => {
                let before = std::mem::take(&mut merged[at]);
                let Value::Object(before) = before else { continue };
                merged[at] = Value::Object(merge_map(before, fields, place.item())?);
            }
            None => {
                let fields = without(fields, PATCH);
                merged.push(Value::Object(merge_map(Fields::new(), &fields, place.item())?));
            }
        }
    }
    Ok((original, merged))
}

fn id<'a>(item: &'a Fields, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).filter(|value| !value.is_null()).ok_or_else(|| {
        let shown = Value::Object(item.clone());
        malformed(format!("map: {shown} does not contain declared merge key: {key}"))
    })
}

#[cfg(test)]
mod tests;
