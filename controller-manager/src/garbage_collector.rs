//! Removes what nobody owns any more: background, foreground and orphaning deletion.
//!
//! Entry points: [`Collector`], [`reconcile`]. The [`graph`] of owners and dependents over all served kinds
//! only says what to look at; a decision to delete rests on live reads of the object and of every owner
//! that the graph does not know, so a slow watch cannot cost an object.

mod graph;

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::{Act, Failure};
use client::informer::Informers;
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::GetParams;
use kube::core::ApiResource;
use parking_lot::Mutex;
use serde_json::json;

use crate::discovery::{Kinds, Metadata};
use graph::{Graph, Node};

/// Dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Dependents stay.
pub const ORPHAN: &str = "orphan";

/// What became of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there.
    Solid,
    /// It is there, being deleted, and waits for its dependents.
    Waiting,
    /// It is gone, or another object has its name.
    Absent,
}

/// One object, its owners and its dependents.
pub struct Observed {
    /// Its kind.
    pub resource: ApiResource,
    /// Its metadata, read live.
    pub meta: ObjectMeta,
    /// State of each owner, in the order of `meta.owner_references`.
    pub owners: Vec<OwnerState>,
    /// Objects that refer to it as an owner.
    pub dependents: Vec<Dependent>,
}

/// An object below another one.
#[derive(Debug, Clone)]
pub struct Dependent {
    /// Its kind.
    pub resource: ApiResource,
    /// Where it is.
    pub key: Key,
    /// Which one it is.
    pub uid: String,
    /// All its owners.
    pub owners: Vec<OwnerReference>,
    /// Whether it is being deleted and itself waits for dependents.
    pub waiting: bool,
}

fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
}

