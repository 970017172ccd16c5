//! What quotas have used, counted anew whenever something they count goes away, is over, or changes what it costs.
//!
//! Entry point: [`reconcile`]. Admission charges what is new in the same transaction that creates it, so a count
//! that began at one version of a quota and is written over that very version misses nothing. Source: upstream's
//! `pkg/controller/resourcequota`; costs are `api::quota`.

use api::pod_resources::{Resources, add, list};
use api::quantity::Quantity;
use api::quota::{Evaluator, used};
use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::{Act, Failure};
use client::informer::{Change, Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::ListParams;
use kube::core::ApiResource;
use serde_json::{Map, Value, json};

use crate::discovery::Kinds;

/// Kinds whose objects may cost something else when they change; pods are looked at more closely.
const REVALUED: [(&str, &str); 3] =
    [("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")];

/// A quota and everything of the kinds it counts.
pub struct Observed {
    /// The quota as it was before anything was counted.
    pub quota: Value,
    /// All objects of its namespace, by kind.
    pub objects: Vec<(ApiResource, Vec<Value>)>,
}

/// Writes `status.hard` and `status.used` where they are not what they should be.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let quota = &observed.quota;
    let hard = list(&quota["spec"]["hard"]);
    let mut total: Resources = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    for (resource, objects) in &observed.objects {
        add(&mut total, &used(quota, &Evaluator::of(&resource.group, &resource.plural), objects, now));
    }
    total.retain(|name, _| hard.contains_key(name));
    let status = &quota["status"];
    if list(&status["hard"]) == hard && list(&status["used"]) == total {
        return Plan::nothing();
    }
    let amounts = |of: &Resources| -> Map<String, Value> {
        of.iter().map(|(name, value)| (name.clone(), json!(value.to_string()))).collect()
    };
    let mut object = quota.clone();
    object["status"] = json!({"hard": quota["spec"]["hard"], "used": amounts(&total)});
    let text = |key: &str| quota["metadata"][key].as_str().unwrap_or_default();
    let resource = request::resource::<ResourceQuota>();
    let mut target = Target::named(&resource, Some(text("namespace")), text("name"));
    target.uid = Some(text("uid").to_owned());
    Plan { actions: vec![Action::Replace { target, subresource: Some("status"), object }], ..Plan::default() }
}

/// Watches quotas, and what may cost less than it did.
pub struct Quotas {
    client: kube::Client,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    kinds: Kinds,
}

impl Quotas {
    /// Uses the process's shared views; what is counted is read live.
    pub fn new(informers: &Informers, kinds: &Kinds) -> Self {
        let client = informers.client().clone();
        Self { client, quotas: informers.of(), pods: informers.of(), kinds: kinds.clone() }
    }

    async fn read(&self, resource: &ApiResource, key: &Key) -> Result<Option<Value>, Failure> {
        let failure = |error: kube::Error| Failure::new(Act::Observe, resource, key.clone(), &error);
        let requests = request::requests(resource, key.namespace());
        let request = match key.name.as_str() {
            "" => requests.list(&ListParams::default()),
            name => requests.get(name, &kube::api::GetParams::default()),
        };
        let request = request.map_err(|error| failure(kube::Error::BuildRequest(error)))?;
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(Some(object)),
            // Gone, or not served any more.
            Err(error) if matches!(request::code(&error), Some(404 | 405)) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }
}

/// Whether a pod costs something else than before.
fn is_revalued(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (change.old(), change.current()) else { return change.current().is_none() };
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let over = |pod: &Pod| phase(pod).is_some_and(|phase| ["Succeeded", "Failed"].contains(&phase.as_str()));
    let amounts = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        statuses.into_iter().flatten().map(|s| (s.resources, s.allocated_resources)).collect::<Vec<_>>()
    };
    over(old) != over(new)
        || old.metadata.generation != new.metadata.generation
        || amounts(old) != amounts(new)
}

/// Whether a quota counts something else than its status says. Admission changes what is used all the time.
fn is_recounted(change: &Change<ResourceQuota>) -> bool {
    let hard = |quota: &ResourceQuota| {
        (quota.spec.clone(), quota.status.as_ref().and_then(|status| status.hard.clone()))
    };
    match (change.old(), change.current()) {
        (Some(old), Some(new)) => hard(old) != hard(new),
        (_, current) => current.is_some(),
    }
}

#[async_trait]
impl Controller for Quotas {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on(&self.quotas, |change| is_recounted(change).then(|| change.key()));
        let quotas = self.quotas.clone();
        let of = move |namespace: &str| -> Vec<Key> {
            let name = |quota: &ResourceQuota| quota.metadata.name.clone().unwrap_or_default();
            quotas.in_namespace(namespace).iter().map(|quota| Key::new(namespace, name(quota))).collect()
        };
        let of_pod = of.clone();
        wake.on(
            &self.pods,
            move |change| {
                if is_revalued(change) { of_pod(&change.key().namespace) } else { Vec::new() }
            },
        );
        let queue = wake.queue();
        self.kinds.on_change(move |resource, change| {
            let place = (resource.group.as_str(), resource.plural.as_str());
            let less = change.current().is_none() || (change.old().is_some() && REVALUED.contains(&place));
            if less && place != ("", "pods") {
                of(&change.key().namespace).into_iter().for_each(|key| queue.add(key));
            }
        });
        let kinds = self.kinds.clone();
        wake.after(async move { kinds.ready().await });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        // The quota first: what is created from now on makes this version of it old.
        let resource = request::resource::<ResourceQuota>();
        let Some(quota) = self.read(&resource, key).await? else { return Ok(None) };
        let hard = list(&quota["spec"]["hard"]);
        let mut objects = Vec::new();
        for served in self.kinds.all().into_iter().filter(|served| served.namespaced) {
            let evaluator = Evaluator::of(&served.resource.group, &served.resource.plural);
            if hard.keys().any(|name| evaluator.counts(name))
                && let Some(mut all) = self.read(&served.resource, &Key::new(&key.namespace, "")).await?
                && let Value::Array(items) = all["items"].take()
            {
                objects.push((served.resource, items));
            }
        }
        Ok(Some(Observed { quota, objects }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_counted() {
        let pod = |phase: &str| json!({"spec": {"containers": []}, "status": {"phase": phase}});
        let pods = (request::resource::<Pod>(), vec![pod("Running"), pod("Succeeded"), pod("Pending")]);
        let quota = json!({"metadata": {"name": "q", "namespace": "a", "uid": "u"},
            "spec": {"hard": {"pods": "5", "count/pods": "9", "secrets": "1"}}});
        let mut observed = Observed { quota, objects: vec![pods] };
        let plan = reconcile(&observed, Timestamp::UNIX_EPOCH);
        let [Action::Replace { object, subresource: Some("status"), .. }] = plan.actions.as_slice() else {
            panic!("{plan:?}")
        };
        let used = json!({"pods": "2", "count/pods": "3", "secrets": "0"});
        assert_eq!(object["status"], json!({"hard": observed.quota["spec"]["hard"], "used": used}));
        observed.quota = object.clone();
        assert_eq!(reconcile(&observed, Timestamp::UNIX_EPOCH).actions, []);
    }
}
