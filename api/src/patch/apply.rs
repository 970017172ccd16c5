//! Server-side apply, and who owns which field of an object (`metadata.managedFields`).
//!
//! Entry points: [`Writer::apply`] for applied configurations, [`Writer::track`] for every other write,
//! [`scale`] for the `scale` subresource. Pure: the caller passes the time and the versions of the kind.
//! Source: apimachinery's `managedfields` and structured-merge-diff's `merge`.

mod cap;
mod conflict;
mod last_applied;
mod managed;
pub mod scale;
mod settle;

use std::sync::LazyLock;

use serde_json::Value;

use super::field_set::FieldSet;
use super::typed::{self, Duplicates, Typing};
use crate::object;
use crate::status::{Reason, Status};
pub use conflict::{Conflict, Conflicts};
pub use managed::{Managed, ManagedError, Manager, Operation, same_but_times};

/// Owner of what stood in an object nobody tracked before its first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager of a writer without a name.
const UNKNOWN: &str = "unknown";

/// The served versions of a kind, and the way from one to another.
pub trait Versions {
    /// The type of objects of this `apiVersion`; `None` if it is not served (any more).
    fn typing(&self, api_version: &str) -> Option<Typing<'_>>;

    /// The object in another version; `None` if one of the two is not served. Never asked for the same.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value>;
}

/// Somebody who writes an object.
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Version of the objects passed in: the request's.
    pub api_version: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// metav1.Time of now.
    pub now: &'a str,
    /// The kind's versions.
    pub versions: &'a dyn Versions,
    /// What a write through this path cannot set (`status` on the object itself): never owned.
    pub reset: FieldSet,
}

/// Why a configuration was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else owns fields with other values.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The configuration cannot be applied: 400.
    #[error("{0}")]
    Malformed(String),
    /// The configuration is not of its type; upstream answers 500 without a reason.
    #[error("{0}")]
    Untypable(String),
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Conflicts(conflicts) => conflicts.status(),
            ApplyError::Malformed(why) => Self::bad_request(why),
            ApplyError::Untypable(why) => Self::new(Reason::Unknown, why),
        }
    }
}

