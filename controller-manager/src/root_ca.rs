//! Every namespace has the cluster's certificate authority in the ConfigMap `kube-root-ca.crt`.

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use component_base::shutdown::Shutdown;
use component_base::tls::Pki;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const ABOUT: &str = "kubernetes.io/description";
const ABOUT_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
    internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
    guaranteed across distributions of Kubernetes clusters.";

/// A namespace and its copy of the authority.
pub struct Observed {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Its ConfigMap.
    pub published: Option<Arc<ConfigMap>>,
}

/// Publishes `authority` (PEM) or corrects what is published.
pub fn reconcile(observed: &Observed, authority: &str) -> Plan {
    let meta = &observed.namespace.metadata;
    if meta.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let resource = request::resource::<ConfigMap>();
    let action = match &observed.published {
        None => Action::Create {
            resource,
            namespace: meta.name.clone(),
            object: json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": meta.name, "annotations": {ABOUT: ABOUT_TEXT}},
                "data": {FIELD: authority},
            }),
        },
        Some(known) => {
            let data = known.data.clone().unwrap_or_default();
            if data.len() == 1 && data.get(FIELD).is_some_and(|text| text == authority) {
                return Plan::nothing();
            }
            let mut patch = json!({"data": {FIELD: authority}});
            let strangers = data.keys().filter(|key| *key != FIELD);
            strangers.for_each(|key| patch["data"][key] = serde_json::Value::Null);
            Action::Patch {
                target: Target::same_version(&resource, &known.metadata),
                subresource: None,
                patch,
            }
        }
    };
    Plan { actions: vec![action], ..Plan::default() }
}

/// Watches namespaces and the ConfigMaps of that one name.
pub struct RootAuthorities {
    namespaces: Informer<Namespace>,
    published: Informer<ConfigMap>,
    pki: Arc<Pki>,
    shutdown: Shutdown,
}

impl RootAuthorities {
    /// Publishes what clients are to trust.
    pub fn new(informers: &Informers, pki: Arc<Pki>, shutdown: Shutdown) -> Self {
        let published = informers.selected(&format!("metadata.name={NAME}"));
        Self { namespaces: informers.of(), published, pki, shutdown }
    }
}

#[async_trait]
impl Controller for RootAuthorities {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.namespaces);
        wake.on(&self.published, |change| [Key::cluster(change.key().namespace)]);
        // Another authority concerns every namespace.
        let (mut changed, queue, namespaces) = (self.pki.changed(), wake.queue(), self.namespaces.clone());
        self.shutdown.spawn_until(async move {
            while changed.changed().await.is_ok() {
                namespaces.list().iter().for_each(|namespace| queue.add(Key::of(&namespace.metadata)));
            }
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let published = self.published.get(&Key::new(&key.name, NAME));
        Ok(self.namespaces.get(key).map(|namespace| Observed { namespace, published }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed, &self.pki.authority_pem())
    }
}
