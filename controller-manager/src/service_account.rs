//! Every namespace has a service account named `default`.

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Change, Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use serde_json::json;

/// What pods use that name no service account.
const DEFAULT: &str = "default";

/// Whether a namespace has its default account.
pub struct Observed {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Whether the account exists.
    pub exists: bool,
}

/// Creates what is missing, unless the namespace is going away.
pub fn reconcile(observed: &Observed) -> Plan {
    let meta = &observed.namespace.metadata;
    if observed.exists || meta.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let create = Action::Create {
        resource: request::resource::<ServiceAccount>(),
        namespace: meta.name.clone(),
        object: json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT, "namespace": meta.name}}),
    };
    Plan { actions: vec![create], ..Plan::default() }
}

/// Watches namespaces and service accounts.
pub struct ServiceAccounts {
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

impl ServiceAccounts {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { namespaces: informers.of(), accounts: informers.of() }
    }
}

#[async_trait]
impl Controller for ServiceAccounts {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.namespaces);
        wake.on(&self.accounts, |change| match change {
            Change::Removed(_) => Some(Key::cluster(change.key().namespace)),
            _ => None,
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let exists = self.accounts.get(&Key::new(&key.name, DEFAULT)).is_some();
        Ok(self.namespaces.get(key).map(|namespace| Observed { namespace, exists }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed)
    }
}