impl Writer<'_> {
    fn identity(&self, operation: Operation) -> Manager {
        self.identity_of(self.manager, operation)
    }

    fn identity_of(&self, name: &str, operation: Operation) -> Manager {
        let name = if name.is_empty() { UNKNOWN } else { name };
        Manager::new(name, operation, self.api_version, self.subresource)
    }

    /// Records in `new` who owns what after a write that is no apply: the writer owns what it changed.
    /// `live` is the object before (an empty one on creation), `new` what is to be stored.
    ///
    /// Owners that `new` brings along count, so that they can be edited; an empty list or one empty entry
    /// ends the tracking of this object.
    pub fn track(&self, live: &Value, new: &mut Value) {
        let sent = object::metadata_mut(new).remove(managed::FIELD);
        let known = &live["metadata"][managed::FIELD];
        let from_subresource = !self.subresource.is_empty();
        let managed = match &sent {
            Some(sent) if !from_subresource && managed::is_reset(sent) => return,
            Some(sent) if !from_subresource && sent != known => Managed::of_request(sent, known),
            _ => None,
        };
        // Nobody tracked this object so far: only its creation or an apply begins that.
        let untracked = managed.as_ref().map_or_else(|| managed::is_blank(known), Managed::is_empty);
        if untracked && !object::uid(live).is_empty() {
            return;
        }
        let Some(typing) = self.versions.typing(self.api_version) else { return };
        let comparison = typed::compare(typing, live, new).without(&self.reset);
        if managed.is_none() && comparison.is_same() {
            // Nothing changed hands; the stored form stays as it is, to the byte.
            managed::put(new, known.clone());
            return;
        }
        let managed = managed.unwrap_or_else(|| Managed::of_stored(known));
        let managed = self.record(managed, self.manager, live, new, comparison);
        managed::put(new, managed.encode());
    }

    /// Owners after `name` made `new` of `live`.
    fn record(
        &self,
        mut managed: Managed,
        name: &str,
        live: &Value,
        new: &Value,
        comparison: typed::Comparison,
    ) -> Managed {
        let mut set = if managed.is_empty() {
            comparison.into_set()
        } else {
            let set = comparison.clone().into_set();
            let mut objects = settle::Change::new(self, live, new);
            objects.know(self.api_version, comparison);
            objects.take(&mut managed, None);
            set
        };
        set.subtract(&UNOWNED);
        if !set.is_empty() {
            managed.grow(self.identity_of(name, Operation::Update), set, self.api_version, self.now);
        }
        cap::cap_updaters(&mut managed);
        managed
    }

    /// The object with a configuration applied, owners recorded in it. `live` is the object before, an
    /// empty one if there is none.
    ///
    /// # Errors
    /// [`ApplyError`]; conflicts are none with `force`.
    pub fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
        if config["metadata"].get(managed::FIELD).is_some_and(|fields| !fields.is_null()) {
            return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
        }
        let Some(typing) = self.versions.typing(self.api_version) else {
            return Err(ApplyError::Malformed(format!("no schema for {}", self.api_version)));
        };
        typed::check(typing, config, Duplicates::Refused).map_err(|faults| {
            ApplyError::Untypable(format!(
                "failed to create typed patch object ({}): {faults}",
                described(config)
            ))
        })?;
        let managed = Managed::of_stored(&live["metadata"][managed::FIELD]);
        let mut live = live.clone();
        object::metadata_mut(&mut live).remove(managed::FIELD);
        let managed = self.adopt(managed, typing, &live);
        let outcome = match self.merge(typing, &live, config, managed.clone(), force) {
            Err(conflicts) if self.manager == last_applied::MANAGER => {
                match last_applied::excuse(self, typing, &live, conflicts) {
                    last_applied::Excused::All => self.merge(typing, &live, config, managed, true),
                    last_applied::Excused::Not(conflicts) => Err(conflicts),
                }
            }
            outcome => outcome,
        };
        let (mut object, managed) = outcome.map_err(ApplyError::Conflicts)?;
        if self.manager == last_applied::MANAGER {
            last_applied::refresh(&mut object, config);
        }
        managed::put(&mut object, managed.encode());
        Ok(object)
    }

    /// Gives what stands in an object nobody tracked to a manager of its own.
    fn adopt(&self, managed: Managed, typing: Typing<'_>, live: &Value) -> Managed {
        if !managed.is_empty() {
            return managed;
        }
        let nothing = Value::Object(serde_json::Map::new());
        let comparison = typed::compare(typing, &nothing, live).without(&self.reset);
        self.record(managed, BEFORE_FIRST_APPLY, &nothing, live, comparison)
    }

    fn merge(
        &self,
        typing: Typing<'_>,
        live: &Value,
        config: &Value,
        mut managed: Managed,
        force: bool,
    ) -> Result<(Value, Managed), Conflicts> {
        let applier = self.identity(Operation::Apply);
        let merged = typed::merge(typing, live, config);
        let set = typed::field_set(typing, config).recursive_difference(&self.reset);
        let last = managed.replace(applier.clone(), set, self.api_version);
        let new = match &last {
            Some(last) => settle::prune(self, typing, merged, &managed, last),
            None => merged,
        };
        let mut change = settle::Change::new(self, live, &new);
        let conflicts = change.conflicts(&mut managed, &applier);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        change.take(&mut managed, Some(&applier));
        managed.strip(&applier, &UNOWNED);
        let changed = new != *live;
        if changed {
            managed.stamp(&applier, self.now);
        }
        Ok((new, managed))
    }
}

/// What nobody owns: the server keeps it, or it is the object's identity.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// `NAMESPACE/NAME; GROUP/VERSION, Kind=KIND`.
fn described(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let kind = kind_text(text("apiVersion"), text("kind"));
    format!("{}/{}; {kind}", object::namespace(object), object::name(object))
}

/// Go's print of a GroupVersionKind: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
pub fn kind_text(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

#[cfg(test)]
mod tests;
