//! The objects of one informer and their indexes. Pure: applies events, answers with changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Change;
use crate::key::Key;

/// Objects by key (so by namespace), and by the uid of each owner.
pub(super) struct Store<K> {
    objects: BTreeMap<Key, Arc<K>>,
    owned: BTreeMap<String, BTreeSet<Key>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), owned: BTreeMap::new() }
    }
}

impl<K: kube::Resource> Store<K> {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let start = Bound::Included(Key::new(namespace, ""));
        self.objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(super) fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let keys = self.owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    /// Adds or replaces one object. No change if the resourceVersion is the one already held.
    pub(super) fn apply(&mut self, object: K) -> Option<Change<K>> {
        let (key, new) = (Key::of(object.meta()), Arc::new(without_owners(object)));
        match self.objects.insert(key.clone(), new.clone()) {
            None => {
                self.index(&key, &new);
                Some(Change::Added(new))
            }
            Some(old) => {
                if owners(&*old).ne(owners(&*new)) {
                    self.unindex(&key, &old);
                    self.index(&key, &new);
                }
                let same = old.meta().resource_version == new.meta().resource_version
                    && old.meta().uid == new.meta().uid;
                (!same).then_some(Change::Updated { old, new })
            }
        }
    }

    /// Removes one object; `last` is its final state as the server told it.
    pub(super) fn remove(&mut self, last: K) -> Option<Change<K>> {
        let key = Key::of(last.meta());
        let old = self.objects.remove(&key)?;
        self.unindex(&key, &old);
        Some(Change::Removed(Arc::new(without_owners(last))))
    }

    /// Makes the view equal to a fresh list.
    pub(super) fn replace(&mut self, listed: Vec<K>) -> Vec<Change<K>> {
        let present: BTreeSet<Key> = listed.iter().map(|object| Key::of(object.meta())).collect();
        let stale: Vec<Key> = self.objects.keys().filter(|key| !present.contains(*key)).cloned().collect();
        let mut changes = Vec::new();
        for key in stale {
            if let Some(old) = self.objects.remove(&key) {
                self.unindex(&key, &old);
                changes.push(Change::Removed(old));
            }
        }
        changes.extend(listed.into_iter().filter_map(|object| self.apply(object)));
        changes
    }

    fn index(&mut self, key: &Key, object: &K) {
        for uid in owners(object) {
            self.owned.entry(uid.to_owned()).or_default().insert(key.clone());
        }
    }

    fn unindex(&mut self, key: &Key, object: &K) {
        for uid in owners(object) {
            if let Some(keys) = self.owned.get_mut(uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.owned.remove(uid);
                }
            }
        }
    }
}

/// An object without the list of who owns its fields: a tree larger than the rest, which no controller reads.
pub(super) fn without_owners<K: kube::Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

fn owners<K: kube::Resource>(object: &K) -> impl Iterator<Item = &str> {
    object.meta().owner_references.iter().flatten().map(|owner| owner.uid.as_str())
}
