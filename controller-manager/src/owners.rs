//! Who controls what: controller references, adoption of orphans and release of strangers. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::key::Key;
use client::plan::{Action, Target};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::core::{ApiResource, Selector, SelectorExt as _};
use serde::Serialize;
use serde_json::{Value, json};

/// The reference to the managing controller, if there is one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The key of the managing controller if it is of `resource`'s kind and group.
pub fn controller_key(meta: &ObjectMeta, resource: &ApiResource) -> Option<Key> {
    let owner = controller_of(meta)?;
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    (owner.kind == resource.kind && group == resource.group)
        .then(|| Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

/// The reference a controller puts on what it creates.
pub fn controller_reference(resource: &ApiResource, meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A label selector ready to match. `None` for an absent or invalid selector, which selects nothing.
pub fn selector(selector: Option<&LabelSelector>) -> Option<Selector> {
    selector.cloned().and_then(|selector| selector.try_into().ok())
}

/// Whether `selector` matches the labels in `meta`.
pub fn selects(selector: &Selector, meta: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(meta.labels.as_ref().unwrap_or(&NONE))
}

/// JSON of a typed value. Typed Kubernetes values always encode.
pub fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// A controller that looks for its children.
pub struct Claimant<'a> {
    /// Its kind.
    pub resource: &'a ApiResource,
    /// Itself.
    pub meta: &'a ObjectMeta,
    /// Which labels its children have.
    pub selector: &'a Selector,
}

impl Claimant<'_> {
    /// Sorts out whose `objects` are: those that belong to the claimant (owned and matching, or
    /// adoptable orphans), and the patches that adopt and release. A claimant being deleted adopts
    /// and releases nothing.
    pub fn claim<K: kube::Resource>(
        &self,
        children: &ApiResource,
        objects: &[Arc<K>],
    ) -> (Vec<Arc<K>>, Vec<Action>) {
        let (mut claimed, mut actions) = (Vec::new(), Vec::new());
        let deleting = self.meta.deletion_timestamp.is_some();
        for object in objects {
            let meta = object.meta();
            let matches = selects(self.selector, meta);
            match controller_of(meta) {
                Some(owner) if Some(&owner.uid) == self.meta.uid.as_ref() => {
                    if matches {
                        claimed.push(object.clone());
                    } else if !deleting {
                        actions.push(set_owners(children, meta, self.owners_without_self(meta)));
                    }
                }
                None if matches && !deleting && meta.deletion_timestamp.is_none() => {
                    let mut owners = self.owners_without_self(meta);
                    owners.push(controller_reference(self.resource, self.meta));
                    actions.push(set_owners(children, meta, owners));
                    claimed.push(object.clone());
                }
                _ => {}
            }
        }
        (claimed, actions)
    }

    fn owners_without_self(&self, meta: &ObjectMeta) -> Vec<OwnerReference> {
        let owners = meta.owner_references.iter().flatten();
        owners.filter(|owner| Some(&owner.uid) != self.meta.uid.as_ref()).cloned().collect()
    }
}

fn set_owners(resource: &ApiResource, meta: &ObjectMeta, owners: Vec<OwnerReference>) -> Action {
    Action::Patch {
        target: Target::same_version(resource, meta),
        subresource: None,
        patch: json!({"metadata": {"ownerReferences": owners}}),
    }
}
