//! Admission policies: what must hold of objects, and what is changed in them, in the expression language.
//!
//! Entry points: [`mutate`] and [`validate`], the two plugins; [`type_checking::run`] tells in a policy's status
//! where its expressions do not fit the kinds they are about. Policies are compiled when they are stored
//! (`policy/policies.rs`); expressions and their variables are `api::cel::admission`. Source: upstream's
//! `plugin/policy`.

pub(crate) mod authorizer;
mod mutating;
mod params;
pub(crate) mod policies;
pub(crate) mod type_checking;
mod validating;

use api::Status;
use api::cel::ResourceCheck;
use api::cel::admission::Input;
use serde_json::Value;

use super::Attributes;
use super::webhook::matching::Subject;
use super::webhook::review;
use super::webhook::versions::{Row, Shown};
use authorizer::Asker;
pub(super) use mutating::mutate;
pub(super) use validating::validate;

/// A request as policies see it, in every form they ask for.
struct Round<'a> {
    subject: Subject<'a>,
    shown: Vec<(Shown, Value)>,
    asker: Asker<'a>,
    requested: ResourceCheck,
}

impl<'a> Round<'a> {
    async fn of(attributes: &'a Attributes<'a>, object: &'a Value) -> Self {
        Self::on(Subject::of(attributes, object).await)
    }

    fn on(subject: Subject<'a>) -> Self {
        let asker = Asker::of(subject.attributes.call);
        let requested = asker.requested(subject.attributes);
        Self { subject, shown: Vec::new(), asker, requested }
    }

    /// Whether the object is a namespace, which is in none.
    fn is_namespace(&self) -> bool {
        let kind = &self.subject.attributes.kind;
        (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) == ("", "v1", "Namespace")
    }

    /// Nothing in a missing namespace is judged.
    ///
    /// # Errors
    /// 404.
    fn check_namespace(&self) -> Result<(), Status> {
        if self.is_namespace() {
            Ok(())
        } else {
            self.subject.namespace.as_ref().map(drop).map_err(Clone::clone)
        }
    }

    /// What expressions are evaluated on, with objects in the form of a row.
    ///
    /// # Errors
    /// When a conversion fails.
    async fn input<'s>(&'s mut self, row: &Row, params: Option<&'s Value>) -> Result<Input<'s>, Status> {
        let known = self.shown.iter().position(|(shown, _)| shown.row.is(row));
        let at = match known {
            Some(at) => at,
            None => {
                let request = review::request(self.subject.attributes, row);
                self.shown.push((self.subject.show(row.clone()).await?, request));
                self.shown.len() - 1
            }
        };
        let Some((shown, request)) = self.shown.get(at) else {
            return Err(Status::internal("an object's form was lost"));
        };
        let namespace = self.subject.namespace.as_ref().ok().and_then(Option::as_deref);
        Ok(Input {
            object: shown.object.as_ref(),
            old_object: shown.old.as_ref(),
            request,
            namespace: namespace.filter(|_| !self.is_namespace()),
            params,
            authorizer: Some((&self.asker, &self.requested)),
        })
    }
}
