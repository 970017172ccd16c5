//! Where items of a merged list go: the patch's items in the patch's order, the others in the server's,
//! woven so that both orders hold.

use std::collections::VecDeque;

use serde_json::Value;

use crate::patch::{PatchError, go_print};

/// Sorts `merged`. `wanted` is the order the patch asks for, `server` the list before the patch; items
/// are known by `merge_key`, or by value in a list of scalars.
///
/// Worked example: server `[a, b, c]`, wanted `[c, a]`: `b` stands before `c` on the server, so
/// `[b, c, a]`.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, merge_key));
    let (mut asked, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(wanted, item).is_some());
    asked.sort_by_key(|item| place(wanted, item));
    others.sort_by_key(|item| place(server, item).unwrap_or(usize::MAX));
    let (mut asked, mut others) = (VecDeque::from(asked), VecDeque::from(others));
    let mut result = Vec::with_capacity(asked.len() + others.len());
    while let (Some(theirs), Some(ours)) = (others.front(), asked.front()) {
        let server_first =
            matches!((place(server, theirs), place(server, ours)), (Some(l), Some(r)) if l < r);
        let next = if server_first { others.pop_front() } else { asked.pop_front() };
        result.extend(next);
    }
    result.extend(others);
    result.extend(asked);
    result
}

/// Checks that the patch's items stand in the order it asks for, and are all named by it.
pub(super) fn check(patch: &[Value], wanted: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut order = wanted.iter();
    let mut items = patch.iter().filter(|item| item.get("$patch").is_none());
    if items.all(|item| order.any(|other| same(item, other, merge_key))) {
        return Ok(());
    }
    let print = |list: &[Value]| go_print::value(&Value::Array(list.to_vec()));
    Err(PatchError::Unclassified(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        print(patch),
        print(wanted)
    )))
}

fn same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}
