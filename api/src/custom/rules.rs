//! `x-kubernetes-validations`: rules in CEL, compiled once for a version and run on every write.
//!
//! Entry points: [`Rules::compile`], [`Rules::check`], and [`admission::check`] for definitions. Rules see
//! their place as `self` and, on update, what was there as `oldSelf`. Texts and budgets are upstream's
//! (`apiserver/schema/cel`).

pub mod admission;
mod paths;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Node, validation};
use crate::cel::{
    Bindings, CompileError, DeclType, Environment, PER_CALL_LIMIT, Program, RUNTIME_BUDGET, Type,
};
use crate::status::Cause;

/// Longest text a `messageExpression` may give, in bytes.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// The rules of one place in a schema and of all below it.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    values: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

/// One rule.
#[derive(Debug)]
struct Rule {
    source: Value,
    /// The error is for whoever is the first to need it: definitions with such rules are refused.
    program: Result<Program, String>,
    message: Option<Program>,
    uses_old: bool,
    optional_old: bool,
    field_path: String,
}

/// What a rule's expression is, or why it is none.
fn compile_rule(schema: &Value, root: bool, rule: &Value) -> Result<Program, String> {
    let environment = environment(schema, root, rule)?;
    let text = rule["rule"].as_str().unwrap_or_default();
    environment.compile(text, &Type::Bool).map_err(|error| match error {
        CompileError::Issues(issues) => format!("compilation failed: {issues}"),
        CompileError::Result { .. } => "cel expression must evaluate to a bool".to_owned(),
    })
}

fn compile_message(schema: &Value, root: bool, rule: &Value) -> Result<Option<Program>, String> {
    let text = rule["messageExpression"].as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let environment = environment(schema, root, rule)?;
    environment.compile(text, &Type::String).map(Some).map_err(|error| match error {
        CompileError::Issues(issues) => format!("messageExpression compilation failed: {issues}"),
        CompileError::Result { .. } => "messageExpression must evaluate to a string".to_owned(),
    })
}

fn environment(schema: &Value, root: bool, rule: &Value) -> Result<Environment, String> {
    let decl = DeclType::from_schema(schema, root)
        .ok_or_else(|| "failed to convert to declType for CEL validation rules".to_owned())?;
    let environment = Environment::new().with("self", &decl);
    Ok(match rule["optionalOldSelf"] == true {
        true => environment.with_optional("oldSelf", &decl),
        false => environment.with("oldSelf", &decl),
    })
}

/// Whether a place is a whole object, with `metadata` of its own.
fn is_whole(schema: &Value, root: bool) -> bool {
    root || schema["x-kubernetes-embedded-resource"] == true
}

fn rules_of(schema: &Value) -> &[Value] {
    schema["x-kubernetes-validations"].as_array().map_or(&[], Vec::as_slice)
}

impl Rules {
    /// The rules of a schema; `None` if it has none.
    pub fn compile(schema: &Value) -> Option<Self> {
        Self::below(schema, true)
    }

    fn below(schema: &Value, root: bool) -> Option<Self> {
        let whole = is_whole(schema, root);
        let rules: Vec<Rule> = rules_of(schema).iter().map(|rule| Rule::new(schema, whole, rule)).collect();
        let properties: BTreeMap<String, Self> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, inner)| Some((name.clone(), Self::below(inner, false)?)))
            .collect();
        let inner = |key: &str| {
            let inner = schema.get(key).filter(|inner| inner.is_object())?;
            Self::below(inner, false).map(Box::new)
        };
        let (values, items) = (inner("additionalProperties"), inner("items"));
        let any = !rules.is_empty() || !properties.is_empty() || values.is_some() || items.is_some();
        any.then_some(Self { rules, properties, values, items })
    }

    /// Runs all rules on an object; `old` is the stored one on update.
    pub fn check(&self, node: &Node, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut run = Run { budget: RUNTIME_BUDGET, causes: Vec::new() };
        let unchanged = old == Some(new);
        // The end of the budget is the end of the walk; what was found stays.
        let _ = run.walk(self, Some(node), &Place { path: String::new(), new, old, unchanged });
        run.causes
    }
}

impl Rule {
    fn new(schema: &Value, whole: bool, rule: &Value) -> Self {
        let program = compile_rule(schema, whole, rule);
        Self {
            uses_old: program.as_ref().is_ok_and(|program| program.uses("oldSelf")),
            message: compile_message(schema, whole, rule).ok().flatten(),
            optional_old: rule["optionalOldSelf"] == true,
            field_path: paths::normal(rule["fieldPath"].as_str().unwrap_or_default()),
            source: rule.clone(),
            program,
        }
    }

    /// The message, or else the rule.
    fn text(&self) -> &str {
        let message = self.source["message"].as_str().unwrap_or_default().trim();
        if message.is_empty() { self.source["rule"].as_str().unwrap_or_default().trim() } else { message }
    }

    fn default_detail(&self) -> String {
        match self.source["message"].as_str().unwrap_or_default() {
            "" => format!("failed rule: {}", self.text()),
            message => message.trim().to_owned(),
        }
    }

