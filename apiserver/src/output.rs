//! What callers get back: the bodies of single objects, in the form `crate::negotiation` chose.
//!
//! Stored bytes go out as they are; only tables, metadata-only views, YAML and protobuf are made anew.
//! Small answers that are no stored object (`Status`, `Scale`) are built as JSON and brought into the
//! caller's encoding by [`finish`] at the end of the chain.

use api::codec::protobuf;
use api::table::{IncludeObject, Tables};
use api::{Cause, Kind, Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, parse};
use crate::compression;
use crate::negotiation::{Accepted, Form, Media, Reader, negotiate};

/// The content of an answer that [`finish`] may write in another encoding.
#[derive(Clone)]
struct Unwritten(Value);

/// A body of bytes of a media type, compressed at the end if it is long.
pub(crate) fn bytes(code: StatusCode, media: Media, bytes: impl Into<Bytes>) -> Response<Body> {
    let bytes: Bytes = bytes.into();
    let length = bytes.len();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    compression::mark(&mut response, length);
    response
}

/// A body of a JSON value: an API object, so in the encoding the caller reads.
pub(crate) fn json_value(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = bytes(code, Media::Json, line(value));
    response.extensions_mut().insert(Unwritten(value.clone()));
    response
}

/// A body of JSON whatever the caller accepts, indented: what is no API object (`/version`).
pub(crate) fn raw_json(code: StatusCode, value: &Value) -> Response<Body> {
    bytes(code, Media::Json, written(value, Media::Json, true))
}

/// A value as text and the end of the line, as Go's encoder writes it.
fn line(value: &Value) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

/// A value in an encoding. What has no protobuf form, which negotiation prevents, is JSON.
fn written(value: &Value, media: Media, pretty: bool) -> Bytes {
    match media {
        Media::Yaml => api::codec::yaml::emit(value).into(),
        Media::Protobuf => protobuf::encode(value).unwrap_or_else(|| line(value).into_bytes()).into(),
        // Writing JSON values into memory cannot fail.
        Media::Json if pretty => serde_json::to_vec_pretty(value).unwrap_or_default().into(),
        Media::Json => line(value).into(),
    }
}

/// The last step of every answer: the caller's encoding, and compression.
pub(crate) fn finish(response: Response<Body>, reader: &Reader) -> Response<Body> {
    let response = match response.extensions().get::<Unwritten>() {
        Some(Unwritten(value)) if reader.media != Some(Media::Json) || reader.pretty => {
            let pretty = reader.pretty || reader.media.is_none();
            let media = reader.media.unwrap_or(Media::Json);
            let mut again = bytes(response.status(), media, written(value, media, pretty));
            for (name, value) in response.headers().iter().filter(|(name, _)| **name != CONTENT_TYPE) {
                again.headers_mut().append(name.clone(), value.clone());
            }
            again
        }
        _ => response,
    };
    if reader.gzip { compression::compress(response) } else { response }
}

/// Plain text.
pub(crate) fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What no handler is for, as Go's router says it: clients tell a path that does not exist from an object
/// that does not by the form of the answer.
pub(crate) fn page_not_found() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
    let accepted = call.pretty(negotiate(&call.kind, headers)?);
    let stored = call.visible(stored)?;
    if accepted.is_plain() {
        return Ok(bytes(code, Media::Json, [&stored[..], b"\n"].concat()));
    }
    shown(call, accepted, code, parse(&stored)?)
}

/// One object that is computed and not stored.
pub(crate) fn computed(call: &Call, headers: &HeaderMap, object: Value) -> Result<Response<Body>, Status> {
    shown(call, call.pretty(negotiate(&call.kind, headers)?), StatusCode::OK, object)
}

fn shown(call: &Call, accepted: Accepted, code: StatusCode, object: Value) -> Result<Response<Body>, Status> {
    let value = match accepted.form {
        Form::Object => object,
        Form::Table => {
            let metadata = json!({"resourceVersion": api::object::resource_version(&object)});
            table(call, accepted, metadata, &[object])?
        }
        Form::Metadata => metadata_only(accepted, &object),
        Form::MetadataList => return Err(wrong_form(call, "PartialObjectMetadataList", "not a list", "")),
    };
    Ok(encode(code, &value, accepted))
}

/// A list in the form the caller accepts, from its parsed items.
pub(crate) fn list(
    call: &Call,
    accepted: Accepted,
    metadata: Value,
    items: Vec<Value>,
) -> Result<Response<Body>, Status> {
    let value = match accepted.form {
        Form::Table => table(call, accepted, metadata, &items)?,
        Form::MetadataList => {
            let items: Vec<Value> = items.iter().map(|item| metadata_only(accepted, item)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": accepted.meta_version(),
                   "metadata": metadata, "items": items})
        }
        Form::Object => json!({
            "kind": call.kind.list_kind(), "apiVersion": call.kind.api_version(),
            "metadata": metadata, "items": items,
        }),
        Form::Metadata => return Err(wrong_form(call, "PartialObjectMetadata", "a list", "List")),
    };
    Ok(encode(StatusCode::OK, &value, accepted))
}

/// A value in the encoding the caller accepts.
pub(crate) fn encode(code: StatusCode, value: &Value, accepted: Accepted) -> Response<Body> {
    bytes(code, accepted.media, written(value, accepted.media, accepted.pretty))
}

/// One object for a watch, in the encoding the caller accepts.
pub(crate) fn embedded(value: &Value, accepted: Accepted) -> Bytes {
    match accepted.media {
        Media::Protobuf => written(value, Media::Protobuf, false),
        Media::Json | Media::Yaml => value.to_string().into(),
    }
}

/// Printed columns of objects of the call's kind.
pub(crate) fn table(
    call: &Call,
    accepted: Accepted,
    metadata: Value,
    objects: &[Value],
) -> Result<Value, Status> {
    let include = include_object(call)?;
    let tables = Tables::of(&call.kind, accepted.meta_version(), call.server.clock.now(), include);
    Ok(tables.table(objects, metadata))
}

/// What of each object the caller wants to come with its row of a Table.
///
/// # Errors
/// 400 when there is no such `includeObject`.
pub(crate) fn include_object(call: &Call) -> Result<IncludeObject, Status> {
    let asked = call.options.include_object.as_str();
    IncludeObject::parse(asked).ok_or_else(|| {
        let detail = "must be 'Metadata', 'Object', 'None', or empty";
        let cause = Cause::invalid("includeObject", &asked.into(), detail);
        Status::bad_request(format!(
            "Unable to convert to Table as requested: {}: {}",
            cause.field, cause.message
        ))
    })
}

/// 406 for a list form asked of one object, and the other way round. Upstream names its Go type.
pub(crate) fn wrong_form(call: &Call, form: &str, what: &str, suffix: &str) -> Status {
    let (package, kind) = (api::codec::go_package(&call.kind.group), &call.kind.kind);
    Status::new(
        Reason::NotAcceptable,
        format!("you requested {form}, but the requested object is {what} (*{package}.{kind}{suffix})"),
    )
}

/// The metadata-only view of an object.
pub(crate) fn metadata_only(accepted: Accepted, object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": accepted.meta_version(),
        "metadata": object["metadata"],
    })
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
