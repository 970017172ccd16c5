//! Deployments: move from one ReplicaSet to the next without dropping below what was promised.
//!
//! Entry point: [`reconcile`]. A [`rollout::Rollout`] is a working copy of the deployment's replica
//! sets and conditions; [`revision`] names and numbers the sets, [`scale`], [`rolling`] and
//! [`recreate`] change their sizes, [`progress`] reports, and `Rollout::finish` turns the difference
//! into a plan.

mod progress;
mod recreate;
mod revision;
mod rolling;
mod rollout;
mod scale;

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake, before_and_after};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::Plan;
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use crate::owners::{Claimant, controller_key, controller_of, selector, selects};
use rollout::Rollout;

/// A deployment, its possible replica sets, and whether old pods still run.
pub struct Observed {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Replica sets of the namespace that it owns or could adopt.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// All pods of its replica sets; only needed by the Recreate strategy.
    pub pods: Vec<Arc<Pod>>,
    /// Why the last plan failed.
    pub last: Option<Failure>,
}

/// Decides the next step of a rollout.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let deployment = &*observed.deployment;
    let Some(spec) = &deployment.spec else { return Plan::nothing() };
    let Some(selector) = selector(Some(&spec.selector)).filter(|selector| !selector.selects_all()) else {
        return Plan::nothing();
    };
    let resource = request::resource::<Deployment>();
    let claimant = Claimant { resource: &resource, meta: &deployment.metadata, selector: &selector };
    let (claimed, claims) = claimant.claim(&request::resource::<ReplicaSet>(), &observed.sets);
    if !claims.is_empty() {
        // Adopted and released sets have new versions; decide on those.
        return Plan { actions: claims, ..Plan::default() };
    }
    let mut rollout = Rollout::new(deployment, spec, claimed, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        rollout.find_new();
        return rollout.finish_with_status_only();
    }
    progress::note_pause(&mut rollout);
    if spec.paused == Some(true) || scale::is_scaling(&mut rollout) {
        revision::sync_existing(&mut rollout);
        scale::scale(&mut rollout);
        if spec.paused == Some(true) {
            revision::clean_up(&mut rollout);
        }
        return rollout.finish_with_status_only();
    }
    match spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) {
        Some("Recreate") => recreate::step(&mut rollout, &observed.pods, observed.last.as_ref()),
        _ => rolling::step(&mut rollout, observed.last.as_ref()),
    }
    progress::report(&mut rollout);
    rollout.finish()
}

/// Watches Deployments, their ReplicaSets and pods.
pub struct Deployments {
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
}

impl Deployments {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { deployments: informers.of(), sets: informers.of(), pods: informers.of() }
    }
}

#[async_trait]
impl Controller for Deployments {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.deployments);
        let (resource, deployments) = (request::resource::<Deployment>(), self.deployments.clone());
        wake.on(&self.sets, move |change| {
            before_and_after(change, |set: &ReplicaSet| match controller_of(&set.metadata) {
                Some(_) => controller_key(&set.metadata, &resource).into_iter().collect(),
                None => matching(&deployments, set),
            })
        });
        // Only Recreate waits for pods to be gone.
        let (sets, deployments) = (self.sets.clone(), self.deployments.clone());
        let (of_set, of_deployment) = (request::resource::<ReplicaSet>(), request::resource::<Deployment>());
        wake.on(&self.pods, move |change| {
            let gone = change.current().is_none_or(|pod| crate::pods::is_terminal(pod));
            let set = gone.then(|| controller_key(&change.latest().metadata, &of_set)).flatten();
            let key = set.and_then(|key| controller_key(&sets.get(&key)?.metadata, &of_deployment));
            key.filter(|key| deployments.get(key).is_some_and(|deployment| is_recreate(&deployment)))
        });
    }

    async fn observe(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(None) };
        let mut sets = self.sets.owned_by(deployment.metadata.uid.as_deref().unwrap_or_default());
        let in_namespace = self.sets.in_namespace(&key.namespace);
        sets.extend(in_namespace.into_iter().filter(|set| controller_of(&set.metadata).is_none()));
        let pods = if is_recreate(&deployment) {
            let uids = sets.iter().filter_map(|set| set.metadata.uid.as_deref());
            uids.flat_map(|uid| self.pods.owned_by(uid)).collect()
        } else {
            Vec::new()
        };
        Ok(Some(Observed { deployment, sets, pods, last: last.cloned() }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}

fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

fn matching(deployments: &Informer<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    let in_namespace = deployments.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default());
    let adopts = |deployment: &Arc<Deployment>| {
        let spec = deployment.spec.as_ref().map(|spec| &spec.selector);
        selector(spec).is_some_and(|selector| !selector.selects_all() && selects(&selector, &set.metadata))
    };
    in_namespace.into_iter().filter(adopts).map(|deployment| Key::of(&deployment.metadata)).collect()
}
