//! Quantities: one that is read is written so that reading it again gives the same, but for parts of a unit,
//! which binary suffixes do not have.
#![no_main]

use api::quantity::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let written = quantity.to_string();
    let again: Quantity = written.parse().unwrap_or_else(|error| panic!("{text} as {written}: {error}"));
    assert!(again == quantity || !quantity.is_whole(), "{text} as {written}");
    assert_eq!(again.to_string().parse(), Ok(again), "{text} as {written}");
    let _ = (quantity + again, quantity - again, quantity.cmp(&again), quantity.value(), quantity.as_f64());
});
