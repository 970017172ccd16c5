//! The checks many kinds share; each pushes what is wrong at a field path.

use serde_json::Value;

use crate::names;
use crate::status::Cause;

pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const IMMUTABLE: &str = "field is immutable";

/// The string in a field, empty if absent or of another type.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// The list in a field, empty if absent.
pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map_or(&[], Vec::as_slice)
}

/// The entries of a map, none if absent.
pub(super) fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flatten()
}

/// Sets a field, if the value is an object at all.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

/// Makes a field what it is in another object, absence included.
pub(super) fn copy(object: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => set(object, key, value.clone()),
        None => {
            crate::object::remove(object, key);
        }
    }
}

/// One cause per rule the value breaks.
pub(super) fn rules(causes: &mut Vec<Cause>, field: &str, value: &Value, broken: Vec<String>) {
    causes.extend(broken.iter().map(|rule| Cause::invalid(field, value, rule)));
}

/// A text that must be there, and have a form.
pub(super) fn required(causes: &mut Vec<Cause>, field: &str, value: &Value, form: Option<Form>) {
    match value.as_str().filter(|text| !text.is_empty()) {
        None => causes.push(Cause::required(field, "")),
        Some(text) => {
            if let Some(form) = form {
                rules(causes, field, value, form(text));
            }
        }
    }
}

/// A text that, if there, must have a form.
pub(super) fn optional(causes: &mut Vec<Cause>, field: &str, value: &Value, form: Form) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        rules(causes, field, value, form(text));
    }
}

/// One of the forms of `names`.
pub(super) type Form = fn(&str) -> Vec<String>;

/// A text that must be one of a few.
pub(super) fn one_of(causes: &mut Vec<Cause>, field: &str, value: &Value, allowed: &[&str]) {
    match value.as_str().unwrap_or_default() {
        "" => causes.push(Cause::required(field, "")),
        text if allowed.contains(&text) => {}
        _ => causes.push(Cause::not_supported(field, value, allowed)),
    }
}

/// A number that, if there, must not be negative.
pub(super) fn not_negative(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    if value.as_i64().is_some_and(|number| number < 0) {
        causes.push(Cause::invalid(field, value, NEGATIVE));
    }
}

/// A number that, if there, must lie between two others.
pub(super) fn between(causes: &mut Vec<Cause>, field: &str, value: &Value, low: i64, high: i64) {
    if value.as_i64().is_some_and(|number| !(low..=high).contains(&number)) {
        causes.push(Cause::invalid(field, value, &format!("must be between {low} and {high}, inclusive")));
    }
}

/// The named fields of an object, none of which may be negative.
pub(super) fn none_negative(causes: &mut Vec<Cause>, path: &str, object: &Value, fields: &[&str]) {
    for field in fields {
        not_negative(causes, &format!("{path}.{field}"), &object[*field]);
    }
}

/// A number of the status that an update must not lower (`collisionCount`).
pub(super) fn never_lower(causes: &mut Vec<Cause>, field: &str, new: &Value, old: &Value) {
    let lowered = old.as_i64().is_some_and(|old| new.as_i64().is_none_or(|new| new < old));
    if lowered {
        let shown = Value::from(new.as_i64().unwrap_or_default());
        causes.push(Cause::invalid(field, &shown, "cannot be decremented"));
    }
}

