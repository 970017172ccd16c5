//! What a conversion webhook is asked and how far its answer is believed.
//!
//! Entry points: [`review`] and [`take`]. A webhook may change anything but identity: of `metadata` only
//! labels and annotations are taken over. Texts are upstream's.

use serde_json::{Map, Value, json};

use crate::names;
use crate::object;

const GROUP: &str = "apiextensions.k8s.io";

/// The review to send: in the first version of `reviewVersions` that is known here.
///
/// # Errors
/// When none is.
pub fn review(conversion: &Value, uid: &str, objects: &[Value], wanted: &str) -> Result<Value, String> {
    let versions = conversion["webhook"]["conversionReviewVersions"].as_array();
    let version =
        versions.into_iter().flatten().filter_map(Value::as_str).find(|v| ["v1", "v1beta1"].contains(v));
    let version = version.ok_or("no supported conversion review versions")?;
    Ok(json!({
        "kind": "ConversionReview", "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    }))
}

/// The converted objects of an answer, in order.
///
/// # Errors
/// In upstream's words, to be put behind `conversion webhook for KIND `.
pub fn take(
    request: &Value,
    originals: &[Value],
    answer: &Value,
    wanted: &str,
) -> Result<Vec<Value>, String> {
    let converted = successful(request, answer).map_err(|error| format!("failed: {error}"))?;
    if converted.len() != originals.len() {
        return Err(format!("returned {} objects, expected {}", converted.len(), originals.len()));
    }
    originals
        .iter()
        .zip(converted)
        .enumerate()
        .map(|(at, (original, converted))| one(original, converted, wanted, at))
        .collect()
}

fn successful<'a>(request: &Value, answer: &'a Value) -> Result<&'a [Value], String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let strict = request["apiVersion"] == format!("{GROUP}/v1");
    if strict && (answer["apiVersion"] != request["apiVersion"] || answer["kind"] != "ConversionReview") {
        return Err(format!(
            "expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {}, Kind={}",
            text(&answer["apiVersion"]),
            text(&answer["kind"]),
        ));
    }
    let response = &answer["response"];
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    let uid = &request["request"]["uid"];
    if strict && response["uid"] != *uid {
        return Err(format!("expected response.uid={uid}, got {:?}", text(&response["uid"])));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let message = text(&result["message"]);
        return Err(match message.is_empty() {
            false => message,
            true => format!("response.result.status was '{}', not 'Success'", text(&result["status"])),
        });
    }
    Ok(response["convertedObjects"].as_array().map_or(&[], Vec::as_slice))
}

fn one(original: &Value, converted: &Value, wanted: &str, at: usize) -> Result<Value, String> {
    let invalid = |what: String| format!("returned invalid converted object at index {at}: {what}");
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let got = text(converted, "apiVersion");
    if got != wanted {
        return Err(invalid(format!("invalid groupVersion (expected {wanted}, received {got})")));
    }
    let (expected, got) = (text(original, "kind"), text(converted, "kind"));
    if expected != got {
        return Err(invalid(format!("invalid kind (expected {expected}, received {got})")));
    }
    for (key, word) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (object::meta_str(original, key), object::meta_str(converted, key));
        if before != after {
            return Err(invalid(format!("must have the same {word}: {before} != {after}")));
        }
    }
    let metadata = metadata(&original["metadata"], converted)
        .map_err(|error| format!("returned invalid metadata in object at index {at}: {error}"))?;
    let mut out = converted.clone();
    out["metadata"] = metadata;
    Ok(out)
}

/// The original's metadata with the labels and annotations of the converted object.
fn metadata(original: &Value, converted: &Value) -> Result<Value, String> {
    let answered = match converted.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go_type(other)));
        }
    };
    let mut out = original.as_object().cloned().unwrap_or_default();
    for key in ["labels", "annotations"] {
        match answered.get(key) {
            None | Some(Value::Null) => {
                out.remove(key);
            }
            Some(Value::Object(map)) => {
                check(key, map)?;
                out.insert(key.to_owned(), Value::Object(map.clone()));
            }
            Some(other) => {
                return Err(format!("invalid metadata.{key} of type {} in converted object", go_type(other)));
            }
        }
    }
    Ok(Value::Object(out))
}

fn check(what: &str, map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let Some(text) = value.as_str() else {
            return Err(format!("metadata.{what}[{key}]: Invalid value: {value}: must be a string"));
        };
        let mut broken =
            names::qualified_name(&if what == "labels" { key.clone() } else { key.to_lowercase() });
        if what == "labels" {
            broken.extend(names::label_value(text));
        }
        if let Some(rule) = broken.first() {
            return Err(format!("metadata.{what}: Invalid value: {key:?}: {rule}"));
        }
    }
    Ok(())
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "example.com/v1";

    fn original() -> Value {
        json!({"apiVersion": "example.com/v1beta1", "kind": "Widget", "spec": {"a": 1},
               "metadata": {"name": "w", "uid": "u", "resourceVersion": "7", "labels": {"x": "y"}}})
    }

    fn answered(converted: Value, result: Value) -> Result<Vec<Value>, String> {
        let conversion = json!({"webhook": {"conversionReviewVersions": ["v9", "v1"]}});
        let request = review(&conversion, "id", &[original()], WANTED)?;
        let answer = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
                            "response": {"uid": "id", "result": result, "convertedObjects": converted}});
        take(&request, &[original()], &answer, WANTED)
    }

    #[test]
    fn identity_stays_and_labels_follow() {
        let converted = json!([{"apiVersion": WANTED, "kind": "Widget", "spec": {"b": 1},
            "metadata": {"name": "w", "uid": "u", "resourceVersion": "9", "annotations": {"A": "b"}}}]);
        assert_eq!(
            answered(converted, json!({"status": "Success"})).unwrap(),
            [json!({"apiVersion": WANTED, "kind": "Widget", "spec": {"b": 1},
                "metadata": {"name": "w", "uid": "u", "resourceVersion": "7", "annotations": {"A": "b"}}})]
        );
    }

    #[test]
    fn answers_that_are_not_believed() {
        let ok = json!({"status": "Success"});
        let with = |change: fn(&mut Value)| {
            let mut object = original();
            object["apiVersion"] = WANTED.into();
            change(&mut object);
            json!([object])
        };
        let cases = [
            (json!([]), ok.clone(), "returned 0 objects, expected 1"),
            (json!([]), json!({"status": "Failure", "message": "no"}), "failed: no"),
            (json!([]), json!({}), "failed: response.result.status was '', not 'Success'"),
            (
                with(|o| o["kind"] = "X".into()),
                ok.clone(),
                "returned invalid converted object at index 0: invalid kind (expected Widget, received X)",
            ),
            (
                with(|o| o["apiVersion"] = "v1".into()),
                ok.clone(),
                "returned invalid converted object at index 0: invalid groupVersion (expected example.com/v1, received v1)",
            ),
            (
                with(|o| o["metadata"]["uid"] = "v".into()),
                ok.clone(),
                "returned invalid converted object at index 0: must have the same UID: u != v",
            ),
            (
                with(|o| o["metadata"]["labels"] = json!(1)),
                ok.clone(),
                "returned invalid metadata in object at index 0: invalid metadata.labels of type int64 in converted object",
            ),
        ];
        for (converted, result, expect) in cases {
            assert_eq!(answered(converted, result).unwrap_err(), expect);
        }
    }
}
