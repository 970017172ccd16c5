//! The vocabulary of decisions: what a pure `reconcile(&Observed, now) -> Plan` may ask for.
//!
//! Entry point: [`Plan`]. Only `execute` turns Actions into requests.

use std::time::Duration;

use kube::core::ApiResource;
use serde_json::Value;

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

/// A decision: what to write, what to say, when to look again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Writes in order. Consecutive creates, and consecutive deletes, run in slow-start batches.
    pub actions: Vec<Action>,
    /// Events recorded once the actions succeeded.
    pub events: Vec<EventDraft>,
    /// Look at the same key again after this long even if nothing changes.
    pub requeue_after: Option<Duration>,
}