/// The condition of a type, if it is true.
pub(super) fn is_true(status: &Value, condition: &str) -> bool {
    list(status, "conditions").iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// A user or group number.
pub(super) fn id(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    between(causes, field, value, 0, i64::from(i32::MAX));
}

/// A port number; absent is 0.
pub(super) fn port(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let shown = Value::from(value.as_i64().unwrap_or_default());
    between(causes, field, &shown, 1, 65_535);
}

/// A port number, or the name of one.
pub(super) fn port_or_name(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    match value.as_str() {
        Some(name) => rules(causes, field, value, names::port_name(name)),
        None => port(causes, field, value),
    }
}

/// An IP address.
pub(super) fn ip(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let valid = value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    if !valid {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.push(Cause::invalid(field, value, detail));
    }
}

/// A range of addresses, its address and the length of its prefix.
pub(super) fn parse_cidr(text: &str) -> Option<(std::net::IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = length.parse().ok().filter(|_| plain)?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// A range of addresses; what was parsed, if it was.
pub(super) fn cidr(causes: &mut Vec<Cause>, field: &str, value: &Value) -> Option<(std::net::IpAddr, u32)> {
    let parsed = parse_cidr(value.as_str().unwrap_or_default());
    if parsed.is_none() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        causes.push(Cause::invalid(field, value, detail));
    }
    parsed
}

/// A text that, if there, must be one of a few.
pub(super) fn supported(causes: &mut Vec<Cause>, field: &str, value: &Value, allowed: &[&str]) {
    if value.as_str().is_some_and(|text| !allowed.contains(&text)) {
        causes.push(Cause::not_supported(field, value, allowed));
    }
}

/// A field that must be there.
pub(super) fn present(causes: &mut Vec<Cause>, field: &str, value: &Value, detail: &str) {
    if value.is_null() || value == "" {
        causes.push(Cause::required(field, detail));
    }
}

/// A field that an update must leave alone.
pub(super) fn immutable(causes: &mut Vec<Cause>, field: &str, new: &Value, old: &Value) {
    if new != old {
        causes.push(Cause::invalid(field, new, IMMUTABLE));
    }
}

/// A map of labels, or of the labels a selector wants.
pub(super) fn labels(causes: &mut Vec<Cause>, field: &str, map: &Value) {
    for (key, value) in entries(map) {
        rules(causes, field, &key.as_str().into(), names::qualified_name(key));
        rules(causes, field, value, names::label_value(value.as_str().unwrap_or_default()));
    }
}

/// Annotations outside an object's own metadata.
pub(super) fn annotations(causes: &mut Vec<Cause>, field: &str, map: &Value) {
    for (key, _) in entries(map) {
        rules(causes, field, &key.as_str().into(), names::qualified_name(&key.to_lowercase()));
    }
}

/// A `LabelSelector` object.
pub(super) fn label_selector(causes: &mut Vec<Cause>, field: &str, selector: &Value) {
    labels(causes, &format!("{field}.matchLabels"), &selector["matchLabels"]);
    for (at, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("{field}.matchExpressions[{at}]");
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{path}.values"), detail));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" => {}
            _ => {
                let operator = format!("{path}.operator");
                causes.push(Cause::invalid(
                    operator,
                    &expression["operator"],
                    "not a valid selector operator",
                ));
            }
        }
        label(causes, &path, expression);
    }
}

/// The key and the values of a requirement of labels.
pub(super) fn label(causes: &mut Vec<Cause>, path: &str, requirement: &Value) {
    let key = &requirement["key"];
    rules(causes, &format!("{path}.key"), key, names::qualified_name(key.as_str().unwrap_or_default()));
    for (at, value) in list(requirement, "values").iter().enumerate() {
        let form = names::label_value(value.as_str().unwrap_or_default());
        rules(causes, &format!("{path}.values[{at}]"), value, form);
    }
}

/// A count or a percentage.
pub(super) fn count_or_percent(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    match value.as_str() {
        Some(text) if !is_percent(text) => {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' \
                (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            causes.push(Cause::invalid(field, value, detail));
        }
        Some(_) => {}
        None => not_negative(causes, field, value),
    }
}

fn is_percent(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The number in a count or percentage; 0 for what is neither.
pub(super) fn count_of(value: &Value) -> i64 {
    match value.as_str() {
        Some(text) if is_percent(text) => text.trim_end_matches('%').parse().unwrap_or(i64::MAX),
        Some(text) => text.parse().unwrap_or_default(),
        None => value.as_i64().unwrap_or_default(),
    }
}

/// A percentage must not exceed the whole.
pub(super) fn at_most_all(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    if value.as_str().is_some_and(is_percent) && count_of(value) > 100 {
        causes.push(Cause::invalid(field, value, "must not be greater than 100%"));
    }
}

/// `metav1.Condition`s: complete, well-formed, and one of each type.
pub(super) fn conditions(causes: &mut Vec<Cause>, field: &str, conditions: &[Value]) {
    for (at, condition) in conditions.iter().enumerate() {
        let path = format!("{field}[{at}]");
        let at_field = |name: &str| format!("{path}.{name}");
        if conditions.iter().take(at).any(|earlier| earlier["type"] == condition["type"]) {
            causes.push(Cause::duplicate(path.as_str(), &condition["type"]));
        }
        match text(condition, "type") {
            "" => causes.push(Cause::required(at_field("type"), "is required")),
            kind => rules(causes, &at_field("type"), &condition["type"], names::qualified_name(kind)),
        }
        one_of(causes, &at_field("status"), &condition["status"], &["False", "True", "Unknown"]);
        if condition["observedGeneration"].as_i64().is_some_and(|generation| generation < 0) {
            let detail = "must be greater than or equal to zero";
            causes.push(Cause::invalid(
                at_field("observedGeneration"),
                &condition["observedGeneration"],
                detail,
            ));
        }
        required(causes, &at_field("lastTransitionTime"), &condition["lastTransitionTime"], None);
        required(causes, &at_field("reason"), &condition["reason"], Some(names::condition_reason));
        for (name, max) in [("reason", 1024), ("message", 32 * 1024)] {
            if text(condition, name).len() > max {
                causes.push(Cause::too_long(at_field(name), max));
            }
        }
    }
}
