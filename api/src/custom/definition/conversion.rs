//! `spec.conversion`.

use serde_json::Value;

use super::{list, text};
use crate::names;
use crate::status::Cause;

const KNOWN_REVIEWS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn validate(conversion: &Value, causes: &mut Vec<Cause>) {
    let path = "spec.conversion";
    match text(&conversion["strategy"]) {
        "" => causes.push(Cause::required(format!("{path}.strategy"), "")),
        "Webhook" => webhook(conversion, causes),
        "None" => {
            // Upstream's own form, whose names the paths have, keeps the webhook's parts side by side.
            for (pointer, key) in [
                ("/webhook/clientConfig", "webhookClientConfig"),
                ("/webhook/conversionReviewVersions", "conversionReviewVersions"),
            ] {
                if conversion.pointer(pointer).is_some() {
                    let detail = "should not be set when strategy is not set to Webhook";
                    causes.push(Cause::forbidden(format!("{path}.{key}"), detail));
                }
            }
        }
        _ => {
            let strategy = &conversion["strategy"];
            causes.push(Cause::not_supported(format!("{path}.strategy"), strategy, &["None", "Webhook"]));
        }
    }
}

fn webhook(conversion: &Value, causes: &mut Vec<Cause>) {
    let config = &conversion["webhook"]["clientConfig"];
    let path = "spec.conversion.webhookClientConfig";
    let (url, service) = (&config["url"], &config["service"]);
    if config.is_null() {
        causes.push(Cause::required(path, "required when strategy is set to Webhook"));
    } else if url.is_null() == service.is_null() {
        causes.push(Cause::required(path, "exactly one of url or service is required"));
    } else if url.is_null() {
        for key in ["name", "namespace"] {
            if text(&service[key]).is_empty() {
                causes.push(Cause::required(
                    format!("{path}.service.{key}"),
                    &format!("service {key} is required"),
                ));
            }
        }
        let port = service["port"].as_i64().unwrap_or(443);
        if !(1..=65_535).contains(&port) {
            let detail = "port is not valid: must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(format!("{path}.service.port"), &service["port"], detail));
        }
    } else {
        address(&format!("{path}.url"), url, causes);
    }
    review_versions(&conversion["webhook"]["conversionReviewVersions"], causes);
}

fn address(path: &str, url: &Value, causes: &mut Vec<Cause>) {
    let form = "; desired format: https://host[/path]";
    let rest = text(url).strip_prefix("https://");
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let mut invalid = |detail: String| causes.push(Cause::invalid(path, url, &detail));
    match (rest, host) {
        (Some(_), Some("")) => invalid(format!("host must be specified{form}")),
        (Some(rest), Some(host)) => {
            if host.contains('@') {
                invalid(format!("user information is not permitted in the URL{form}"));
            }
            if rest.contains('#') {
                invalid(format!("fragments are not permitted in the URL{form}"));
            }
            if rest.contains('?') {
                invalid(format!("query parameters are not permitted in the URL{form}"));
            }
        }
        _ => invalid(format!("'https' is the only allowed URL scheme{form}")),
    }
}

fn review_versions(versions: &Value, causes: &mut Vec<Cause>) {
    let path = "spec.conversion.conversionReviewVersions";
    if list(versions).is_empty() {
        causes.push(Cause::required(path, ""));
        return;
    }
    for (at, version) in list(versions).iter().enumerate() {
        let field = format!("{path}[{at}]");
        if list(versions).iter().take(at).any(|before| before == version) {
            causes.push(Cause::invalid(field, version, "duplicate version"));
            continue;
        }
        causes.extend(
            names::dns1035_label(text(version)).iter().map(|rule| Cause::invalid(&*field, version, rule)),
        );
    }
    if !list(versions).iter().any(|version| KNOWN_REVIEWS.contains(&text(version))) {
        let detail = format!("must include at least one of {}", KNOWN_REVIEWS.join(", "));
        causes.push(Cause::invalid(path, versions, &detail));
    }
}
