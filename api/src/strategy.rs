//! What a kind adds to the generic pipeline: a trait whose every method has a default.
//!
//! A kind without rules of its own uses [`Plain`]. Strategies are pure: the caller passes the time.
//! Order in the pipeline (see `apiserver::registry`): decode → prune/strict → schema defaults →
//! `default` → `prepare_for_create|update` → admission → `validate|validate_update` → encode → commit.

use std::time::Duration;

use serde_json::Value;

use crate::status::Cause;

/// What a strategy may know besides the object.
#[derive(Debug, Clone)]
pub struct Context {
    /// The server's time, RFC 3339 with whole seconds (metav1.Time).
    pub now: String,
    /// Plural subresource being written, empty for the object itself.
    pub subresource: String,
}

/// What objects of a kind give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The rules they hold, to whoever is bound to them.
    Rules,
    /// The rules of the role they name, to their subjects.
    Role,
}

/// What goes with an object of some kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// All in the namespace of this name.
    Namespace(String),
    /// All objects of a resource: group and plural.
    Resource(String, String),
}

/// Rules of one kind. Objects are whole JSON trees; `old` is the stored object.
pub trait Strategy: Send + Sync {
    /// Fill defaults that the schema cannot express (they depend on other fields).
    fn default(&self, _object: &mut Value) {}

    /// Reset what a creator may not set (usually `status`).
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        crate::object::remove(object, "status");
    }

    /// Reset what an updater may not change; the pipeline has already kept `status` apart when
    /// [`crate::kinds::Kind::has_status`] says so.
    fn prepare_for_update(&self, _object: &mut Value, _old: &Value, _context: &Context) {}

    /// Reasons to refuse a new object.
    fn validate(&self, _object: &Value) -> Vec<Cause> {
        Vec::new()
    }

    /// Reasons to refuse a change; `validate(object)` has run too.
    fn validate_update(&self, _object: &Value, _old: &Value) -> Vec<Cause> {
        Vec::new()
    }

    /// Reasons to refuse a change made through a subresource (empty: the object itself); calls
    /// [`Self::validate_update`] unless the kind tells them apart. What the pipeline asks.
    fn validate_change(&self, object: &Value, old: &Value, _subresource: &str) -> Vec<Cause> {
        self.validate_update(object, old)
    }

    /// Whether [`Self::validate_change`] says everything about a changed object, so that
    /// [`Self::validate`] is not asked: what an update leaves as it was is then not judged again.
    fn judges_changes_alone(&self) -> bool {
        false
    }

    /// What a delete that does not remove at once puts into the object, finalizers above all; called
    /// when the deletion begins.
    fn prepare_for_delete(&self, _object: &mut Value, _context: &Context) {}

    /// Whether something besides the finalizers of its metadata still keeps an object whose deletion has begun.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// The other objects that go with this one when it is deleted, because they live in it.
    fn contents(&self, _object: &Value) -> Option<Contents> {
        None
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Every rule a name breaks; most names are domain names.
    fn name_errors(&self, name: &str) -> Vec<String> {
        crate::names::dns1123_subdomain(name)
    }

    /// Whether `metadata.generation` numbers the changes of the specification: most kinds with a
    /// status do (upstream's strategies; KEP-5067 for pods).
    fn numbers_changes(&self, has_status: bool) -> bool {
        has_status
    }

    /// Seconds of grace a delete gets when the caller names none; `None` deletes at once.
    fn default_grace_period_seconds(&self, _object: &Value) -> Option<u64> {
        None
    }

    /// Whether a graceful delete may be skipped for this object (a pod that never ran, say).
    fn deletes_at_once(&self, _object: &Value) -> bool {
        false
    }

    /// Whether a delete that names no policy leaves the object's dependents alive, as those of the first
    /// kinds do for compatibility (`rest.OrphanDependents`).
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// Whether a PUT to a missing name creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether a delete answers with the object even when nothing of it is left (upstream's `ReturnDeletedObject`).
    fn answers_deleted(&self) -> bool {
        false
    }

    /// Whether `spec` says who created the object (`username`, `uid`, `groups`, `extra`): the server writes it,
    /// whatever the creator claims, because it decides what the object may become.
    fn names_requester(&self) -> bool {
        false
    }

    /// What the objects give to others, which their writers must have themselves.
    fn grants(&self) -> Option<Grant> {
        None
    }

    /// Whether programs write the objects to report what they see: nobody wishes for a certain one.
    fn is_report(&self) -> bool {
        false
    }

    /// How long an object is of use after its last write; `None` keeps it until somebody deletes it.
    fn lifetime(&self) -> Option<Duration> {
        None
    }

    /// Whether the server hands out addresses and node ports to the objects.
    fn takes_addresses(&self) -> bool {
        false
    }

    /// Top-level fields whose values are not shown to whoever asks what changed.
    fn secret_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a change between the two raises `metadata.generation`; default: anything outside
    /// `metadata` and `status` changed.
    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        crate::object::differs_outside(object, old, &["metadata", "status"])
    }
}

/// A kind without rules of its own.
pub struct Plain;

impl Strategy for Plain {}
