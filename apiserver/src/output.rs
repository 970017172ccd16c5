//! What callers get back: negotiation by `Accept`, and the bodies of single objects.
//!
//! Stored bytes go out as they are; only tables, metadata-only views and YAML are made anew.

use api::table::IncludeObject;
use api::{Kind, Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, parse};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object itself.
    Object,
    /// `as=Table`.
    Table,
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=PartialObjectMetadataList`.
    MetadataList,
}

/// The form and encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// What.
    pub(crate) form: Form,
    /// Whether as YAML.
    pub(crate) yaml: bool,
}

const ALL_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Chooses by the `Accept` header, first match first.
///
/// # Errors
/// 406 when nothing in it can be served.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Accepted, Status> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.trim().is_empty() {
        return Ok(Accepted { form: Form::Object, yaml: false });
    }
    accept.split(',').find_map(range).ok_or_else(|| {
        Status::new(
            Reason::NotAcceptable,
            format!("only the following media types are accepted: {ALL_TYPES}"),
        )
    })
}

fn range(text: &str) -> Option<Accepted> {
    let mut parts = text.split(';').map(str::trim);
    let yaml = match parts.next()? {
        // Protobuf answers are JSON: clients choose their decoder by the answer's Content-Type.
        "*/*" | "application/*" | "application/json" | "application/vnd.kubernetes.protobuf" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let (mut form, mut group, mut version) = (None, None, None);
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key {
            "as" => form = Some(value),
            "g" => group = Some(value),
            "v" => version = Some(value),
            _ => {}
        }
    }
    let form = match (form, group, version) {
        (None, ..) => Form::Object,
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table,
        (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Form::Metadata,
        (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => Form::MetadataList,
        _ => return None,
    };
    Some(Accepted { form, yaml })
}

/// A body of JSON bytes.
pub(crate) fn json_bytes(code: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body of a JSON value.
pub(crate) fn json_value(code: StatusCode, value: &Value) -> Response<Body> {
    json_bytes(code, Bytes::from(value.to_string()))
}

/// Plain text.
pub(crate) fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A failure.
pub(crate) fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_value(code, &status.to_json());
    if let Some(seconds) = status.retry_after_seconds {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `Status` with `Success`, as deletes and bindings answer.
pub(crate) fn success(code: StatusCode, details: Option<Value>) -> Response<Body> {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    match details {
        Some(details) => body["details"] = details,
        None => body["code"] = code.as_u16().into(),
    }
    json_value(code, &body)
}

/// One stored object of the call's kind in the form the caller accepts.
pub(crate) fn object(
    call: &Call,
    headers: &HeaderMap,
    code: StatusCode,
    stored: &Bytes,
) -> Result<Response<Body>, Status> {
    let accepted = negotiate(headers)?;
    let bytes = call.visible(stored)?;
    let value = match accepted.form {
        Form::Object if !accepted.yaml && !call.options.pretty => return Ok(json_bytes(code, bytes)),
        Form::Object => parse(&bytes)?,
        Form::Table => {
            let object = parse(&bytes)?;
            let metadata = json!({"resourceVersion": api::object::resource_version(&object)});
            table(call, metadata, &[object])?
        }
        Form::Metadata => metadata_only(&parse(&bytes)?),
        Form::MetadataList => return Err(not_acceptable_here()),
    };
    encode(call, code, &value, accepted.yaml)
}

/// Any other value, as JSON or YAML.
pub(crate) fn encode(
    call: &Call,
    code: StatusCode,
    value: &Value,
    yaml: bool,
) -> Result<Response<Body>, Status> {
    if yaml {
        let mut response = Response::new(Body::from(api::codec::yaml::emit(value)));
        *response.status_mut() = code;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        return Ok(response);
    }
    if call.options.pretty {
        let pretty = serde_json::to_vec_pretty(value).map_err(Status::internal)?;
        return Ok(json_bytes(code, pretty.into()));
    }
    Ok(json_value(code, value))
}

/// Printed columns of objects of the call's kind.
pub(crate) fn table(call: &Call, metadata: Value, objects: &[Value]) -> Result<Value, Status> {
    let asked = call.options.include_object.as_str();
    let include = IncludeObject::parse(asked)
        .ok_or_else(|| Status::bad_request(format!("unrecognized includeObject value: {asked:?}")))?;
    Ok(api::table::render(&call.kind, objects, call.server.clock.now(), include, metadata))
}

/// 406 for a list form asked of one object, and the other way round.
pub(crate) fn not_acceptable_here() -> Status {
    Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {ALL_TYPES}"))
}

/// The metadata-only view of an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// `details` of a successful delete.
pub(crate) fn details(kind: &Kind, object: &Value) -> Value {
    let mut details = json!({
        "name": api::object::name(object), "kind": kind.plural.as_ref(), "uid": api::object::uid(object),
    });
    if !kind.group.is_empty() {
        details["group"] = kind.group.as_ref().into();
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expect: Option<(Form, bool)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        let got = negotiate(&headers).ok().map(|a| (a.form, a.yaml));
        assert_eq!(got, expect, "{accept}");
    }

    #[test]
    fn first_servable_range_wins() {
        check("*/*", Some((Form::Object, false)));
        check("application/yaml", Some((Form::Object, true)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Form::Table, false)),
        );
        check("application/json;as=Table;g=meta.k8s.io;v=v9,application/json", Some((Form::Object, false)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((Form::Object, false)));
        check("application/json;as=Table;g=meta.k8s.io;v=v9", None);
        check("image/png", None);
    }
}