/// Decides about one object: orphan or await its dependents if it is being deleted, drop references to
/// owners that are gone, or delete it if none is left.
pub fn reconcile(observed: &Observed) -> Plan {
    let meta = &observed.meta;
    if meta.deletion_timestamp.is_some() {
        if has_finalizer(meta, ORPHAN) {
            return orphan_dependents(observed);
        }
        if has_finalizer(meta, FOREGROUND) {
            return await_dependents(observed);
        }
        return Plan::nothing();
    }
    let owners: Vec<_> = meta.owner_references.iter().flatten().zip(&observed.owners).collect();
    if owners.is_empty() || owners.iter().all(|(_, state)| **state == OwnerState::Solid) {
        return Plan::nothing();
    }
    let target = Target::same_version(&observed.resource, meta);
    if owners.iter().any(|(_, state)| **state == OwnerState::Solid) {
        let solid = owners.iter().filter(|(_, state)| **state == OwnerState::Solid).map(|(owner, _)| owner);
        let patch = json!({"metadata": {"ownerReferences": solid.collect::<Vec<_>>()}});
        return Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() };
    }
    let mut plan = Plan::default();
    let owner_waits = owners.iter().any(|(_, state)| **state == OwnerState::Waiting);
    let propagation = if owner_waits && !observed.dependents.is_empty() {
        // Two that wait for each other would wait for ever: the edge below gives way.
        if observed.dependents.iter().any(|dependent| dependent.waiting) {
            plan.actions.push(unblock(observed));
        }
        Propagation::Foreground
    } else if has_finalizer(meta, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(meta, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let mut target = target;
    if !plan.actions.is_empty() {
        // The patch before gives the object another version.
        target.resource_version = None;
    }
    plan.actions.push(Action::Delete { target, propagation, grace_period_seconds: None });
    plan
}

fn unblock(observed: &Observed) -> Action {
    let mut owners = observed.meta.owner_references.clone().unwrap_or_default();
    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
    let target = Target::same_version(&observed.resource, &observed.meta);
    Action::Patch { target, subresource: None, patch: json!({"metadata": {"ownerReferences": owners}}) }
}

fn without_finalizer(observed: &Observed, name: &str) -> Action {
    let finalizers: Vec<_> =
        observed.meta.finalizers.iter().flatten().filter(|finalizer| *finalizer != name).collect();
    let target = Target::same_version(&observed.resource, &observed.meta);
    Action::Patch { target, subresource: None, patch: json!({"metadata": {"finalizers": finalizers}}) }
}

fn orphan_dependents(observed: &Observed) -> Plan {
    let uid = observed.meta.uid.as_ref();
    let freed = observed.dependents.iter().map(|dependent| {
        let owners: Vec<_> = dependent.owners.iter().filter(|owner| Some(&owner.uid) != uid).collect();
        let mut target = Target::named(&dependent.resource, dependent.key.namespace(), &dependent.key.name);
        target.uid = Some(dependent.uid.clone());
        Action::Patch { target, subresource: None, patch: json!({"metadata": {"ownerReferences": owners}}) }
    });
    let actions = freed.chain([without_finalizer(observed, ORPHAN)]).collect();
    Plan { actions, ..Plan::default() }
}

fn await_dependents(observed: &Observed) -> Plan {
    let uid = observed.meta.uid.as_ref();
    let blocks = |dependent: &&Dependent| {
        let edges = dependent.owners.iter().filter(|owner| Some(&owner.uid) == uid);
        edges.into_iter().any(|owner| owner.block_owner_deletion == Some(true))
    };
    if observed.dependents.iter().any(|dependent| blocks(&dependent)) {
        return Plan::nothing();
    }
    Plan { actions: vec![without_finalizer(observed, FOREGROUND)], ..Plan::default() }
}

/// Follows the metadata of everything that can be deleted. Its keys are uids.
pub struct Collector {
    client: kube::Client,
    graph: Arc<Mutex<Graph>>,
    kinds: Kinds,
}

impl Collector {
    /// Uses the process's shared views of all kinds.
    pub fn new(informers: &Informers, kinds: &Kinds) -> Self {
        Self { client: informers.client().clone(), graph: Arc::default(), kinds: kinds.clone() }
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

impl Collector {
    async fn read(&self, resource: &ApiResource, key: &Key) -> Result<Option<ObjectMeta>, Failure> {
        let failure = |error: kube::Error| Failure::new(Act::Observe, resource, key.clone(), &error);
        let requests = request::requests(resource, key.namespace());
        let request = requests.get_metadata(&key.name, &GetParams::default());
        let request = request.map_err(|error| failure(kube::Error::BuildRequest(error)))?;
        match self.client.request::<Metadata>(request).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if request::code(&error) == Some(404) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// What became of an owner: from the graph if it knows, else from the server.
    async fn owner_state(&self, owner: &OwnerReference, namespace: &str) -> Result<OwnerState, Failure> {
        let known = self.graph.lock().node(&owner.uid).cloned();
        if let Some(node) = known
            && node.key.name == owner.name
            && (node.key.namespace.is_empty() || node.key.namespace == namespace)
        {
            return Ok(if node.waiting { OwnerState::Waiting } else { OwnerState::Solid });
        }
        let kind = self.kinds.find(group_of(&owner.api_version), &owner.kind);
        // A kind that is not served may be served again: its objects are not known to be gone. Nor can a
        // cluster-wide object have an owner in a namespace; upstream leaves those alone too.
        let Some(kind) = kind.filter(|kind| !(kind.namespaced && namespace.is_empty())) else {
            return Ok(OwnerState::Solid);
        };
        let key = Key::new(if kind.namespaced { namespace } else { "" }, &owner.name);
        let live = self.read(&kind.resource, &key).await?;
        Ok(match live.filter(|meta| meta.uid.as_ref() == Some(&owner.uid)) {
            None => OwnerState::Absent,
            Some(meta) if meta.deletion_timestamp.is_some() && has_finalizer(&meta, FOREGROUND) => {
                OwnerState::Waiting
            }
            Some(_) => OwnerState::Solid,
        })
    }
}

#[async_trait]
impl Controller for Collector {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn workers(&self) -> usize {
        20
    }

    fn watch(&self, wake: &mut Wake) {
        let (graph, queue) = (self.graph.clone(), wake.queue());
        self.kinds.on_change(move |resource, change| {
            let mut graph = graph.lock();
            let uids = match change.current() {
                Some(object) => graph.put(Node::new(resource, &object.metadata)),
                None => graph.remove(change.latest().metadata.uid.as_deref().unwrap_or_default()),
            };
            uids.into_iter().for_each(|uid| queue.add(Key::cluster(uid)));
        });
        let kinds = self.kinds.clone();
        wake.after(async move { kinds.ready().await });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let uid = &key.name;
        let (node, dependents) = {
            let graph = self.graph.lock();
            let Some(node) = graph.node(uid).cloned() else { return Ok(None) };
            if node.is_settled(&graph) {
                return Ok(None);
            }
            (node, graph.dependents(uid))
        };
        let Some(meta) = self.read(&node.resource, &node.key).await?.filter(|m| m.uid.as_ref() == Some(uid))
        else {
            return Ok(None);
        };
        let mut owners = Vec::new();
        for owner in meta.owner_references.iter().flatten() {
            owners.push(self.owner_state(owner, &node.key.namespace).await?);
        }
        Ok(Some(Observed { resource: (*node.resource).clone(), meta, owners, dependents }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed)
    }
}

#[cfg(test)]
mod tests;
