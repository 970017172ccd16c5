//! Checks JSON types against a schema and brings values into the one form Go would write back.
//!
//! Entry point [`types`]. Afterwards: no nulls, no empty values Go omits, whole numbers as integers,
//! quantities canonical, times in UTC. Only shapes are checked here; rules about values are strategies'.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use crate::defaulting::is_zero;
use crate::pruning::push_key;
use crate::schema::{FieldRef, Schema, Type};
use crate::time;

/// A value the schema does not allow; the text is the one upstream's decoder gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(String);

/// Checks and normalises `value`, which should be of `schema`.
///
/// # Errors
/// At the first value of a wrong type.
pub fn types(schema: Schema<'_>, value: &mut Value) -> Result<(), TypeError> {
    let mut place = Place { structure: "", path: String::new() };
    check(schema, value, &mut place)
}

/// Where a wrong value is, as Go reports it: the innermost struct and the path of field names.
struct Place<'a> {
    structure: &'a str,
    path: String,
}

impl Place<'_> {
    fn wrong(&self, value: &Value, ty: &str) -> TypeError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if ty.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let target = if self.path.is_empty() {
            "value".to_owned()
        } else {
            format!("struct field {}.{}", self.structure, self.path)
        };
        TypeError(format!("json: cannot unmarshal {found} into Go {target} of type {ty}"))
    }
}

fn check<'a>(schema: Schema<'a>, value: &mut Value, place: &mut Place<'a>) -> Result<(), TypeError> {
    match schema.ty() {
        Type::Object(_) => check_object(schema, value, place),
        Type::Map(_) => check_map(schema, value, place),
        Type::List(_) => check_list(schema, value, place),
        Type::Raw(_) => Ok(()),
        scalar => check_scalar(scalar, value, place),
    }
}

fn check_object<'a>(schema: Schema<'a>, value: &mut Value, place: &mut Place<'a>) -> Result<(), TypeError> {
    let Value::Object(map) = value else { return Err(place.wrong(value, &go_type(schema))) };
    let length = place.path.len();
    let structure = std::mem::replace(&mut place.structure, schema.short_name());
    let mut dropped = Vec::new();
    for (key, inner) in map.iter_mut() {
        let Some(field) = schema.field(key) else { continue };
        if inner.is_null() && !is_opaque(field) {
            dropped.push(key.clone());
            continue;
        }
        push_key(&mut place.path, key);
        check(field.schema(), inner, place)?;
        place.path.truncate(length);
        // An empty list of owners asks to forget them: not the same as none.
        if leaves_out(field, inner) && key != "managedFields" {
            dropped.push(key.clone());
        }
    }
    for key in dropped {
        map.remove(&key);
    }
    place.structure = structure;
    Ok(())
}

/// Null is a value inside opaque JSON, but not as the whole of an optional one.
fn is_opaque(field: FieldRef<'_>) -> bool {
    matches!(field.schema().ty(), Type::Raw(_)) && !field.omits_empty()
}

/// Whether Go's encoder would leave the value out: `omitempty` on anything but structs and pointers.
fn leaves_out(field: FieldRef<'_>, value: &Value) -> bool {
    let by_value = match field.schema().ty() {
        Type::Object(_) => return field.omits_zero() && !field.is_pointer() && is_zero(value),
        Type::Raw(_) | Type::Time | Type::MicroTime | Type::Duration | Type::IntOrString | Type::Quantity => {
            false
        }
        _ => !field.is_pointer(),
    };
    by_value && field.omits_empty() && is_zero(value)
}

fn check_map<'a>(schema: Schema<'a>, value: &mut Value, place: &mut Place<'a>) -> Result<(), TypeError> {
    let (Value::Object(map), Some(values)) = (&mut *value, schema.values()) else {
        return Err(place.wrong(value, &go_type(schema)));
    };
    for inner in map.values_mut() {
        element(values, inner, place)?;
    }
    Ok(())
}

fn check_list<'a>(schema: Schema<'a>, value: &mut Value, place: &mut Place<'a>) -> Result<(), TypeError> {
    let (Value::Array(list), Some(items)) = (&mut *value, schema.items()) else {
        return Err(place.wrong(value, &go_type(schema)));
    };
    for inner in list {
        element(items, inner, place)?;
    }
    Ok(())
}

/// An item or a map's value: null is Go's zero there.
fn element<'a>(schema: Schema<'a>, value: &mut Value, place: &mut Place<'a>) -> Result<(), TypeError> {
    if value.is_null() {
        *value = zero(schema.ty());
    }
    check(schema, value, place)
}

