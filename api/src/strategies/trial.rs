//! For tests: objects on the pure part of their way through the server, by the row of the table.

use serde_json::{Value, json};

use crate::kinds::{Kind, builtin};
use crate::patch::merge;
use crate::schema::facts;
use crate::status::Cause;
use crate::strategy::Context;
use crate::{defaulting, object};

/// One kind, and a valid object of it to vary.
pub(super) struct Trial {
    kind: std::sync::Arc<Kind>,
    base: Value,
}

pub(super) fn context(subresource: &str) -> Context {
    Context { now: "2026-01-01T00:00:00Z".to_owned(), subresource: subresource.to_owned() }
}

fn texts(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(Cause::to_string).collect()
}

impl Trial {
    /// A kind as people write it, and an object of it that is to be accepted.
    #[track_caller]
    pub(super) fn of(word: &str, base: Value) -> Self {
        let kind = builtin().find(word).unwrap();
        let trial = Self { kind, base };
        trial.refuses(json!({}), &[]);
        trial
    }

    /// The object as it would be stored, with a merge patch applied first.
    pub(super) fn created(&self, changes: Value) -> Value {
        let mut object = merge::apply(&self.base, &changes).unwrap();
        object["kind"] = self.kind.kind.as_ref().into();
        object["apiVersion"] = self.kind.api_version().into();
        self.default(&mut object);
        object::metadata_mut(&mut object).insert("uid".to_owned(), "u-1".into());
        self.kind.strategy.prepare_for_create(&mut object, &context(""));
        object
    }

    fn default(&self, object: &mut Value) {
        defaulting::apply(facts().schema(&self.kind.definition).unwrap(), object);
        self.kind.strategy.default(object);
    }

    /// Creates a variation and says what is wrong with it.
    pub(super) fn wrong(&self, changes: Value) -> Vec<String> {
        texts(&self.kind.strategy.validate(&self.created(changes)))
    }

    /// Creates a variation and compares what is wrong with it.
    #[track_caller]
    pub(super) fn refuses(&self, changes: Value, expect: &[&str]) {
        assert_eq!(self.wrong(changes.clone()), expect, "{changes}");
    }

    /// Changes the object through a subresource (empty: itself) and compares what is wrong with the change;
    /// `before` varies the object first.
    #[track_caller]
    pub(super) fn refuses_change(&self, before: Value, changes: Value, subresource: &str, expect: &[&str]) {
        let old = merge::apply(&self.created(json!({})), &before).unwrap();
        let mut new = merge::apply(&old, &changes).unwrap();
        self.default(&mut new);
        let strategy = &self.kind.strategy;
        strategy.prepare_for_update(&mut new, &old, &context(subresource));
        let causes = strategy.validate_change(&new, &old, subresource);
        assert_eq!(texts(&causes), expect, "{changes}");
    }

    /// A change of the object itself.
    #[track_caller]
    pub(super) fn refuses_update(&self, changes: Value, expect: &[&str]) {
        self.refuses_change(json!({}), changes, "", expect);
    }

    /// A change of its status.
    #[track_caller]
    pub(super) fn refuses_status(&self, before: Value, status: Value, expect: &[&str]) {
        self.refuses_change(json!({"status": before}), json!({"status": status}), "status", expect);
    }
}
