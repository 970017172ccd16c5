//! Strategic merge patch: a merge patch that knows which lists are maps.
//!
//! Entry point: [`apply`]. Source: the API conventions' "strategic merge patch" page. Directives:
//! `$patch: merge|replace|delete` in maps and list items, `$retainKeys`, `$setElementOrder/FIELD`,
//! `$deleteFromPrimitiveList/FIELD`. No directive ever reaches the result.

use serde_json::{Map, Value};

use super::{PatchError, go_print};
use crate::schema::{PatchStrategy, Schema};

mod order;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList";

type Fields = Map<String, Value>;

/// The object with the patch applied; `schema` says which lists merge and by which key (without one
/// every list is replaced).
///
/// # Errors
/// [`PatchError`] for wrong directives, list items without their merge key, a patch that is no object;
/// classified and worded as upstream has it, which answers 500 to most of them.
pub fn apply(object: &Value, patch: &Value, schema: Option<Schema<'_>>) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        let got = super::json::word(patch);
        return Err(malformed(format!(
            "json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
        )));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(original, patch, Place::of(schema))?))
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

/// A fault upstream has no class for.
fn unclassified(text: impl Into<String>) -> PatchError {
    PatchError::Unclassified(text.into())
}

fn unknown_directive(directive: &Value, fields: &Fields) -> PatchError {
    let fields = go_print::value(&Value::Object(fields.clone()));
    unclassified(format!("unknown patch type: {} in map: {fields}", go_print::value(directive)))
}

/// The field a directive's key names: `containers` of `$setElementOrder/containers`.
///
/// # Errors
/// When the key only begins like the directive.
fn directed<'a>(key: &'a str, directive: &str, fault: &str) -> Result<Option<&'a str>, PatchError> {
    match key.strip_prefix(directive) {
        None => Ok(None),
        Some(rest) => rest.strip_prefix('/').map(Some).ok_or_else(|| malformed(fault)),
    }
}

fn ordered(key: &str) -> Result<Option<&str>, PatchError> {
    directed(key, SET_ORDER, "invalid patch format of setElementOrder list")
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
    match patch.get(PATCH) {
        None => {}
        Some(directive) if directive == "replace" => {
            return merge_map(Fields::new(), &without(patch, PATCH), place);
        }
        Some(directive) if directive == "delete" => return Ok(Fields::new()),
        Some(other) => return Err(unknown_directive(other, patch)),
    }
    retain_keys(&mut original, patch)?;
    for (key, change) in patch {
        if key == RETAIN_KEYS || ordered(key)?.is_some() {
            continue;
        }
        if let Some(field) = directed(key, DELETE_PRIMITIVES, "invalid patch format of primitive list")? {
            delete_primitives(&mut original, field, change);
            continue;
        }
        if change.is_null() {
            original.remove(key);
            continue;
        }
        let order = patch.get(&format!("{SET_ORDER}/{key}"));
        let before = original.remove(key);
        // A map that is not there yet and has a directive is only that: nothing to add.
        if change.get(PATCH).is_some() && !before.as_ref().is_some_and(Value::is_object) {
            continue;
        }
        let after = merge_value(before, change, place.below(key), order)?;
        original.insert(key.clone(), after);
    }
    // An order may come without a change of the list itself: items were only moved or deleted.
    for (key, order) in patch {
        let Some(field) = ordered(key)?.filter(|field| !patch.contains_key(*field)) else { continue };
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
    let got = go_print::type_name(value);
    let fault = || unclassified(format!("expected a []interface {{}}, but received a {got}"));
    value.as_array().map(Vec::as_slice).ok_or_else(fault)
}

/// `$retainKeys` lists every key that may stay; it must name those the patch sets.
fn retain_keys(original: &mut Fields, patch: &Fields) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let fault = || malformed("invalid patch format of retainKeys");
    let retained = retained.as_array().ok_or_else(fault)?;
    let stays = |key: &str| retained.iter().any(|r| r == key);
    let sets = |(key, value): &(&String, &Value)| !key.starts_with('$') && !value.is_null();
    if patch.iter().filter(sets).any(|(key, _)| !stays(key)) {
        return Err(fault());
    }
    original.retain(|key, _| stays(key));
    Ok(())
}

fn delete_primitives(original: &mut Fields, field: &str, doomed: &Value) {
    if let (Some(Value::Array(list)), Value::Array(doomed)) = (original.get_mut(field), doomed) {
        list.retain(|item| !doomed.contains(item));
    }
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
    let plain = items.iter().filter(|item| item.get(PATCH).is_none());
    plain.map(|item| merge_value(None, item, place.item(), None)).collect()
}

/// Whether the items are maps.
///
/// # Errors
/// For items of several types, and for lists of lists.
fn are_maps(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(false) };
    if first.is_array() {
        return Err(PatchError::DoesNotApply("lists of lists are not supported".to_owned()));
    }
    let word = super::json::word;
    if items.any(|item| word(item) != word(first)) {
        let print = |list: &[Value]| go_print::value(&Value::Array(list.to_vec()));
        let shown = format!("[{} {}]", print(original), print(patch));
        return Err(unclassified(format!("list element types are not identical: {shown}")));
    }
    Ok(first.is_object())
}

fn merge_list(
    original: Vec<Value>,
    patch: &[Value],
    place: Place<'_>,
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let of_maps = are_maps(&original, patch)?;
    if let Some(order) = order {
        order::check(patch, list_of(order)?, place.merge_key.filter(|_| of_maps))?;
    }
    let (server, merged) = if of_maps {
        let Some(key) = place.merge_key else {
            return Err(unclassified("cannot merge lists without merge key for struct"));
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
        let Value::Object(fields) = item else { continue };
        match fields.get(PATCH) {
            None => changes.push((id(fields, key)?, fields)),
            Some(directive) if directive == "delete" => {
                let doomed = id(fields, key)?;
                original.retain(|item| item.get(key) != Some(doomed));
            }
            // The mark is no item, whatever else it carries.
            Some(directive) if directive == "replace" => replace = true,
            Some(directive) if directive == "merge" => {
                return Err(unclassified("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => return Err(unknown_directive(other, fields)),
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
        let shown = go_print::value(&Value::Object(item.clone()));
        unclassified(format!("map: {shown} does not contain declared merge key: {key}"))
    })
}

#[cfg(test)]
mod tests;