    fn cause(&self, path: &str, new: &Value, detail: &str) -> Cause {
        let path = match self.field_path.as_str() {
            "" => path.to_owned(),
            below => {
                format!("{path}{}{below}", if path.is_empty() || below.starts_with('[') { "" } else { "." })
            }
        };
        match self.source["reason"].as_str().unwrap_or_default() {
            "FieldValueForbidden" => Cause::forbidden(path, detail),
            "FieldValueRequired" => Cause::required(path, detail),
            "FieldValueDuplicate" => Cause::duplicate(path, new),
            _ => invalid(path, new, detail),
        }
    }
}

/// Whole objects and lists are not repeated in the message.
fn invalid(path: String, new: &Value, detail: &str) -> Cause {
    if new.is_object() || new.is_array() {
        let message = format!("Invalid value: {detail}");
        return Cause { reason: "FieldValueInvalid", field: path, message };
    }
    Cause::invalid(path, new, detail)
}

struct Place<'a> {
    path: String,
    new: &'a Value,
    old: Option<&'a Value>,
    /// This, or the nearest place above that can be told apart, is as it was.
    unchanged: bool,
}

/// The budget is used up.
struct Exhausted;

struct Run {
    budget: u64,
    causes: Vec<Cause>,
}

impl Run {
    fn walk(&mut self, rules: &Rules, node: Option<&Node>, place: &Place<'_>) -> Result<(), Exhausted> {
        if place.new.is_null() {
            return Ok(());
        }
        for rule in &rules.rules {
            self.one(rule, place)?;
        }
        match place.new {
            Value::Object(map) => {
                for (key, new) in map {
                    let (inner, named) = match (rules.properties.get(key), &rules.values) {
                        (Some(inner), _) => (inner, true),
                        (None, Some(values)) => (values.as_ref(), false),
                        (None, None) => continue,
                    };
                    let path = match named {
                        true => validation::join(&place.path, key),
                        false => format!("{}[{key}]", place.path),
                    };
                    let old = place.old.and_then(|old| old.get(key));
                    let below = node.and_then(|node| match named {
                        true => node.properties.get(key),
                        false => None,
                    });
                    self.walk(inner, below, &Place { path, new, old, unchanged: old == Some(new) })?;
                }
            }
            Value::Array(list) => {
                let Some(inner) = &rules.items else { return Ok(()) };
                for (at, new) in list.iter().enumerate() {
                    let old = node.and_then(|node| validation::counterpart(node, new, place.old));
                    let path = format!("{}[{at}]", place.path);
                    let unchanged = place.unchanged || old == Some(new);
                    let below = node.and_then(|node| node.items.as_deref());
                    self.walk(inner, below, &Place { path, new, old, unchanged })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn one(&mut self, rule: &Rule, place: &Place<'_>) -> Result<(), Exhausted> {
        let mut say = |detail: String| self.causes.push(invalid(place.path.clone(), place.new, &detail));
        let program = match &rule.program {
            Ok(program) => program,
            Err(error) => {
                say(format!("rule compile error: {error}"));
                return Ok(());
            }
        };
        if rule.uses_old && place.old.is_none() && !rule.optional_old {
            return Ok(());
        }
        let bindings = bindings(rule, place);
        let outcome = program.evaluate(&bindings, PER_CALL_LIMIT);
        if outcome.cost > self.budget {
            say("validation failed due to running out of cost budget, no further validation rules will be run".to_owned());
            return Err(Exhausted);
        }
        self.budget -= outcome.cost;
        match outcome.value {
            Ok(crate::cel::Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_over_budget() => {
                say(format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.text()
                ));
                return Err(Exhausted);
            }
            Err(error) if error.to_string().starts_with("no such overload") => {
                say(format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.text()
                ));
                return Ok(());
            }
            Err(error) => {
                say(format!("{error} evaluating rule: {}", rule.text()));
                return Ok(());
            }
        }
        let detail = self.message(rule, &bindings).unwrap_or_else(|| rule.default_detail());
        if rule.uses_old || !place.unchanged {
            self.causes.push(rule.cause(&place.path, place.new, &detail));
        }
        Ok(())
    }

    /// The text of a `messageExpression`, unless it fails or is of no use.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> Option<String> {
        let outcome = rule.message.as_ref()?.evaluate(bindings, PER_CALL_LIMIT);
        self.budget = self.budget.saturating_sub(outcome.cost);
        let crate::cel::Value::String(text) = outcome.value.ok()? else { return None };
        let text = text.to_string();
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
        fits.then(|| text.to_owned())
    }
}

fn bindings<'a>(rule: &Rule, place: &Place<'a>) -> Bindings<'a> {
    let bindings = Bindings::new().json("self", place.new);
    match (rule.optional_old, place.old) {
        (true, old) => bindings.optional_json("oldSelf", old),
        (false, Some(old)) => bindings.json("oldSelf", old),
        (false, None) => bindings,
    }
}

#[cfg(test)]
mod tests;
