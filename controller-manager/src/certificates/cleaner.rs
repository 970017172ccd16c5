//! Requests for certificates go some time after nobody needs them any more.
//!
//! Entry point: [`reconcile`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use component_base::tls::Facts;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use super::{condition, is_issued};

/// How long what is decided stays.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long what waits for somebody stays.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

/// When a request goes.
pub fn due(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let created = csr.metadata.creation_timestamp.as_ref()?.0;
    let decided = |condition: &CertificateSigningRequestCondition| {
        condition
            .last_update_time
            .as_ref()
            .or(condition.last_transition_time.as_ref())
            .map_or(created, |time| time.0)
    };
    let (approved, denied, failed) =
        (condition(csr, "Approved"), condition(csr, "Denied"), condition(csr, "Failed"));
    let settled =
        [denied, failed, approved.filter(|_| is_issued(csr))].into_iter().flatten().map(decided).min();
    let waited = match (settled, approved) {
        (Some(at), _) => at + DECIDED,
        (None, Some(approved)) => decided(approved) + WAITING,
        (None, None) => created + WAITING,
    };
    let issued = csr.status.as_ref().and_then(|status| status.certificate.as_ref());
    let expired =
        issued.and_then(|pem| Facts::of(std::str::from_utf8(&pem.0).ok()?)).map(|facts| facts.until);
    Some(expired.map_or(waited, |expired| expired.min(waited)))
}

/// Removes what is due.
pub fn reconcile(csr: &CertificateSigningRequest, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(due) = due(csr) else { return plan };
    if due <= now {
        plan.actions.push(Action::Delete {
            target: Target::same_object(&request::resource::<CertificateSigningRequest>(), &csr.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        });
    } else {
        plan.requeue_within(Duration::try_from(due.duration_since(now)).unwrap_or_default());
    }
    plan
}

/// Watches requests.
pub struct Cleaner(Informer<CertificateSigningRequest>);

impl Cleaner {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self(informers.of())
    }
}

#[async_trait]
impl Controller for Cleaner {
    type Observed = Arc<CertificateSigningRequest>;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.0);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        Ok(self.0.get(key))
    }

    fn reconcile(&self, observed: &Self::Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
