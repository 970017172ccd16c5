//! The live object with an applied configuration merged in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Shape, Typing, item_element};
use crate::patch::field_set::PathElement;

/// The live object with what the configuration says; nothing is removed. Items of a list stand as in the
/// configuration where both have them, others where they stood.
pub fn merge(typing: Typing<'_>, live: &Value, config: &Value) -> Value {
    walk(typing, Some(live), Some(config)).unwrap_or_else(|| Value::Object(Map::new()))
}

fn walk(typing: Typing<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let said = config.or(live)?;
    let shape = typing.shape(said);
    match shape {
        Shape::Leaf => Some(said.clone()),
        Shape::Map => {
            let (l, r) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            if l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty) {
                return Some(said.clone());
            }
            let merged = maps(typing, l, r);
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
        Shape::Set | Shape::Keyed(_) => {
            let list = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
            if list(live) == 0 && list(config) == 0 {
                return Some(said.clone());
            }
            let merged = Lists::new(typing, shape, live, config).merge();
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
    }
}

fn maps(
    typing: Typing<'_>,
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in live.into_iter().flatten() {
        let said = config.and_then(|map| map.get(key));
        let merged = match typing.child(key) {
            Some(child) => walk(child, Some(value), said),
            None => Some(said.unwrap_or(value).clone()),
        };
        out.extend(merged.map(|merged| (key.clone(), merged)));
    }
    for (key, value) in config.into_iter().flatten() {
        if live.is_none_or(|map| !map.contains_key(key)) {
            let merged = match typing.child(key) {
                Some(child) => walk(child, None, Some(value)),
                None => Some(value.clone()),
            };
            out.extend(merged.map(|merged| (key.clone(), merged)));
        }
    }
    out
}

/// Two lists being woven together.
struct Lists<'a> {
    items: Typing<'a>,
    live: Vec<(PathElement, &'a Value)>,
    config: Vec<(PathElement, &'a Value)>,
    /// Items of the live list by element; of an element that occurs twice, nothing is merged into.
    known: BTreeMap<PathElement, Option<&'a Value>>,
}

impl<'a> Lists<'a> {
    fn new(typing: Typing<'a>, shape: Shape<'a>, live: Option<&'a Value>, config: Option<&'a Value>) -> Self {
        let items = typing.item();
        let read = |value: Option<&'a Value>| -> Vec<(PathElement, &'a Value)> {
            let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let pair = |item: &'a Value| item_element(shape, items, item).ok().map(|e| (e, item));
            list.iter().filter_map(pair).collect()
        };
        let (live, config) = (read(live), read(config));
        let mut known: BTreeMap<PathElement, Option<&'a Value>> = BTreeMap::new();
        for (element, item) in &live {
            known.entry(element.clone()).and_modify(|found| *found = None).or_insert(Some(item));
        }
        Self { items, live, config, known }
    }

    /// Weaves the lists: items only the live one has keep their places, those of both follow the
    /// configuration's order.
    fn merge(&self) -> Vec<Value> {
        let in_config = |e: &PathElement| self.config.iter().any(|(other, _)| other == e);
        let mut shared =
            self.config.iter().map(|(element, _)| element).filter(|e| self.known.contains_key(e));
        let mut next_shared = shared.next();
        let mut merged: Vec<&PathElement> = Vec::new();
        let mut out = Vec::with_capacity(self.live.len().max(self.config.len()));
        let (mut l, mut r) = (0, 0);
        loop {
            let (ours, theirs) = (self.live.get(l), self.config.get(r));
            if let (Some((element, _)), Some((wanted, item))) = (ours, theirs) {
                if element == wanted {
                    merged.push(wanted);
                    out.extend(self.both(wanted, item));
                    (l, r) = (l + 1, r + 1);
                    next_shared = shared.next();
                    continue;
                }
                if in_config(element) && next_shared.is_some_and(|next| next != element) {
                    l += 1;
                    continue;
                }
            }
            if let Some((element, item)) = ours {
                if !in_config(element) {
                    out.extend(walk(self.items, Some(item), None));
                    l += 1;
                    continue;
                }
                if merged.contains(&element) {
                    l += 1;
                }
            }
            if let Some((wanted, item)) = theirs {
                merged.push(wanted);
                out.extend(self.both(wanted, item));
                r += 1;
                if next_shared == Some(wanted) {
                    next_shared = shared.next();
                }
            } else if self.live.get(l).is_none() {
                return out;
            }
        }
    }

    fn both(&self, element: &PathElement, item: &Value) -> Option<Value> {
        walk(self.items, self.known.get(element).copied().flatten(), Some(item))
    }
}
