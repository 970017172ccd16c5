//! The vocabulary of decisions: what a pure `reconcile(&Observed, now) -> Plan` may ask for.
//!
//! Entry point: [`Plan`]. Only [`crate::execute`] turns Actions into requests.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde_json::{Value, json};

/// Names one object for a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which resource.
    pub resource: ApiResource,
    /// Its namespace; `None` for cluster-wide kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The write is refused unless this uid is still the object's.
    pub uid: Option<String>,
    /// The write is refused unless this is still the object's resourceVersion.
    pub resource_version: Option<String>,
}

impl Target {
    /// The object with this metadata, whatever its version, as long as it is the same one.
    pub fn same_object(resource: &ApiResource, meta: &ObjectMeta) -> Self {
        Self {
            resource: resource.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
            resource_version: None,
        }
    }

    /// The object with this metadata, only if it has not changed since.
    pub fn same_version(resource: &ApiResource, meta: &ObjectMeta) -> Self {
        Self { resource_version: meta.resource_version.clone(), ..Self::same_object(resource, meta) }
    }

    /// The object of this name, whoever it is.
    pub fn named(resource: &ApiResource, namespace: Option<&str>, name: &str) -> Self {
        Self {
            resource: resource.clone(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            uid: None,
            resource_version: None,
        }
    }
}

/// A core `v1.ObjectReference` to the object with this metadata, for events and `targetRef`s.
pub fn object_reference(resource: &ApiResource, meta: &ObjectMeta) -> Value {
    let mut reference = json!({"apiVersion": resource.api_version, "kind": resource.kind});
    let fields = [
        ("namespace", &meta.namespace),
        ("name", &meta.name),
        ("uid", &meta.uid),
        ("resourceVersion", &meta.resource_version),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            reference[field] = json!(value);
        }
    }
    reference
}

/// How dependents of a deleted object are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector removes dependents afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay, without the owner reference.
    Orphan,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// POST a whole object.
    Create {
        /// Which resource.
        resource: ApiResource,
        /// Its namespace; `None` for cluster-wide kinds.
        namespace: Option<String>,
        /// The object.
        object: Value,
    },
    /// PUT a whole object; the precondition is the object's own resourceVersion and `target.uid`.
    Replace {
        /// What is replaced.
        target: Target,
        /// `status`, `scale`, or `None` for the object.
        subresource: Option<&'static str>,
        /// The whole new object.
        object: Value,
    },
    /// JSON merge patch; the executor adds `metadata.uid` and `metadata.resourceVersion` preconditions
    /// from the target.
    Patch {
        /// What is patched.
        target: Target,
        /// `status`, `scale`, or `None` for the object.
        subresource: Option<&'static str>,
        /// RFC 7396 merge patch.
        patch: Value,
    },
    /// DELETE with preconditions from the target.
    Delete {
        /// What goes.
        target: Target,
        /// What happens to dependents.
        propagation: Propagation,
        /// Seconds; `None` takes the object's own.
        grace_period_seconds: Option<u32>,
    },
    /// POST to a subresource, such as a pod's `binding`.
    Post {
        /// The parent object.
        target: Target,
        /// `binding`, `eviction`, …
        subresource: &'static str,
        /// The body.
        object: Value,
    },
}

/// Severity of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something a user should look at.
    Warning,
}

/// An Event to record about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDraft {
    /// Core `v1.ObjectReference` of the object, as JSON.
    pub regarding: Value,
    /// Normal or Warning.
    pub event_type: EventType,
    /// CamelCase reason such as `SuccessfulCreate`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Events that depend on how one action went. In their messages `{name}` stands for the name of the
/// object written (which a create may learn from the server), `{error}` for the server's message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Recorded when the action succeeded.
    pub success: Option<EventDraft>,
    /// Recorded when it was refused.
    pub failure: Option<EventDraft>,
}

/// A decision: what to write, what to say, when to look again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Writes in order. Consecutive creates, and consecutive deletes, run in slow-start batches.
    pub actions: Vec<Action>,
    /// Events recorded once the actions succeeded.
    pub events: Vec<EventDraft>,
    /// Events about single actions, by index into `actions`.
    pub reports: BTreeMap<usize, Report>,
    /// Look at the same key again after this long even if nothing changes.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// Nothing to do, nothing to say.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write or say (there may be a requeue).
    pub fn is_idle(&self) -> bool {
        self.actions.is_empty() && self.events.is_empty()
    }

    /// Adds an action and what to say about its outcome.
    pub fn act_and_report(&mut self, action: Action, report: Report) {
        self.reports.insert(self.actions.len(), report);
        self.actions.push(action);
    }

    /// Looks again after `delay`, or earlier if something else already asked for that.
    pub fn requeue_within(&mut self, delay: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(delay, |earlier| earlier.min(delay)));
    }
}
