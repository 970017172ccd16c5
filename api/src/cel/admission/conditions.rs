//! Match conditions: a request that fails one is none of the webhook's or policy's business.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Composer, Expression, Input, Offer};
use crate::cel::cost::RUNTIME_BUDGET_MATCH_CONDITIONS;
use crate::cel::types::Type;

/// The match conditions of a webhook or a policy.
#[derive(Debug, Default)]
pub struct Conditions {
    conditions: Vec<(String, Expression)>,
    /// Whether a condition that cannot be evaluated ends the request (`failurePolicy: Fail`).
    fails: bool,
}

/// What became of all conditions together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// All hold.
    Yes,
    /// One does not, or one failed and failures are ignored.
    No,
    /// None is false, but some failed.
    Failed(String),
}

impl Conditions {
    /// Compiles a list of conditions, `fails` as the failure policy says.
    pub fn compile(composer: &Composer, list: &Json, params: bool, fails: bool) -> Self {
        let offer = Offer { params, authorizer: true, mutation: false };
        let text = |condition: &Json, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let compiled = list.as_array().into_iter().flatten().map(|condition| {
            let expression = composer.expression(&text(condition, "expression"), &[Type::Bool], offer);
            (text(condition, "name"), expression)
        });
        Self { conditions: compiled.collect(), fails }
    }

    /// Whether there is nothing to evaluate.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Evaluates the conditions: one that is false decides, whatever else fails.
    pub fn evaluate(&self, composer: &Composer, input: &Input<'_>) -> Matched {
        let failed = |text: String| if self.fails { Matched::Failed(text) } else { Matched::No };
        let mut budget = RUNTIME_BUDGET_MATCH_CONDITIONS;
        let expressions = self.conditions.iter().map(|(_, expression)| expression);
        let answers =
            composer.evaluate(expressions, input, &mut budget, |value| value.as_bool() == Some(true));
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return failed(error.to_owned()),
        };
        if answers.contains(&Ok(false)) {
            return Matched::No;
        }
        let errors: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
        if errors.is_empty() { Matched::Yes } else { failed(aggregate(&errors)) }
    }
}

/// Several errors as one, the way Go's `NewAggregate` prints them.
fn aggregate(errors: &[String]) -> String {
    let mut seen = BTreeSet::new();
    let distinct: Vec<&str> = errors.iter().map(String::as_str).filter(|text| seen.insert(*text)).collect();
    match &distinct[..] {
        [only] => (*only).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}
