//! Everybody can have the authorities mounted that sign the API server's own certificate: a ClusterTrustBundle of the
//! signer `kubernetes.io/kube-apiserver-serving`, named by its content. Those of former contents go.
//!
//! Entry point: [`reconcile`].

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use component_base::shutdown::Shutdown;
use component_base::tls::Pki;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";
/// So much of the content's digest is in the name.
const DIGEST_BYTES: usize = 12;

/// Makes the bundle of `authority` (PEM), and removes others.
pub fn reconcile(known: &[Arc<ClusterTrustBundle>], authority: &str) -> Plan {
    let resource = request::resource::<ClusterTrustBundle>();
    let digest = Sha256::digest(authority.as_bytes());
    let name = format!("{}:{}", SIGNER.replace('/', ":"), hex::encode(&digest[..DIGEST_BYTES]));
    let is_right = |bundle: &Arc<ClusterTrustBundle>| {
        bundle.metadata.name.as_ref() == Some(&name) && bundle.spec.trust_bundle == authority
    };
    let (right, wrong): (Vec<_>, Vec<_>) = known.iter().partition(|bundle| is_right(bundle));
    let removal = wrong.into_iter().filter(|bundle| bundle.metadata.deletion_timestamp.is_none());
    let mut actions: Vec<Action> = removal
        .map(|bundle| Action::Delete {
            target: Target::same_version(&resource, &bundle.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        })
        .collect();
    if right.is_empty() {
        actions.push(Action::Create {
            resource,
            namespace: None,
            object: json!({
                "apiVersion": "certificates.k8s.io/v1beta1",
                "kind": "ClusterTrustBundle",
                "metadata": {"name": name},
                "spec": {"signerName": SIGNER, "trustBundle": authority},
            }),
        });
    }
    Plan { actions, ..Plan::default() }
}

/// Watches the signer's bundles.
pub struct Publisher {
    bundles: Informer<ClusterTrustBundle>,
    pki: Arc<Pki>,
    shutdown: Shutdown,
}

impl Publisher {
    /// Publishes what clients are to trust.
    pub fn new(informers: &Informers, pki: Arc<Pki>, shutdown: Shutdown) -> Self {
        Self { bundles: informers.selected(&format!("spec.signerName={SIGNER}")), pki, shutdown }
    }
}

#[async_trait]
impl Controller for Publisher {
    type Observed = Vec<Arc<ClusterTrustBundle>>;

    fn name(&self) -> &'static str {
        "kube-apiserver-serving-clustertrustbundle-publisher"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on(&self.bundles, |_| [Key::cluster(SIGNER)]);
        let (mut changed, queue) = (self.pki.changed(), wake.queue());
        queue.add(Key::cluster(SIGNER));
        self.shutdown.spawn_until(async move {
            while changed.changed().await.is_ok() {
                queue.add(Key::cluster(SIGNER));
            }
        });
    }

    async fn observe(&self, _key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        self.bundles.synced().await;
        Ok(Some(self.bundles.list()))
    }

    fn reconcile(&self, observed: &Self::Observed, _now: Timestamp) -> Plan {
        reconcile(observed, &self.pki.authority_pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bundle_named_by_its_content() {
        let made = reconcile(&[], "pem");
        let [Action::Create { object, .. }] = &made.actions[..] else { panic!("{made:?}") };
        let name = "kubernetes.io:kube-apiserver-serving:";
        assert!(object["metadata"]["name"].as_str().is_some_and(|text| text.starts_with(name)), "{object}");
        let mut stored = object.clone();
        stored["metadata"]["uid"] = json!("u");
        stored["metadata"]["resourceVersion"] = json!("1");
        let known: Arc<ClusterTrustBundle> = Arc::new(serde_json::from_value(stored).expect("a bundle"));
        assert!(reconcile(&[Arc::clone(&known)], "pem").actions.is_empty());
        let other = reconcile(&[known], "other");
        assert!(matches!(&other.actions[..], [Action::Delete { .. }, Action::Create { .. }]), "{other:?}");
    }
}
