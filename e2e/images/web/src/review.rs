//! Answers of a webhook server: admission and conversion.
//!
//! Entry point: [`answer`]. `/mutate` gives pods a label and a second container of the first one's image; `/validate`
//! refuses a ConfigMap whose `word` is `forbidden` and warns of one whose `word` is `odd`; `/convert` turns
//! `spec.size`, the text of v1, into `spec.replicas`, the number of v2, and back.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::Answer;

/// The answer to a review.
pub fn answer(path: &str, body: &[u8]) -> Answer {
    let Ok(review) = serde_json::from_slice::<Value>(body) else {
        return (400, "no review\n".to_owned());
    };
    let request = &review["request"];
    let mut response = match path {
        "/mutate" => mutate(&request["object"]),
        "/validate" => validate(&request["object"]),
        "/convert" => convert(request),
        _ => return (404, format!("no page {path}\n")),
    };
    response["uid"] = request["uid"].clone();
    let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
    (200, answer.to_string())
}

fn mutate(pod: &Value) -> Value {
    let image = &pod["spec"]["containers"][0]["image"];
    let mut patch = vec![json!({"op": "add", "path": "/spec/containers/-",
                                "value": {"name": "injected", "image": image, "ports": [{"containerPort": 9}]}})];
    match pod["metadata"]["labels"].is_object() {
        true => patch.push(json!({"op": "add", "path": "/metadata/labels/hooked", "value": "yes"})),
        false => patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}})),
    }
    let patch = BASE64_STANDARD.encode(Value::Array(patch).to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

fn validate(map: &Value) -> Value {
    match map["data"]["word"].as_str() {
        Some("forbidden") => json!({"allowed": false, "status": {"message": "this word is not for here"}}),
        Some("odd") => json!({"allowed": true, "warnings": ["this word is odd"]}),
        _ => json!({"allowed": true}),
    }
}

fn convert(request: &Value) -> Value {
    let wanted = &request["desiredAPIVersion"];
    let mut objects = request["objects"].clone();
    for object in objects.as_array_mut().into_iter().flatten() {
        object["apiVersion"] = wanted.clone();
        let spec = match wanted.as_str().is_some_and(|version| version.ends_with("/v2")) {
            true => {
                let size = object["spec"]["size"].as_str().and_then(|size| size.parse::<u64>().ok());
                json!({"replicas": size.unwrap_or_default()})
            }
            false => json!({"size": object["spec"]["replicas"].to_string()}),
        };
        object["spec"] = spec;
    }
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}
