//! Approved requests get their certificates, from the authority of their signer.
//!
//! Entry point: [`reconcile`].

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use component_base::tls::{Pki, Request};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};

use super::{condition, is_issued, signer, with_condition};

/// Longest life of a certificate (`--cluster-signing-duration`).
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Shortest life of a certificate.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
/// Certificates begin in the past, so that machines whose clocks differ a little agree.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// A shorter life is counted from now, not from the beginning in the past.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// When a certificate that is asked for begins and ends, by an authority that ends at `authority_end`.
pub fn validity(
    asked_seconds: Option<i32>,
    now: Timestamp,
    authority_end: Timestamp,
) -> (Timestamp, Timestamp) {
    let asked = asked_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let life = asked.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    let from = now.saturating_sub(BACKDATED).unwrap_or(now);
    let counted_from = if life < SHORT { now } else { from };
    let until = counted_from.saturating_add(life).unwrap_or(authority_end);
    (from, until.min(authority_end))
}

/// What becomes of an approved request: its certificate, or why there is none.
pub fn reconcile(csr: &CertificateSigningRequest, pki: &Pki, now: Timestamp) -> Plan {
    let Some(signer) = signer(&csr.spec.signer_name) else { return Plan::nothing() };
    let is_waiting = condition(csr, "Approved").is_some() && condition(csr, "Failed").is_none();
    if !is_waiting || is_issued(csr) {
        return Plan::nothing();
    }
    let usages = csr.spec.usages.clone().unwrap_or_default();
    let signed = Request::of(&csr.spec.request.0).and_then(|wish| match signer.refuses(&wish, &usages) {
        Some(refusal) => Err(refusal),
        None => Ok(wish),
    });
    let status = match signed {
        Err(refusal) => failed(csr, &refusal, now),
        Ok(wish) => {
            let end = pki.authority_end(signer.role).unwrap_or(now);
            let validity = validity(csr.spec.expiration_seconds, now, end);
            match pki.sign_request(signer.role, &wish, &usages, validity) {
                Ok(pem) => json!({"certificate": ByteString(pem.into_bytes())}),
                Err(error) => failed(csr, &error.to_string(), now),
            }
        }
    };
    let resource = request::resource::<CertificateSigningRequest>();
    let write = Action::Patch {
        target: Target::same_version(&resource, &csr.metadata),
        subresource: Some("status"),
        patch: json!({"status": status}),
    };
    Plan { actions: vec![write], ..Plan::default() }
}

fn failed(csr: &CertificateSigningRequest, why: &str, now: Timestamp) -> Value {
    json!({"conditions": with_condition(csr, "Failed", "SignerValidationFailure", why, now)})
}

/// Watches requests.
pub struct Signing {
    requests: Informer<CertificateSigningRequest>,
    pki: Arc<Pki>,
}

impl Signing {
    /// Signs with the cluster's authorities.
    pub fn new(informers: &Informers, pki: Arc<Pki>) -> Self {
        Self { requests: informers.of(), pki }
    }
}

#[async_trait]
impl Controller for Signing {
    type Observed = Arc<CertificateSigningRequest>;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.requests);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        Ok(self.requests.get(key))
    }

    fn reconcile(&self, observed: &Self::Observed, now: Timestamp) -> Plan {
        reconcile(observed, &self.pki, now)
    }
}