fn zero(ty: Type) -> Value {
    match ty {
        Type::Object(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Int32 | Type::Int64 | Type::Number | Type::IntOrString => Value::from(0),
        Type::Bool => Value::Bool(false),
        Type::Quantity => Value::from("0"),
        Type::String | Type::Bytes => Value::from(""),
        Type::Time | Type::MicroTime | Type::Duration | Type::Raw(_) => Value::Null,
    }
}

fn check_scalar(ty: Type, value: &mut Value, place: &Place<'_>) -> Result<(), TypeError> {
    match ty {
        Type::String if value.is_string() => Ok(()),
        Type::Bool if value.is_boolean() => Ok(()),
        Type::Number if value.is_number() => Ok(()),
        Type::Int32 => integer(value, i64::from(i32::MIN)..=i64::from(i32::MAX), place, "int32"),
        Type::Int64 => integer(value, i64::MIN..=i64::MAX, place, "int64"),
        Type::IntOrString if value.is_string() => Ok(()),
        Type::IntOrString => {
            let free = Place { structure: "", path: String::new() };
            integer(value, i64::from(i32::MIN)..=i64::from(i32::MAX), &free, "int32")
        }
        Type::Quantity => quantity(value),
        Type::Bytes => bytes(value, place),
        Type::Time | Type::MicroTime if value.is_null() => Ok(()),
        Type::Time => moment(value, time::seconds),
        Type::MicroTime => moment(value, time::micros),
        Type::Duration => duration(value),
        Type::String => Err(place.wrong(value, "string")),
        Type::Bool => Err(place.wrong(value, "bool")),
        _ => Err(place.wrong(value, "float64")),
    }
}

fn integer(
    value: &mut Value,
    range: std::ops::RangeInclusive<i64>,
    place: &Place<'_>,
    ty: &str,
) -> Result<(), TypeError> {
    let whole = match &*value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number)),
        _ => None,
    };
    match whole.filter(|n| range.contains(n)) {
        Some(number) => {
            *value = Value::from(number);
            Ok(())
        }
        None => Err(place.wrong(value, ty)),
    }
}

/// The integer a float with no fraction stands for, while floats still tell integers apart (2^53).
fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
}

fn quantity(value: &mut Value) -> Result<(), TypeError> {
    let parsed = crate::quantity::Quantity::from_json(value).map_err(|e| TypeError(e.to_string()))?;
    *value = Value::from(parsed.to_string());
    Ok(())
}

fn bytes(value: &mut Value, place: &Place<'_>) -> Result<(), TypeError> {
    let Value::String(text) = &*value else { return Err(place.wrong(value, "[]uint8")) };
    // Go's decoder skips line breaks, so wrapped base64 is accepted.
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&packed) {
        Ok(_) if packed.len() == text.len() => Ok(()),
        Ok(_) => {
            *value = Value::String(packed);
            Ok(())
        }
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) => at,
                _ => packed.len(),
            };
            Err(TypeError(format!("illegal base64 data at input byte {at}")))
        }
    }
}

fn moment(value: &mut Value, write: fn(jiff::Timestamp) -> String) -> Result<(), TypeError> {
    let Value::String(text) = &*value else {
        return Err(Place { structure: "", path: String::new() }.wrong(value, "string"));
    };
    let Some(at) = time::parse(text) else {
        let layout = "2006-01-02T15:04:05Z07:00";
        return Err(TypeError(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
        )));
    };
    *value = Value::String(write(at));
    Ok(())
}

fn duration(value: &Value) -> Result<(), TypeError> {
    match value {
        Value::String(text) if time::parse_go_duration(text).is_some() => Ok(()),
        Value::String(text) => Err(TypeError(format!("time: invalid duration {text:?}"))),
        _ => Err(Place { structure: "", path: String::new() }.wrong(value, "string")),
    }
}

/// Go's name of a type: `v1.PodSpec`, `[]v1.Container`, `map[string]string`.
fn go_type(schema: Schema<'_>) -> String {
    let element = |element: Option<Schema<'_>>| element.map(go_type).unwrap_or_default();
    match schema.ty() {
        Type::Object(_) => {
            let mut parts = schema.name().rsplit('.');
            let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{package}.{name}")
        }
        Type::List(_) => format!("[]{}", element(schema.items())),
        Type::Map(_) => format!("map[string]{}", element(schema.values())),
        Type::String => "string".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Duration => "v1.Duration".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::Raw(_) => "runtime.RawExtension".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::facts;

    fn run(definition: &str, mut value: Value) -> Result<Value, String> {
        let schema = facts().schema(definition).unwrap();
        types(schema, &mut value).map(|()| value).map_err(|e| e.to_string())
    }

    #[test]
    fn wrong_types_read_as_upstream_words_them() {
        let cases = [
            (
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": []}),
                "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
        ];
        for (input, expect) in cases {
            assert_eq!(run("io.k8s.api.apps.v1.Deployment", input), Err(expect.to_owned()));
        }
    }

    #[test]
    fn values_come_out_as_go_writes_them() {
        let got = run(
            "io.k8s.api.core.v1.Pod",
            json!({
                "metadata": {"creationTimestamp": null, "deletionTimestamp": "2024-01-01T02:00:00.5+02:00", "labels": {}},
                "spec": {
                    "hostNetwork": false, "priority": 0, "nodeName": "", "volumes": null,
                    "terminationGracePeriodSeconds": 3.0, "securityContext": {},
                    "containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}, "args": [null]}],
                },
            }),
        );
        let expect = json!({
            "metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {
                "priority": 0, "terminationGracePeriodSeconds": 3, "securityContext": {},
                "containers": [{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}, "args": [""]}],
            },
        });
        assert_eq!(got, Ok(expect));
    }

    #[test]
    fn base64_is_checked_and_unwrapped() {
        let secret = "io.k8s.api.core.v1.Secret";
        assert_eq!(run(secret, json!({"data": {"a": "aGk="}})), Ok(json!({"data": {"a": "aGk="}})));
        assert_eq!(run(secret, json!({"data": {"a": "aG\nk=\n"}})), Ok(json!({"data": {"a": "aGk="}})));
        assert_eq!(
            run(secret, json!({"data": {"a": "!"}})),
            Err("illegal base64 data at input byte 0".to_owned())
        );
    }
}
