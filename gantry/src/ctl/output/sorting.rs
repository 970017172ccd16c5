//! `--sort-by`: numbers by value, quantities by size, texts letter by letter.

use std::cmp::Ordering;

use api::jsonpath::Template;
use api::quantity::Quantity;
use serde_json::Value;

use crate::ctl::{Failure, Outcome};

/// Sorts by what a path finds in what `object_of` gives; what lacks it comes first.
///
/// # Errors
/// When the path is malformed, or no object has the field.
pub fn sort_by<T>(items: &mut [T], path: &str, object_of: impl Fn(&T) -> Value) -> Outcome {
    let template = Template::parse(path).map_err(Failure::new)?;
    let key = |item: &T| template.values(&object_of(item)).first().map(|value| (*value).clone());
    let mut keyed: Vec<(Option<Value>, usize)> = items.iter().map(key).zip(0..).collect();
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        return Err(Failure::new(format!(
            "couldn't find any field with path {path:?} in the list of objects"
        )));
    }
    keyed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref()));
    // Where each item goes; then cycles of swaps bring them there.
    let mut target = vec![0; items.len()];
    for (to, (_, from)) in keyed.iter().enumerate() {
        if let Some(slot) = target.get_mut(*from) {
            *slot = to;
        }
    }
    for at in 0..items.len() {
        while let Some(to) = target.get(at).copied().filter(|to| *to != at) {
            items.swap(at, to);
            target.swap(at, to);
        }
    }
    Ok(())
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(a @ Value::String(x)), Some(b @ Value::String(y))) => {
            match (Quantity::from_json(a), Quantity::from_json(b)) {
                (Ok(a), Ok(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
                _ => x.cmp(y),
            }
        }
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, values: Vec<Value>, expect: Vec<Value>) {
        let mut items: Vec<Value> = values.into_iter().map(|v| json!({"v": v})).collect();
        sort_by(&mut items, path, Value::clone).expect("sorted");
        assert_eq!(items.into_iter().map(|i| i["v"].clone()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn each_type_in_its_order() {
        check("{.v}", vec![json!(10), json!(9)], vec![json!(9), json!(10)]);
        check(".v", vec![json!("a10"), json!("a9"), json!("a")], vec![json!("a"), json!("a10"), json!("a9")]);
        check(".v", vec![json!("1Gi"), json!("20Mi")], vec![json!("20Mi"), json!("1Gi")]);
    }

    #[test]
    fn a_field_nobody_has_is_an_error() {
        assert!(sort_by(&mut [json!({})], ".x", Value::clone).is_err());
    }
}
