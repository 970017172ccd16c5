//! How to reach a webhook: what admission and conversion webhooks have in common.

use serde_json::{Value, json};

use super::check::{self, text};
use crate::names;
use crate::status::Cause;

const FORM: &str = "; desired format: https://host[/path]";

/// A client configuration at `path`: exactly one of `url` and `service`.
pub(super) fn client_config(causes: &mut Vec<Cause>, path: &str, config: &Value) {
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        causes.push(Cause::required(path, "exactly one of url or service is required"));
    } else if service.is_null() {
        validate_url(causes, &format!("{path}.url"), url.as_str().unwrap_or_default());
    } else {
        validate_service(causes, &format!("{path}.service"), service);
    }
}

fn validate_url(causes: &mut Vec<Cause>, field: &str, url: &str) {
    let mut refuse = |part: &str, detail: &str| {
        causes.push(Cause::invalid(field, &json!(part), &format!("{detail}{FORM}")));
    };
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        refuse(scheme, "'https' is the only allowed URL scheme");
    }
    if host.is_empty() {
        refuse(host, "host must be specified");
    }
    if !user.is_empty() {
        refuse(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(causes: &mut Vec<Cause>, path: &str, service: &Value) {
    for field in ["name", "namespace"] {
        check::required(causes, &format!("{path}.{field}"), &service[field], None);
    }
    let port = service["port"].as_i64().unwrap_or_default();
    if !(1..=65_535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        causes.push(Cause::invalid(format!("{path}.port"), &json!(port), detail));
    }
    let (url, field) = (text(service, "path"), format!("{path}.path"));
    let mut refuse = |detail: &str| causes.push(Cause::invalid(&field, &json!(url), detail));
    match url {
        "" | "/" => return,
        "//" => return refuse("segment[0] may not be empty"),
        _ if !url.starts_with('/') => refuse("must start with a '/'"),
        _ => {}
    }
    let inner = url.strip_prefix('/').unwrap_or(url);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (at, segment) in inner.split('/').enumerate() {
        if segment.is_empty() {
            refuse(&format!("segment[{at}] may not be empty"));
            continue;
        }
        for broken in names::dns1123_subdomain(segment) {
            refuse(&format!("segment[{at}]: {broken}"));
        }
    }
}
