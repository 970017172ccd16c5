//! The one error an API caller sees: `meta/v1.Status` with Kubernetes' reason, code and causes.
//!
//! Constructors mirror the texts of upstream's `apimachinery/pkg/api/errors`, so that clients and
//! people recognise them. Internal detail never goes into the message of a 500.

use serde_json::{Value, json};

/// Machine-readable reason of a failure; the HTTP code follows from it.
///
/// Source: `metav1.StatusReason` in the API conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 409, the name is taken
    AlreadyExists,
    /// 409, somebody else changed the object
    Conflict,
    /// 410, the revision is compacted away
    Expired,
    /// 413
    RequestEntityTooLarge,
    /// 415
    UnsupportedMediaType,
    /// 422
    Invalid,
    /// 429
    TooManyRequests,
    /// 500
    InternalError,
    /// 500 without a word: what upstream answers to errors its handlers do not classify.
    Unknown,
    /// 503
    ServiceUnavailable,
    /// 504
    Timeout,
    /// 507, the disk is full (Gantry's own; clients treat it as a server error)
    InsufficientStorage,
}

impl Reason {
    /// The word in `Status.reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::Unknown => "",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
            Self::InsufficientStorage => "InsufficientStorage",
        }
    }

    /// The HTTP status code.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::Unknown => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
            Self::InsufficientStorage => 507,
        }
    }
}

/// One field-level cause: what is wrong where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, … (metav1.CauseType).
    pub reason: &'static str,
    /// Path such as `spec.containers[0].image`.
    pub field: String,
    /// Text after the path, such as `Required value`.
    pub message: String,
}

impl Cause {
    /// A required field is absent.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueRequired", field: field.into(), message: join("Required value", detail) }
    }

    /// A value that is wrong; `value` is shown as Go's `%v` inside JSON quotes where it is a string.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let head = format!("Invalid value: {}", shown(value));
        Self { reason: "FieldValueInvalid", field: field.into(), message: join(&head, detail) }
    }

    /// A value that is wrong and not worth showing.
    pub fn invalid_unshown(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueInvalid", field: field.into(), message: join("Invalid value", detail) }
    }

    /// A list with more items than `max`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let message = format!("Too many: {actual}: must have at most {max} items");
        Self { reason: "FieldValueTooMany", field: field.into(), message }
    }

    /// A value outside an enumeration.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let head = format!("Unsupported value: {}", shown(value));
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {list}") };
        Self { reason: "FieldValueNotSupported", field: field.into(), message: join(&head, &detail) }
    }

    /// The value must not be set here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: join("Forbidden", detail) }
    }

    /// The same key twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self { reason: "FieldValueDuplicate", field: field.into(), message }
    }

    /// A referenced thing does not exist.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Not found: {}", shown(value));
        Self { reason: "FieldValueNotFound", field: field.into(), message }
    }

    /// A string longer than `max` bytes, or a list longer than `max` items.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let message = format!("Too long: may not be more than {max} bytes");
        Self { reason: "FieldValueTooLong", field: field.into(), message }
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let head = format!("Invalid value: {}", shown(value));
        Self { reason: "FieldValueTypeInvalid", field: field.into(), message: join(&head, detail) }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

fn join(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

fn shown(value: &Value) -> String {
    value.to_string()
}

/// A failed request, as the API reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Why, in one word; decides the HTTP code.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about: `details.{name,group,kind,uid}`.
    pub name: String,
    /// API group of `resource`, empty for core.
    pub group: String,
    /// Plural resource, or the kind for `Invalid`: upstream puts both into `details.kind`.
    pub resource: String,
    /// Field-level causes.
    pub causes: Vec<Cause>,
    /// Advice for clients on 429, 503 and 504.
    pub retry_after_seconds: Option<u32>,
    /// The whole body where somebody else wrote it, such as an admission webhook; it stands for all of the above.
    pub foreign: Option<Box<Value>>,
}

impl Status {
    /// A Status with only a reason and a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            resource: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            foreign: None,
        }
    }

    /// Passes on a failure somebody else described: a `Status` object with a `code` of a failure.
    pub fn passed_on(body: Value) -> Self {
        let message = body["message"].as_str().unwrap_or_default().to_owned();
        Self { foreign: Some(Box::new(body)), ..Self::new(Reason::Unknown, message) }
    }

    fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        self.group = group.to_owned();
        self.resource = resource.to_owned();
        self.name = name.to_owned();
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 500; `message` must be fit for callers.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 404 `pods "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::new(Reason::NotFound, message).about(group, resource, name)
    }

    /// 404 for a path nobody serves.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource")
    }

    /// 409 `pods "x" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::new(Reason::AlreadyExists, message).about(group, resource, name)
    }

    /// 409 `Operation cannot be fulfilled on pods "x": …`.
    pub fn conflict(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {detail}", qualified(group, resource));
        Self::new(Reason::Conflict, message).about(group, resource, name)
    }

    /// 409 because the caller's resourceVersion is not the current one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let detail =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, detail)
    }

    /// 422 with field causes; `kind` is the Kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for text in causes.iter().map(Cause::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status =
            Self::new(Reason::Invalid, format!("{} {name:?} is invalid: {list}", qualified(group, kind)))
                .about(group, kind, name);
        status.causes = causes;
        status
    }

    /// 403 `pods "x" is forbidden: …`; without a name: `pods is forbidden: …`.
    pub fn forbidden(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let what = qualified(group, resource);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {detail}")
        } else {
            format!("{what} {name:?} is forbidden: {detail}")
        };
        Self::new(Reason::Forbidden, message).about(group, resource, name)
    }

    /// 410.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 405.
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let what = qualified(group, resource);
        Self::new(Reason::MethodNotAllowed, format!("{verb} is not supported on resources of kind {what:?}"))
            .about(group, resource, "")
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message)
    }

    /// The HTTP code.
    pub fn code(&self) -> u16 {
        let foreign = self.foreign.as_ref().and_then(|body| u16::try_from(body["code"].as_u64()?).ok());
        foreign.unwrap_or_else(|| self.reason.code())
    }

    /// The wire form.
    pub fn to_json(&self) -> Value {
        if let Some(body) = &self.foreign {
            return (**body).clone();
        }
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.resource)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|cause| {
                    let fields =
                        [("reason", cause.reason), ("message", &cause.message), ("field", &cause.field)];
                    let said = fields.iter().filter(|(_, text)| !text.is_empty());
                    said.map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect()
                })
                .collect();
            details.insert("causes".to_owned(), Value::Array(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code(),
        });
        if self.reason != Reason::Unknown {
            body["reason"] = self.reason.as_str().into();
        }
        if !details.is_empty() {
            body["details"] = Value::Object(details);
        }
        body
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `pods` for the core group, `deployments.apps` otherwise.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}
