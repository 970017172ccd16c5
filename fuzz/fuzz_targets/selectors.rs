//! Label and field selectors, and `LabelSelector` objects; a selector that parses is asked about labels.
#![no_main]

use api::selector::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let labels = json!({"a": "b", "app.kubernetes.io/name": "x", "n": "5"});
    if let Ok(selector) = LabelSelector::parse(text) {
        let _ = selector.matches_json(&labels);
    }
    let _ = FieldSelector::parse(text);
    if let Ok(object) = serde_json::from_str::<Value>(text) {
        let _ = LabelSelector::from_object(&object).map(|selector| selector.matches_json(&labels));
        let _ = LabelSelector::from_map(&object);
    }
});
