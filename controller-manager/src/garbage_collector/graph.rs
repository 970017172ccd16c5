//! Who depends on whom, and whom a change concerns. Pure.
//!
//! An owner that was never seen still has its dependents recorded, so that they are found when it is
//! known to be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::key::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ApiResource;

use super::{Dependent, FOREGROUND, ORPHAN, has_finalizer};

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) resource: Arc<ApiResource>,
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) owners: Vec<OwnerReference>,
    /// Being deleted, and its dependents go first.
    pub(super) waiting: bool,
    /// Being deleted, and its dependents stay.
    pub(super) orphaning: bool,
}

impl Node {
    pub(super) fn new(resource: &Arc<ApiResource>, meta: &ObjectMeta) -> Self {
        let deleting = meta.deletion_timestamp.is_some();
        Self {
            resource: resource.clone(),
            key: Key::of(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            waiting: deleting && has_finalizer(meta, FOREGROUND),
            orphaning: deleting && has_finalizer(meta, ORPHAN),
        }
    }

    /// Whether there is certainly nothing to do: all owners are known and stay, and it stays itself.
    pub(super) fn is_settled(&self, graph: &Graph) -> bool {
        let stays = |owner: &OwnerReference| graph.nodes.get(&owner.uid).is_some_and(|node| !node.waiting);
        !self.waiting && !self.orphaning && self.owners.iter().all(stays)
    }
}

/// All objects by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        let nodes = uids.filter_map(|uid| self.nodes.get(uid));
        let dependent = |node: &Node| Dependent {
            resource: (*node.resource).clone(),
            key: node.key.clone(),
            uid: node.uid.clone(),
            owners: node.owners.clone(),
            waiting: node.waiting,
        };
        nodes.map(dependent).collect()
    }

    /// Adds or replaces a node; returns the uids to look at.
    pub(super) fn put(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid.clone();
        let before = self.nodes.get(&uid).map(|old| old.owners.clone()).unwrap_or_default();
        let mut concerned = BTreeSet::new();
        for owner in &before {
            self.unlink(&owner.uid, &uid);
            // A reference that went, or no longer blocks, may have been what an owner waited for.
            concerned.extend(self.waiting_owner(&owner.uid));
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        if node.waiting {
            concerned.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if !node.is_settled(self) {
            concerned.insert(uid.clone());
        }
        self.nodes.insert(uid, node);
        concerned.into_iter().collect()
    }

    /// Removes a node; returns the uids to look at.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut concerned: BTreeSet<String> = self.dependents.get(uid).cloned().unwrap_or_default();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            concerned.extend(self.waiting_owner(&owner.uid));
        }
        concerned.into_iter().collect()
    }

    fn waiting_owner(&self, uid: &str) -> Option<String> {
        self.nodes.get(uid).filter(|owner| owner.waiting).map(|owner| owner.uid.clone())
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
