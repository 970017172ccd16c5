//! `cluster-info` in `kube-public` is signed with every bootstrap token: who was given one and nothing else can
//! tell the true address and authority of the cluster from false ones.
//!
//! Entry point: [`reconcile`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use component_base::jws::sign_detached;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use super::{NAMESPACE, end, field, secrets};

const INFO: (&str, &str) = ("kube-public", "cluster-info");
const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// What is signed, and with what.
pub struct Observed {
    /// `cluster-info`.
    pub info: Arc<ConfigMap>,
    /// All bootstrap tokens.
    pub tokens: Vec<Arc<Secret>>,
}

/// Writes missing signatures and removes those of tokens that are gone.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let data = observed.info.data.clone().unwrap_or_default();
    let mut plan = Plan::default();
    let Some(content) = data.get(CONTENT) else {
        tracing::warn!("cluster-info has no {CONTENT} to sign");
        return plan;
    };
    let mut wanted = BTreeMap::new();
    for token in &observed.tokens {
        let id = field(token, "token-id");
        let is_over = end(token).is_some_and(|end| end <= now);
        if is_over || field(token, "usage-bootstrap-signing") != "true" || id.is_empty() {
            continue;
        }
        if let Some(end) = end(token) {
            plan.requeue_within(Duration::try_from(end.duration_since(now)).unwrap_or_default());
        }
        let signature = sign_detached(content, id, field(token, "token-secret"));
        wanted.insert(format!("{SIGNATURE}{id}"), signature);
    }
    let mut patch: BTreeMap<String, Value> = BTreeMap::new();
    for (key, signature) in &wanted {
        if data.get(key) != Some(signature) {
            patch.insert(key.clone(), json!(signature));
        }
    }
    let stale = data.keys().filter(|key| key.starts_with(SIGNATURE) && !wanted.contains_key(*key));
    patch.extend(stale.map(|key| (key.clone(), Value::Null)));
    if !patch.is_empty() {
        plan.actions.push(Action::Patch {
            target: Target::same_version(&request::resource::<ConfigMap>(), &observed.info.metadata),
            subresource: None,
            patch: json!({"data": patch}),
        });
    }
    plan
}

/// Watches the secrets and the ConfigMap.
pub struct Signer {
    secrets: Informer<Secret>,
    info: Informer<ConfigMap>,
}

impl Signer {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { secrets: secrets(informers), info: informers.selected(&format!("metadata.name={}", INFO.1)) }
    }
}

#[async_trait]
impl Controller for Signer {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "bootstrap-signer"
    }

    fn watch(&self, wake: &mut Wake) {
        let info = Key::new(INFO.0, INFO.1);
        let key = info.clone();
        wake.on(&self.secrets, move |_| [key.clone()]);
        wake.on(&self.info, move |change| Some(change.key()).filter(|key| *key == info));
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let tokens = self.secrets.in_namespace(NAMESPACE);
        Ok(self.info.get(key).map(|info| Observed { info, tokens }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
