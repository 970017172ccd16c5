//! What an admission webhook is asked and how far its answer is believed.
//!
//! Entry points: [`request`] (policies see it as `request`, too), [`review`], [`Answer::read`]. Pure; texts are
//! upstream's `webhook/request` and `webhook/errors`.

use api::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::versions::Row;
use crate::admission::{Attributes, ObjectKind};
use crate::reviews::user_json;

const GROUP: &str = "admission.k8s.io";
/// Failures are at least this.
const BAD_REQUEST: u64 = 400;

fn kind_json(kind: &ObjectKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// The request without its objects, about a resource in the form of a row.
pub(crate) fn request(attributes: &Attributes<'_>, row: &Row) -> Value {
    let (group, plural, subresource) = attributes.resource();
    let version = attributes.call.kind.version.as_ref();
    let mut request = json!({
        "kind": kind_json(&row.object),
        "resource": {"group": row.group(), "version": row.version(), "resource": row.plural()},
        "requestKind": kind_json(&attributes.kind),
        "requestResource": {"group": group, "version": version, "resource": plural},
        "operation": attributes.operation.word(),
        "userInfo": user_json(attributes.user()),
        "dryRun": attributes.dry_run(),
        "options": attributes.options(),
    });
    let texts = [
        ("subResource", subresource),
        ("requestSubResource", subresource),
        ("name", attributes.name.as_str()),
        ("namespace", attributes.namespace()),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[key] = text.into();
    }
    request
}

/// The review to send, in the first version of those the webhook reads that is known here.
///
/// # Errors
/// When none is.
pub(crate) fn review(versions: &[String], uid: &str, request: &Value) -> Result<Value, String> {
    let version = versions.iter().find(|version| ["v1", "v1beta1"].contains(&version.as_str()));
    let version = version.ok_or("webhook does not accept known AdmissionReview versions (v1, v1beta1)")?;
    let mut request = request.clone();
    request["uid"] = uid.into();
    Ok(json!({"kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{version}"), "request": request}))
}

/// What a webhook said.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    /// An RFC 6902 patch as it was sent.
    pub(crate) patch: Vec<u8>,
    pub(crate) patch_type: String,
    /// Why not; a `Status`, or null.
    pub(crate) result: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

