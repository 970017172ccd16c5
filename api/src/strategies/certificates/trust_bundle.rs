//! ClusterTrustBundles: certificates of authorities that pods can have mounted.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;

use super::super::check::text;
use super::signer;
use crate::names;
use crate::object;
use crate::pem;
use crate::status::Cause;
use crate::strategy::Strategy;

/// Upstream's `MaxTrustBundleSize`.
const MAX_BYTES: usize = 1 << 20;

/// Authorities to trust.
pub struct ClusterTrustBundle;

impl Strategy for ClusterTrustBundle {
    /// What else a name may be depends on the signer.
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = form(object);
        authorities(&mut causes, text(&object["spec"], "trustBundle"));
        causes
    }

    fn judges_changes_alone(&self) -> bool {
        true
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let (new, before) = (&object["spec"], &old["spec"]);
        let mut causes = form(object);
        if new["trustBundle"] != before["trustBundle"] {
            authorities(&mut causes, text(new, "trustBundle"));
        }
        if text(new, "signerName") != text(before, "signerName") {
            causes.push(Cause::invalid("spec.signerName", &new["signerName"], "field is immutable"));
        }
        causes
    }
}

/// Name and signer.
fn form(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (name, of) = (object::name(object), text(&object["spec"], "signerName"));
    for broken in name_errors(name, of) {
        causes.push(Cause::invalid("metadata.name", &json!(name), &broken));
    }
    if !of.is_empty() {
        signer(&mut causes, "spec.signerName", of);
    }
    causes
}

/// What is wrong with the name of a bundle of a signer, or of none.
pub(in crate::strategies) fn name_errors(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()];
        }
        return names::dns1123_subdomain(name);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns1123_subdomain(rest),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")]
        }
    }
}

fn authorities(causes: &mut Vec<Cause>, bundle: &str) {
    const FIELD: &str = "spec.trustBundle";
    if bundle.len() > MAX_BYTES {
        causes.push(Cause::too_long(FIELD, MAX_BYTES));
        return;
    }
    let refuse = |detail: &str| Cause::invalid(FIELD, &json!("<value omitted>"), detail);
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let before = causes.len();
    for (at, block) in pem::blocks(bundle).into_iter().enumerate() {
        match flaw(&block) {
            Some(flaw) => causes.push(refuse(&format!("entry {at} {flaw}"))),
            None => seen.entry(block.bytes).or_default().push(at),
        }
    }
    if causes.len() > before {
        return;
    }
    if seen.is_empty() {
        causes.push(refuse("at least one trust anchor must be provided"));
    }
    for places in seen.values().filter(|places| places.len() > 1) {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        causes.push(refuse(&format!("duplicate trust anchor (indices [{}])", places.join(" "))));
    }
}

/// Why a block is no authority.
fn flaw(block: &pem::Block) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".to_owned());
    }
    match parse_x509_certificate(&block.bytes) {
        Ok(([], certificate)) => (!certificate.is_ca()).then(|| "does not have the CA bit set".to_owned()),
        _ => Some("does not parse as X.509".to_owned()),
    }
}
