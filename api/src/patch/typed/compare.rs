//! What one object has over another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Shape, Typing, item_element};
use crate::patch::field_set::{FieldSet, PathElement};

/// How the right object differs from the left. No path is in two of the sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only on the left.
    pub removed: FieldSet,
    /// On both, with different values.
    pub modified: FieldSet,
    /// Only on the right.
    pub added: FieldSet,
}

impl Comparison {
    /// Whether there is no difference.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Without these paths and all below them.
    #[must_use]
    pub fn without(mut self, paths: &FieldSet) -> Self {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.subtract_recursively(paths);
        }
        self
    }

    /// What the right object sets: new, or otherwise than the left.
    #[must_use]
    pub fn into_set(self) -> FieldSet {
        let mut set = self.added;
        set.absorb(self.modified);
        set
    }

    fn graft(&mut self, element: &PathElement, found: Found) {
        let Found { this, below } = found;
        let sides = [
            (&mut self.removed, This::Removed, below.removed),
            (&mut self.modified, This::Modified, below.modified),
            (&mut self.added, This::Added, below.added),
        ];
        for (set, side, below) in sides {
            if this == side || !below.is_empty() {
                set.graft(element.clone(), this == side, below);
            }
        }
    }

    fn mark(&mut self, element: &PathElement, this: This) {
        self.graft(element, Found { this, below: Self::default() });
    }
}

/// What became of a value itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum This {
    #[default]
    Same,
    Removed,
    Modified,
    Added,
}

#[derive(Default)]
struct Found {
    this: This,
    below: Comparison,
}

/// Compares two objects of one type.
pub fn compare(typing: Typing<'_>, left: &Value, right: &Value) -> Comparison {
    walk(typing, Some(left), Some(right)).below
}

fn walk(typing: Typing<'_>, left: Option<&Value>, right: Option<&Value>) -> Found {
    let mut found = Found::default();
    if left == right {
        return found;
    }
    // A deduced type may differ on the two sides; then both readings count.
    let shapes = [left, right].map(|value| value.map(|value| typing.shape(value)));
    let differ = matches!(shapes, [Some(a), Some(b)] if is_leaf(a) != is_leaf(b));
    let mut leaf = false;
    let [a, b] = shapes;
    for shape in [a.filter(|_| differ || b.is_none()), b].into_iter().flatten() {
        leaf = visit(typing, shape, left, right, &mut found);
    }
    if !leaf && left.is_none() {
        found.this = This::Added;
    } else if !leaf && right.is_none() {
        found.this = This::Removed;
    }
    found
}

fn is_leaf(shape: Shape<'_>) -> bool {
    matches!(shape, Shape::Leaf)
}

/// Whether the value was compared as a whole.
fn visit(
    typing: Typing<'_>,
    shape: Shape<'_>,
    left: Option<&Value>,
    right: Option<&Value>,
    found: &mut Found,
) -> bool {
    let whole = match shape {
        Shape::Leaf => true,
        Shape::Map => {
            let (l, r) = (left.and_then(Value::as_object), right.and_then(Value::as_object));
            let empty = l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty);
            if !empty {
                maps(typing, l, r, &mut found.below);
            }
            empty
        }
        Shape::Set | Shape::Keyed(_) => {
            let (l, r) = (list(left), list(right));
            if !l.is_empty() || !r.is_empty() {
                lists(typing, shape, l, r, &mut found.below);
            }
            l.is_empty() && r.is_empty()
        }
    };
    if whole {
        found.this = match (left, right) {
            (None, _) => This::Added,
            (_, None) => This::Removed,
            _ => This::Modified,
        };
    }
    whole
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn maps(
    typing: Typing<'_>,
    left: Option<&Map<String, Value>>,
    right: Option<&Map<String, Value>>,
    below: &mut Comparison,
) {
    let mut item = |key: &str, l: Option<&Value>, r: Option<&Value>| {
        let Some(child) = typing.child(key) else { return };
        // An object that is there has the zero values its type always has.
        let zero = || typing.zero(key);
        let l = l.or_else(|| left.and_then(|_| zero()));
        let r = r.or_else(|| right.and_then(|_| zero()));
        if l != r {
            let found = walk(child, l, r);
            below.graft(&PathElement::field(key), found);
        }
    };
    for (key, value) in left.into_iter().flatten() {
        item(key, Some(value), right.and_then(|map| map.get(key)));
    }
    for (key, value) in right.into_iter().flatten() {
        if left.is_none_or(|map| !map.contains_key(key)) {
            item(key, None, Some(value));
        }
    }
}

fn lists(typing: Typing<'_>, shape: Shape<'_>, left: &[Value], right: &[Value], below: &mut Comparison) {
    let items = typing.item();
    let mut pairs: BTreeMap<PathElement, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [left, right].into_iter().enumerate() {
        for item in list {
            let Ok(element) = item_element(shape, items, item) else { continue };
            if let Some(values) = pairs.entry(element).or_default().get_mut(side) {
                values.push(item);
            }
        }
    }
    for (element, [l, r]) in pairs {
        match (l.as_slice(), r.as_slice()) {
            ([] | [_], [] | [_]) => {
                let found = walk(items, l.first().copied(), r.first().copied());
                below.graft(&element, found);
            }
            // Items nobody can tell apart count as one value.
            ([_, _, ..], [_, _, ..]) => {
                if l != r {
                    below.mark(&element, This::Modified);
                }
            }
            ([_, _, ..], rest) => {
                if let [one] = rest {
                    below.graft(&element, walk(items, None, Some(one)));
                }
                below.mark(&element, This::Removed);
            }
            (rest, _) => {
                if let [one] = rest {
                    below.graft(&element, walk(items, Some(one), None));
                }
                below.mark(&element, This::Added);
            }
        }
    }
}
