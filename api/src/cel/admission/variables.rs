//! Variables of a policy: each is an expression that may use those declared before it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cel::cost::PER_CALL_LIMIT;
use crate::cel::decl::DeclType;
use crate::cel::error::EvalError;
use crate::cel::program::{Bindings, Program};
use crate::cel::value::{Eval, Fields, Map, Value};

/// A declared variable.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) decl: Arc<DeclType>,
    pub(super) program: Result<Program, String>,
}

/// The values of variables on one input, computed when they are asked for.
pub(super) struct Session<'a> {
    variables: &'a [Variable],
    bindings: Bindings<'a>,
    values: Vec<OnceLock<Eval<Value<'a>>>>,
    /// What computing them cost since somebody last took the sum.
    cost: AtomicU64,
    /// This session: what a variable is computed from are other variables.
    itself: OnceLock<&'a Session<'a>>,
}

impl<'a> Session<'a> {
    pub(super) fn new(variables: &'a [Variable], bindings: Bindings<'a>) -> Self {
        let values = variables.iter().map(|_| OnceLock::new()).collect();
        Self { variables, bindings, values, cost: AtomicU64::new(0), itself: OnceLock::new() }
    }

    /// Lets variables see variables; to be called once, before the first is asked for.
    pub(super) fn tie(&self, itself: &'a Self) {
        let _ = self.itself.set(itself);
    }

    /// The cost since the last call.
    pub(super) fn take_cost(&self) -> u64 {
        self.cost.swap(0, Ordering::Relaxed)
    }

    fn compute(&'a self, variable: &'a Variable) -> Eval<Value<'a>> {
        let named = |what: &str, error: &dyn fmt::Display| {
            EvalError::new(format!("composited variable {:?} fails to {what}: {error}", variable.name))
        };
        let program = variable.program.as_ref().map_err(|error| named("compile", error))?;
        let bindings = self.bindings.clone().value_of("variables", Value::Map(Map::Fields(self)));
        let outcome = program.evaluate(&bindings, PER_CALL_LIMIT);
        self.cost.fetch_add(outcome.cost, Ordering::Relaxed);
        outcome.value.map_err(|error| named("evaluate", &error))
    }
}

impl Fields for Session<'_> {
    fn field(&self, name: &str) -> Option<Eval<Value<'_>>> {
        // The first of a name: later ones of the same name were compiled against it and would wait for themselves.
        let at = self.variables.iter().position(|variable| variable.name == name)?;
        let (itself, variable) = (*self.itself.get()?, self.variables.get(at)?);
        Some(itself.values.get(at)?.get_or_init(|| itself.compute(variable)).clone())
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("variables", &self.variables).finish_non_exhaustive()
    }
}
