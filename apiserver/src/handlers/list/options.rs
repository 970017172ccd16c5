//! Where a list begins: resource versions, their match, and continue tokens.
//!
//! The table of meanings is upstream's "Semantics for get and list".

use api::{Cause, Reason, Status};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, store_status};
use crate::output;
use crate::request::Options;
use crate::storage::Revision;

/// Where a page begins and which revision it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) at: Option<Revision>,
    pub(super) after: Option<String>,
}

/// Revision and position of this page, from the continue token or the resourceVersion options.
pub(super) async fn start(call: &Call) -> Result<Start, Status> {
    let options = &call.options;
    let version = options.resource_version.as_str();
    check(options)?;
    if !options.continue_token.is_empty() {
        let prefix = call.stored.prefix(call.info.namespace());
        let start = decode_token(&options.continue_token, &prefix)?;
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(start);
    }
    check_not_in_future(call).await?;
    let revision = revision(version)?;
    let exact = options.resource_version_match == "Exact"
        || (options.resource_version_match.is_empty() && options.limit > 0 && revision > 0);
    Ok(Start { at: exact.then_some(revision), after: None })
}

/// Upstream's `ValidateListOptions`.
fn check(options: &Options) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let mut causes = Vec::new();
    let word = options.resource_version_match.as_str();
    if !word.is_empty() {
        if options.resource_version.is_empty() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden(FIELD, detail));
        }
        if !options.continue_token.is_empty() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(FIELD, detail));
        }
        if word != "Exact" && word != "NotOlderThan" {
            causes.push(Cause::not_supported(FIELD, &word.into(), &["Exact", "NotOlderThan", ""]));
        }
        if word == "Exact" && options.resource_version == "0" {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(FIELD, detail));
        }
    }
    if options.send_initial_events.is_some() {
        causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    refuse(causes)
}

/// 422 about the options, if there is something to say.
pub(in crate::handlers) fn refuse(causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes))
}

/// A resourceVersion as a number, 0 for none.
pub(crate) fn revision(version: &str) -> Result<Revision, Status> {
    if version.is_empty() {
        return Ok(0);
    }
    version.parse().map_err(|_| {
        let problem = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        let cause = Cause::invalid("resourceVersion", &version.into(), &problem);
        Status::bad_request(format!("invalid resource version: {}: {}", cause.field, cause.message))
    })
}

/// 504 when a state is asked for that does not exist yet.
pub(crate) async fn check_not_in_future(call: &Call) -> Result<(), Status> {
    let asked = revision(&call.options.resource_version)?;
    call.server.store.know(asked).await.map_err(store_status)
}

/// Upstream's token: where the next page starts (relative to the prefix) and the snapshot it is part of.
pub(super) fn token(revision: Revision, key: &str, prefix: &str) -> String {
    encode_token(&revision.to_string(), key.strip_prefix(prefix).unwrap_or(key))
}

fn encode_token(revision: &str, relative: &str) -> String {
    let number: Value = revision.parse::<i64>().map_or(Value::Null, Value::from);
    // The NUL makes the start exclusive: it is the smallest key after `relative`.
    let token = json!({"v": "meta.k8s.io/v1", "rv": number, "start": format!("{relative}\u{0}")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

pub(super) fn decode_token(text: &str, prefix: &str) -> Result<Start, Status> {
    let invalid = |detail: &str| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {detail}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(&error.to_string()))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    let version = token["v"].as_str().unwrap_or_default();
    if version != "meta.k8s.io/v1" {
        return Err(invalid(&format!("server does not recognize this encoded version {version}")));
    }
    let wrong_revision = || invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
    let at = match token["rv"].as_i64() {
        None | Some(0) => return Err(wrong_revision()),
        // -1 means: go on with the present state (the snapshot was compacted away).
        Some(revision) if revision < 0 => None,
        Some(revision) => Some(u64::try_from(revision).map_err(|_| wrong_revision())?),
    };
    let start = token["start"].as_str().unwrap_or_default();
    if start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
    }
    let relative = start.trim_end_matches('\u{0}');
    if relative.is_empty() || relative.split('/').any(|part| matches!(part, "" | "..")) {
        return Err(invalid(start));
    }
    Ok(Start { at, after: Some(format!("{prefix}{relative}")) })
}

/// 410 with a token for an inconsistent rest.
pub(super) fn expired(start: &Start, prefix: &str) -> Response<Body> {
    const TEXT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut body = Status::new(Reason::Expired, TEXT).to_json();
    if let Some(after) = &start.after {
        let relative = after.strip_prefix(prefix).unwrap_or(after);
        body["metadata"] = json!({"continue": encode_token("-1", relative)});
    }
    output::json_value(StatusCode::GONE, &body)
}
