//! Owners of the number of replicas, when it is written through the `scale` subresource: the subresource
//! shows one field of the object, so one path of the object's owners is theirs too.
//!
//! Source: apimachinery's `ScaleHandler`.

use serde_json::{Value, json};

use super::managed::{Managed, Manager, Owned};
use super::{ApplyError, Versions, Writer};
use crate::patch::field_set::{FieldSet, Path, PathElement};
use crate::patch::typed::Typing;
use crate::schema::facts;

const SCALE_VERSION: &str = "autoscaling/v1";

/// The scale of an object, as owners see it.
pub struct Scale<'a> {
    /// The object's own list of owners.
    pub parent: &'a Value,
    /// Version of the object's row.
    pub api_version: &'a str,
    /// Where the object keeps the number, such as `spec.replicas`.
    pub replicas: &'a str,
    /// Who writes.
    pub manager: &'a str,
    /// metav1.Time of now.
    pub now: &'a str,
}

struct ScaleVersions;

impl Versions for ScaleVersions {
    fn typing(&self, api_version: &str) -> Option<Typing<'_>> {
        let schema = facts().by_gvk("autoscaling", "v1", "Scale");
        (api_version == SCALE_VERSION).then(|| Typing::of(schema))
    }

    fn convert(&self, _object: &Value, _from: &str, _to: &str) -> Option<Value> {
        None
    }
}

impl Scale<'_> {
    /// The object's owners after its scale went from one number to another by an update.
    pub fn track(&self, before: &Value, after: &Value) -> Value {
        let live = self.object(before);
        let mut new = live.clone();
        new["spec"]["replicas"] = after.clone();
        self.writer().track(&live, &mut new);
        self.to_parent(&new["metadata"]["managedFields"])
    }

    /// The number of replicas and the object's owners after a Scale was applied.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub fn apply(&self, before: &Value, config: &Value, force: bool) -> Result<(Value, Value), ApplyError> {
        let applied = self.writer().apply(&self.object(before), config, force)?;
        let owners = self.to_parent(&applied["metadata"]["managedFields"]);
        Ok((applied["spec"]["replicas"].clone(), owners))
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            manager: self.manager,
            api_version: SCALE_VERSION,
            subresource: "scale",
            now: self.now,
            versions: &ScaleVersions,
            reset: FieldSet::default(),
        }
    }

    /// A Scale with the owners of the number. Its uid only says that it is there.
    fn object(&self, replicas: &Value) -> Value {
        json!({
            "apiVersion": SCALE_VERSION, "kind": "Scale", "spec": {"replicas": replicas},
            "metadata": {"uid": "scale", "managedFields": self.to_scale()},
        })
    }

    fn path(&self) -> Path {
        self.replicas.split('.').filter(|part| !part.is_empty()).map(PathElement::field).collect()
    }

    fn to_scale(&self) -> Value {
        let path = self.path();
        let mut scale = Managed::default();
        for (manager, owned) in Managed::of_stored(self.parent).entries {
            if owned.set.has(&path) {
                let set = FieldSet::of_fields(&[&["spec", "replicas"]]);
                scale.entries.insert(
                    self.seen_as(manager),
                    Owned { set, api_version: SCALE_VERSION.to_owned(), ..owned },
                );
            }
        }
        scale.encode()
    }

    /// The identity an entry has in the other list: updates carry their version in it.
    fn seen_as(&self, manager: Manager) -> Manager {
        Manager::new(&manager.name, manager.operation, SCALE_VERSION, &manager.subresource)
    }

    fn to_parent(&self, scale: &Value) -> Value {
        let path = self.path();
        let mut one = FieldSet::default();
        one.insert(&path);
        let mut scale = Managed::of_stored(scale).entries;
        let mut parent = Managed::of_stored(self.parent);
        parent.entries.retain(|manager, owned| {
            if owned.set.has(&path) && scale.remove(&self.seen_as(manager.clone())).is_none() {
                // Somebody else set the number.
                owned.set = owned.set.difference(&one);
            }
            !owned.set.is_empty()
        });
        for manager in scale.into_keys() {
            let name = &manager.name;
            let identity = Manager::new(name, manager.operation, self.api_version, &manager.subresource);
            let api_version = self.api_version.to_owned();
            // Upstream's handler looks the time up in the object's list, where a new entry has none.
            let time = parent.entries.get(&identity).and_then(|known| known.time.clone());
            parent.entries.insert(identity, Owned { set: one.clone(), api_version, time });
        }
        parent.encode()
    }
}
