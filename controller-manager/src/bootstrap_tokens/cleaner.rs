//! Bootstrap tokens that have ended are removed.
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
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::{NAMESPACE, end, secrets};

/// Removes a token whose end is past.
pub fn reconcile(secret: &Secret, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    match end(secret) {
        Some(end) if end <= now => plan.actions.push(Action::Delete {
            target: Target::same_version(&request::resource::<Secret>(), &secret.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        }),
        Some(end) => plan.requeue_within(Duration::try_from(end.duration_since(now)).unwrap_or_default()),
        None => {}
    }
    plan
}

/// Watches the secrets.
pub struct Cleaner(Informer<Secret>);

impl Cleaner {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self(secrets(informers))
    }
}

#[async_trait]
impl Controller for Cleaner {
    type Observed = Arc<Secret>;

    fn name(&self) -> &'static str {
        "token-cleaner"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on(&self.0, |change| Some(change.key()).filter(|key| key.namespace == NAMESPACE));
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        Ok(self.0.get(key))
    }

    fn reconcile(&self, observed: &Self::Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
