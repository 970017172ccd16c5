//! Patches on objects: a byte that says which, then JSON documents on lines of their own.
#![no_main]

use api::patch::{json, merge, strategic};
use api::three_way;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let mut documents = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (Some(object), Some(patch)) = (documents.next(), documents.next()) else { return };
    let schema = api::schema::facts().by_gvk("apps", "v1", "Deployment");
    match form % 4 {
        0 => drop(json::apply(&object, &patch)),
        1 => drop(merge::apply(&object, &patch)),
        2 => drop(strategic::apply(&object, &patch, schema)),
        _ => {
            let current = documents.next().unwrap_or_default();
            let made = three_way::patch(&object, &patch, &current, None);
            let _ = merge::apply(&current, &made);
        }
    }
});
