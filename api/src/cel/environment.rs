//! What an expression may name: variables with declared types.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decl::{DeclKind, DeclType};
use super::mutation;
use super::types::Type;

/// The variables of an expression and the object types they lead to. The functions are those of
/// Kubernetes 1.36's base environment.
#[derive(Debug, Default, Clone)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    objects: BTreeMap<Arc<str>, Arc<DeclType>>,
    mutation: bool,
}

/// A variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) ty: Type,
    pub(crate) decl: Arc<DeclType>,
}

impl Environment {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable of this type.
    #[must_use]
    pub fn with(self, name: &str, decl: &Arc<DeclType>) -> Self {
        let ty = decl.cel_type();
        self.declare(name, ty, decl)
    }

    /// With a variable that is an optional of this type, such as `oldSelf` under `optionalOldSelf`.
    #[must_use]
    pub fn with_optional(self, name: &str, decl: &Arc<DeclType>) -> Self {
        let ty = Type::optional(decl.cel_type());
        self.declare(name, ty, decl)
    }

    /// With what only mutating policies have: `Object{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`.
    #[must_use]
    pub fn with_mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    /// Whether a function can be called here.
    pub(crate) fn offers(&self, function: &str) -> bool {
        self.mutation || !function.starts_with("jsonpatch.")
    }

    fn declare(mut self, name: &str, ty: Type, decl: &Arc<DeclType>) -> Self {
        decl.collect(&mut self.objects);
        self.variables.insert(name.to_owned(), Variable { ty, decl: decl.clone() });
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    /// The type of a field of an object type.
    pub(crate) fn field_type(&self, object: &str, field: &str) -> Option<Type> {
        if self.mutation && mutation::makes(object) {
            return mutation::field_type(object, field);
        }
        Some(self.objects.get(object)?.field(field)?.cel_type())
    }

    /// Whether a message literal may make an object of this type.
    pub(crate) fn makes(&self, object: &str) -> bool {
        self.mutation && mutation::makes(object)
            || self.objects.get(object).is_some_and(|decl| match &decl.kind {
                DeclKind::Object(object) => !object.name.starts_with("self"),
                _ => false,
            })
    }
}
