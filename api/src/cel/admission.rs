//! Expressions of admission: match conditions of webhooks and all parts of policies.
//!
//! Entry points: [`Composer`] compiles, [`Composer::evaluate`] runs expressions on one request, [`Conditions`]
//! are match conditions. Variables of a policy are computed when an expression first asks for them, once for
//! all expressions that are run together. Source: `apiserver/pkg/admission/plugin/cel`.

mod conditions;
mod declarations;
mod variables;

use serde_json::Value as Json;
use std::sync::Arc;

use super::authorizer::{Authorizer, Check, ResourceCheck};
use super::cost::PER_CALL_LIMIT;
use super::decl::DeclType;
use super::environment::Environment;
use super::extension::Extension;
use super::program::{Bindings, Program};
use super::types::Type;
use super::value::{Map, Value};
pub use conditions::{Conditions, Matched};
use variables::{Session, Variable};

/// What all expressions of a call ran out of.
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What an expression may name besides `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offer {
    /// `params`.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
    /// `Object{…}`, `JSONPatch{…}`, `jsonpatch.escapeKey`.
    pub mutation: bool,
}

/// Compiles the expressions of one policy or webhook, and holds its variables.
#[derive(Debug)]
pub struct Composer {
    object: Arc<DeclType>,
    params: Arc<DeclType>,
    /// `None` where expressions have no `variables` at all.
    variables: Option<Vec<Variable>>,
}

/// An expression, or why it is none: a policy that is stored is kept whatever became of the language.
#[derive(Debug)]
pub struct Expression {
    /// As written.
    pub text: String,
    program: Result<Program, String>,
}

/// What expressions are evaluated on.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The object as it shall be; absent for a delete.
    pub object: Option<&'a Json>,
    /// The object as it was; absent for a creation.
    pub old_object: Option<&'a Json>,
    /// What [`admission_request`](https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/) says, without the objects.
    pub request: &'a Json,
    /// The namespace's object, for what lives in one.
    pub namespace: Option<&'a Json>,
    /// The parameters of the binding.
    pub params: Option<&'a Json>,
    /// Who answers `authorizer`, and the question `authorizer.requestResource` begins with.
    pub authorizer: Option<(&'a dyn Authorizer, &'a ResourceCheck)>,
}

impl Default for Composer {
    fn default() -> Self {
        Self { object: DeclType::dynamic(), params: DeclType::dynamic(), variables: None }
    }
}

impl Composer {
    /// For expressions that may use variables.
    pub fn composed() -> Self {
        Self { variables: Some(Vec::new()), ..Self::default() }
    }

    /// For checks against the types of objects and parameters, where these are known.
    pub fn typed(object: Option<Arc<DeclType>>, params: Option<Arc<DeclType>>) -> Self {
        let or_any = |decl: Option<Arc<DeclType>>| decl.unwrap_or_else(DeclType::dynamic);
        Self { object: or_any(object), params: or_any(params), variables: Some(Vec::new()) }
    }

    /// Compiles a variable that later expressions may use, also if it is wrong: they then fail when they do.
    ///
    /// # Errors
    /// Why it does not compile.
    pub fn declare(&mut self, name: &str, text: &str, offer: Offer) -> Result<(), String> {
        let program = self.compile(text, &[], offer);
        let said = program.as_ref().map(|_| ()).map_err(Clone::clone);
        let output = program.as_ref().map_or(Type::Dyn, |program| program.output().clone());
        let variable = Variable { name: name.to_owned(), decl: DeclType::of_output(&output), program };
        self.variables.get_or_insert_default().push(variable);
        said
    }

    /// Compiles an expression that has to give one of some types; anything, if none is named.
    ///
    /// # Errors
    /// What upstream says in the field's error.
    pub fn compile(&self, text: &str, returns: &[Type], offer: Offer) -> Result<Program, String> {
        let compiled = self.environment(offer).compile(text, &Type::Dyn);
        let program = compiled.map_err(|error| format!("compilation failed: {error}"))?;
        let output = program.output();
        match returns {
            [] => Ok(program),
            some if some.contains(output) => Ok(program),
            [only] => Err(format!("must evaluate to {} but got {}", shown(only), shown(output))),
            some => {
                let names: Vec<String> = some.iter().map(shown).collect();
                Err(format!("must evaluate to one of [{}] but got {}", names.join(" "), shown(output)))
            }
        }
    }

    /// Compiles an expression for use, whatever becomes of it.
    pub fn expression(&self, text: &str, returns: &[Type], offer: Offer) -> Expression {
        Expression { text: text.to_owned(), program: self.compile(text, returns, offer) }
    }

    fn environment(&self, offer: Offer) -> Environment {
        let mut environment = Environment::new()
            .with("object", &self.object)
            .with("oldObject", &self.object)
            .with("namespaceObject", &declarations::NAMESPACE)
            .with("request", &declarations::REQUEST);
        if offer.params {
            environment = environment.with("params", &self.params);
        }
        if offer.authorizer {
            environment = environment
                .with("authorizer", &declarations::AUTHORIZER)
                .with("authorizer.requestResource", &declarations::RESOURCE_CHECK);
        }
        if let Some(variables) = &self.variables {
            let fields = variables.iter().map(|variable| (variable.name.as_str(), variable.decl.clone()));
            environment = environment.with("variables", &DeclType::object("kubernetes.variables", fields));
        }
        if offer.mutation { environment.with_mutation() } else { environment }
    }

    /// Runs expressions in order on one input; `of` takes what is wanted from each value. An error of one
    /// expression is its answer and no hindrance for the next. Spends from `budget`.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn evaluate<'e, T>(
        &self,
        expressions: impl IntoIterator<Item = &'e Expression>,
        input: &Input<'_>,
        budget: &mut u64,
        of: impl Fn(&Value<'_>) -> T,
    ) -> Result<Vec<Result<T, String>>, &'static str> {
        let session = Session::new(self.variables.as_deref().unwrap_or_default(), input.bindings());
        session.tie(&session);
        let mut bindings = input.bindings();
        if self.variables.is_some() {
            bindings = bindings.value_of("variables", Value::Map(Map::Fields(&session)));
        }
        let mut answers = Vec::new();
        for expression in expressions {
            answers.push(match &expression.program {
                Err(error) => Err(format!("compilation error: {error}")),
                Ok(program) => {
                    let outcome = program.evaluate(&bindings, PER_CALL_LIMIT);
                    let cost = session.take_cost().saturating_add(outcome.cost);
                    *budget = budget.checked_sub(cost).ok_or(OUT_OF_BUDGET)?;
                    let failed =
                        |error| format!("expression '{}' resulted in error: {error}", expression.text);
                    outcome.value.as_ref().map(&of).map_err(failed)
                }
            });
        }
        Ok(answers)
    }
}

/// A type as upstream prints it outside the checker's errors.
fn shown(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        other => other.to_string(),
    }
}

impl Expression {
    /// Why it is none.
    pub fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

impl<'a> Input<'a> {
    fn bindings(&self) -> Bindings<'a> {
        let dynamic = |json: Option<&'a Json>| json.map_or(Value::Null, Value::dynamic);
        let bindings = Bindings::new()
            .value_of("object", dynamic(self.object))
            .value_of("oldObject", dynamic(self.old_object))
            .value_of("params", dynamic(self.params))
            .json("request", self.request);
        let bindings = match self.namespace {
            Some(namespace) => bindings.json("namespaceObject", namespace),
            None => bindings.value_of("namespaceObject", Value::Null),
        };
        let Some((authorizer, resource)) = self.authorizer else { return bindings };
        let check = Arc::new(Check::Resource(resource.clone()));
        bindings
            .value_of("authorizer", Value::Extension(Extension::Authorizer(authorizer, None)))
            .value_of("authorizer.requestResource", Value::Extension(Extension::Check(authorizer, check)))
    }
}

#[cfg(test)]
mod tests;