impl Answer {
    /// Reads the answer to a review.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(review: &Value, answer: &Value, mutating: bool) -> Result<Self, String> {
        let response = &answer["response"];
        if response.is_null() {
            return Err("webhook response was absent".to_owned());
        }
        let exact = review["apiVersion"] == format!("{GROUP}/v1");
        if exact {
            identity(review, answer)?;
        }
        let patch = STANDARD.decode(text(&response["patch"])).map_err(|error| error.to_string())?;
        let patch_type = &response["patchType"];
        if exact {
            patch_form(mutating, !patch.is_empty(), patch_type)?;
        }
        // The old version had no word for the only type there is.
        let implied = if exact || patch.is_empty() { "" } else { "JSONPatch" };
        Ok(Self {
            allowed: response["allowed"] == true,
            patch: if mutating { patch } else { Vec::new() },
            patch_type: patch_type.as_str().unwrap_or(implied).to_owned(),
            result: response["status"].clone(),
            warnings: entries(&response["warnings"]),
            annotations: pairs(&response["auditAnnotations"]),
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|entry| text(entry).to_owned()).collect()
}

fn pairs(map: &Value) -> Vec<(String, String)> {
    map.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

/// An answer must be to this question and of the same form.
fn identity(review: &Value, answer: &Value) -> Result<(), String> {
    let (wanted, got) = (text(&review["request"]["uid"]), text(&answer["response"]["uid"]));
    if wanted != got {
        return Err(format!("expected response.uid={wanted:?}, got {got:?}"));
    }
    let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    if (version, kind) == (&format!("{GROUP}/v1"), "AdmissionReview") {
        return Ok(());
    }
    // Go writes a version without a group behind a slash.
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    Err(format!("expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {version}, Kind={kind}"))
}

fn patch_form(mutating: bool, patched: bool, patch_type: &Value) -> Result<(), String> {
    let problem = match (mutating, patched, patch_type) {
        (true, true, Value::Null) => "webhook returned response.patch but not response.patchType",
        (true, false, ty) if !ty.is_null() => "webhook returned response.patchType but not response.patch",
        (true, true, ty) if text(ty).is_empty() => "webhook returned invalid response.patchType of \"\"",
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, ty) if !ty.is_null() => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(problem.to_owned())
}

/// A webhook's refusal as the caller hears it: its own status, with its name before the message.
pub(crate) fn denial(webhook: &str, result: &Value) -> Status {
    let by = format!("admission webhook {webhook:?} denied the request");
    let message = match (text(&result["message"]), text(&result["reason"])) {
        ("", "") => format!("{by} without explanation"),
        ("", word) | (word, _) => format!("{by}: {word}"),
    };
    let mut body = Map::new();
    for (key, value) in [("kind", "Status"), ("apiVersion", "v1")] {
        body.insert(key.to_owned(), value.into());
    }
    body.insert("metadata".to_owned(), result["metadata"].as_object().cloned().unwrap_or_default().into());
    let status = match text(&result["status"]) {
        "" | "Success" => "Failure",
        word => word,
    };
    body.insert("status".to_owned(), status.into());
    body.insert("message".to_owned(), message.into());
    for key in ["reason", "details"] {
        if !result[key].is_null() && result[key] != "" {
            body.insert(key.to_owned(), result[key].clone());
        }
    }
    body.insert("code".to_owned(), result["code"].as_u64().unwrap_or_default().max(BAD_REQUEST).into());
    Status::passed_on(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(version: &str) -> Value {
        review(&[version.to_owned()], "u-1", &json!({"name": "x"})).expect("a review")
    }

    fn read(answer: &Value, mutating: bool) -> Result<Answer, String> {
        Answer::read(&sent("v1"), answer, mutating)
    }

    fn answered(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn the_first_known_version_is_sent() {
        assert_eq!(sent("v1beta1")["apiVersion"], "admission.k8s.io/v1beta1");
        assert_eq!(sent("v1")["request"], json!({"name": "x", "uid": "u-1"}));
        let none = review(&["v2".to_owned()], "u", &Value::Null).expect_err("unknown");
        assert_eq!(none, "webhook does not accept known AdmissionReview versions (v1, v1beta1)");
    }

    #[test]
    fn what_is_not_believed() {
        let patch = STANDARD.encode("[]");
        for (answer, mutating, problem) in [
            (json!({}), true, "webhook response was absent"),
            (answered(json!({"uid": "u-2"})), true, "expected response.uid=\"u-1\", got \"u-2\""),
            (
                json!({"response": {"uid": "u-1"}}),
                true,
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
            (
                answered(json!({"uid": "u-1", "patch": patch})),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                answered(json!({"uid": "u-1", "patchType": "JSONPatch"})),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                answered(json!({"uid": "u-1", "patch": patch, "patchType": "JSONPatch"})),
                false,
                "validating webhook may not return response.patch",
            ),
        ] {
            assert_eq!(read(&answer, mutating).expect_err("refused"), problem);
        }
        // Version 1beta1 was never checked.
        let loose =
            Answer::read(&sent("v1beta1"), &json!({"response": {"allowed": true, "patch": patch}}), true);
        let loose = loose.expect("believed");
        assert_eq!((loose.allowed, loose.patch_type.as_str()), (true, "JSONPatch"));
    }

    #[test]
    fn denials_keep_code_and_reason() {
        for (result, message, code) in [
            (Value::Null, "admission webhook \"a.b.c\" denied the request without explanation", 400),
            (
                json!({"message": "no", "code": 200}),
                "admission webhook \"a.b.c\" denied the request: no",
                400,
            ),
            (
                json!({"reason": "Teapot", "code": 418}),
                "admission webhook \"a.b.c\" denied the request: Teapot",
                418,
            ),
        ] {
            let status = denial("a.b.c", &result);
            assert_eq!((status.message.as_str(), status.code()), (message, code));
            let body = status.to_json();
            assert_eq!((&body["status"], &body["reason"]), (&json!("Failure"), &result["reason"]));
        }
    }
}
