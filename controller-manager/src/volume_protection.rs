//! Claims that a pod uses and volumes that a claim has stay until they are free: admission gives each a finalizer, and here
//! it is taken away.
//!
//! Entry points: [`claim`] and [`volume`]. Source: upstream's `pvcprotection` and `pvprotection` controllers.

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde_json::json;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Lets go of a claim that goes and that no pod uses; holds one that was made before there was protection.
pub fn claim(meta: &ObjectMeta, used: bool) -> Plan {
    protect(&request::resource::<PersistentVolumeClaim>(), meta, CLAIM_FINALIZER, used)
}

/// Lets go of a volume that goes and that is not bound.
pub fn volume(volume: &PersistentVolume) -> Plan {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let resource = request::resource::<PersistentVolume>();
    protect(&resource, &volume.metadata, VOLUME_FINALIZER, phase == Some("Bound"))
}

fn protect(resource: &ApiResource, meta: &ObjectMeta, finalizer: &str, used: bool) -> Plan {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|known| known == finalizer);
    match (meta.deletion_timestamp.is_some(), held) {
        (true, true) if !used => finalizers.retain(|known| known != finalizer),
        (false, false) => finalizers.push(finalizer.to_owned()),
        _ => return Plan::nothing(),
    }
    let target = Target::same_version(resource, meta);
    let patch = json!({"metadata": {"finalizers": finalizers}});
    Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() }
}

/// Keys of the claims a pod uses. One that has no node yet uses none: no node would start it with a claim that goes.
fn claims_of(pod: &Pod) -> Vec<Key> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.node_name.is_some()) else { return Vec::new() };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    let names = volumes.filter_map(|volume| match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name)),
    });
    names.map(|name| Key::new(namespace, &name)).collect()
}

/// Watches claims and pods.
pub struct Claims {
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
}

impl Claims {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { claims: informers.of(), pods: informers.of() }
    }
}

#[async_trait]
impl Controller for Claims {
    type Observed = (Arc<PersistentVolumeClaim>, bool);

    fn name(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.claims);
        wake.on(&self.pods, |change| before_and_after(change, claims_of));
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        let Some(claim) = self.claims.get(key) else { return Ok(None) };
        let used = self.pods.in_namespace(&key.namespace).iter().any(|pod| claims_of(pod).contains(key));
        Ok(Some((claim, used)))
    }

    fn reconcile(&self, (observed, used): &Self::Observed, _now: Timestamp) -> Plan {
        claim(&observed.metadata, *used)
    }
}

/// Watches volumes.
pub struct Volumes(Informer<PersistentVolume>);

impl Volumes {
    /// Uses the process's shared view.
    pub fn new(informers: &Informers) -> Self {
        Self(informers.of())
    }
}

#[async_trait]
impl Controller for Volumes {
    type Observed = Arc<PersistentVolume>;

    fn name(&self) -> &'static str {
        "pv-protection-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.0);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        Ok(self.0.get(key))
    }

    fn reconcile(&self, observed: &Self::Observed, _now: Timestamp) -> Plan {
        volume(observed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_used_stays() {
        let check = |deleted: bool, finalizers: Value, used: bool, expect: Option<Value>| {
            let mut meta = json!({"name": "c", "namespace": "a", "finalizers": finalizers});
            if deleted {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let meta: ObjectMeta = serde_json::from_value(meta).expect("metadata");
            let patch = match claim(&meta, used).actions.pop() {
                Some(Action::Patch { patch, .. }) => Some(patch["metadata"]["finalizers"].clone()),
                _ => None,
            };
            assert_eq!(patch, expect);
        };
        let ours = || json!(["x/y", CLAIM_FINALIZER]);
        check(false, ours(), false, None);
        check(false, json!([]), false, Some(json!([CLAIM_FINALIZER])));
        check(true, ours(), true, None);
        check(true, ours(), false, Some(json!(["x/y"])));
        check(true, json!(["x/y"]), false, None);
    }
}
