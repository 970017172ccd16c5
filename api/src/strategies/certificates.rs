//! Rules of `certificates.k8s.io`.

pub mod trust_bundle;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::check::{self, list, set, text};
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Verdicts that stay once they are given.
const VERDICTS: [&str; 3] = ["Approved", "Denied", "Failed"];
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const MIN_SECONDS: i64 = 600;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// A wish for a certificate.
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    /// Any name will do, as long as it can stand in a path.
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn names_requester(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        check::copy(object, old, "spec");
        if context.subresource == "approval" {
            let conditions = object["status"]["conditions"].clone();
            check::copy(object, old, "status");
            if !conditions.is_null()
                && let Some(status) = object.get_mut("status")
            {
                set(status, "conditions", conditions);
            }
        }
        stamp(object, old, &context.now);
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let request = STANDARD.decode(text(spec, "request")).unwrap_or_default();
        if first_block(&request).is_none_or(|(kind, _)| kind != "CERTIFICATE REQUEST") {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            causes.push(Cause::invalid("spec.request", &spec["request"], detail));
        }
        usages(&mut causes, list(spec, "usages"));
        signer(&mut causes, "spec.signerName", text(spec, "signerName"));
        let seconds = &spec["expirationSeconds"];
        if seconds.as_i64().is_some_and(|seconds| seconds < MIN_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            causes.push(Cause::invalid("spec.expirationSeconds", seconds, detail));
        }
        conditions(&mut causes, list(&object["status"], "conditions"));
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        let field = "status.conditions";
        for kind in VERDICTS {
            let (new, before) = (of_type(object, kind), of_type(old, kind));
            let fixed = subresource != "approval" && kind != "Failed";
            let change = if new.len() < before.len() {
                "remove"
            } else if fixed && new.len() > before.len() {
                "add"
            } else if fixed && new != before {
                "modify"
            } else {
                continue;
            };
            causes.push(Cause::forbidden(
                field,
                &format!("updates may not {change} a condition of type {kind:?}"),
            ));
        }
        certificate(
            &mut causes,
            &object["status"]["certificate"],
            &old["status"]["certificate"],
            subresource,
        );
        causes
    }
}

/// Fills the times of new and changed conditions.
fn stamp(object: &mut Value, old: &Value, now: &str) {
    let before = list(&old["status"], "conditions").to_vec();
    let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    for condition in conditions {
        let known = before.iter().find(|other| other["type"] == condition["type"]);
        if condition["lastTransitionTime"].is_null() {
            let kept = known.filter(|other| other["status"] == condition["status"]);
            let time = kept.map(|other| other["lastTransitionTime"].clone()).filter(Value::is_string);
            set(condition, "lastTransitionTime", time.unwrap_or_else(|| json!(now)));
        }
        if condition["lastUpdateTime"].is_null() {
            set(condition, "lastUpdateTime", json!(now));
        }
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    list(&object["status"], "conditions").iter().filter(|c| c["type"] == kind).collect()
}

fn usages(causes: &mut Vec<Cause>, usages: &[Value]) {
    if usages.is_empty() {
        causes.push(Cause::required("spec.usages", "usages must be provided"));
    }
    let mut seen = BTreeSet::new();
    for (at, usage) in usages.iter().enumerate() {
        let field = format!("spec.usages[{at}]");
        check::supported(causes, &field, usage, &USAGES);
        if !seen.insert(usage.as_str()) {
            causes.push(Cause::duplicate(field, usage));
        }
    }
}

/// `DOMAIN/PATH`, both of limited length.
pub(in crate::strategies) fn signer(causes: &mut Vec<Cause>, field: &str, name: &str) {
    const MAX_DOMAIN: usize = 253;
    const MAX_NAME: usize = MAX_DOMAIN + 1 + 253 + 63 + 1;
    let whole = json!(name);
    if name.is_empty() {
        causes.push(Cause::required(field, "signerName must be provided"));
        return;
    }
    if name == LEGACY_SIGNER {
        let detail = "the legacy signerName is not allowed via this API version";
        causes.push(Cause::invalid(field, &whole, detail));
        return;
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        causes.push(Cause::invalid(field, &whole, detail));
        return;
    };
    if domain.len() > MAX_DOMAIN {
        causes.push(Cause::too_long(field, MAX_DOMAIN));
    }
    labels(causes, field, domain, names::dns1123_label);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        causes.push(Cause::invalid(field, &json!(domain), detail));
    }
    labels(causes, field, path, names::dns1123_subdomain);
    if name.len() > MAX_NAME {
        causes.push(Cause::too_long(field, MAX_NAME));
    }
}

/// The first label that is none; more would only repeat it.
fn labels(causes: &mut Vec<Cause>, field: &str, dotted: &str, form: check::Form) {
    if let Some(label) = dotted.split('.').find(|label| !form(label).is_empty()) {
        for broken in form(label) {
            let detail = format!("validating label {label:?}: {broken}");
            causes.push(Cause::invalid(field, &json!(dotted), &detail));
        }
    }
}

fn conditions(causes: &mut Vec<Cause>, conditions: &[Value]) {
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), &condition["status"]);
        let field = |name: &str| format!("status.conditions[{at}].{name}");
        check::present(causes, &field("type"), &condition["type"], "");
        let allowed: &[&str] =
            if VERDICTS.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        check::one_of(causes, &field("status"), status, allowed);
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(other) && !other.is_empty() {
            let detail = "Approved and Denied conditions are mutually exclusive";
            causes.push(Cause::invalid(field("type"), &json!(kind), detail));
        }
        if !seen.insert(kind) {
            causes.push(Cause::duplicate(field("type"), &json!(kind)));
        }
    }
}

fn certificate(causes: &mut Vec<Cause>, new: &Value, old: &Value, subresource: &str) {
    let field = "status.certificate";
    if new == old {
        return;
    }
    if subresource != "status" {
        causes.push(Cause::forbidden(field, "updates may not set certificate content"));
    } else if old.as_str().is_some_and(|text| !text.is_empty()) {
        causes.push(Cause::forbidden(field, "updates may not modify existing certificate content"));
    }
    let bytes = STANDARD.decode(new.as_str().unwrap_or_default()).unwrap_or_default();
    if let Some(detail) = not_certificates(&bytes) {
        causes.push(Cause::invalid(field, &json!("<certificate data>"), &detail));
    }
}

fn not_certificates(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let mut rest = bytes;
    let mut blocks = 0;
    while let Some((kind, after)) = first_block(rest) {
        if kind != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}"));
        }
        blocks += 1;
        rest = after;
    }
    (blocks == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

/// Type of the first PEM block (RFC 7468), and what follows it.
fn first_block(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (kind, body) = after.split_once("-----")?;
    let (content, rest) = body.split_once(&format!("-----END {kind}-----"))?;
    let encoded: String = content.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(encoded).ok()?;
    Some((kind, rest.as_bytes()))
}
