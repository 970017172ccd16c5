//! Compiled expressions and what they are evaluated on.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value as Json;

use super::ast::{Call, Expr, Kind, Literal};
use super::checker::{self, Checked};
use super::cost::{self, Range};
use super::environment::{Environment, Variable};
use super::error::{CompileError, EvalError};
use super::eval;
use super::instant::Instant;
use super::library;
use super::parser;
use super::source::{Issues, Source};
use super::types::Type;
use super::value::{Eval, Value};
use crate::time::parse_go_duration;

/// A checked expression. Cheap to evaluate any number of times, from any thread.
#[derive(Debug)]
pub struct Program {
    pub(crate) root: Expr,
    pub(crate) checked: Checked,
    /// Regular expressions that stand in the expression, by the call that uses them.
    pub(crate) regexes: BTreeMap<usize, Regex>,
    variables: BTreeMap<String, Variable>,
    cost: Range,
    output: Type,
}

impl Environment {
    /// Compiles an expression that has to give `expected` ([`Type::Dyn`]: anything).
    ///
    /// # Errors
    /// [`CompileError::Issues`] with everything that is wrong, each with its place;
    /// [`CompileError::Result`] if the expression is right but of another type.
    pub fn compile(&self, text: &str, expected: &Type) -> Result<Program, CompileError> {
        let source = Source::new(text);
        let mut issues = Issues::default();
        let parsed = parser::parse(&source, &mut issues);
        let refused = |issues: &Issues| CompileError::Issues(issues.render(&source));
        if !issues.is_empty() {
            return Err(refused(&issues));
        }
        let mut root = parsed.root;
        let checked = checker::check(&mut root, &parsed.offsets, self, &mut issues);
        if !issues.is_empty() {
            return Err(refused(&issues));
        }
        let mut regexes = BTreeMap::new();
        let mut literals = Literals { offsets: &parsed.offsets, issues: &mut issues, regexes: &mut regexes };
        literals.check(&root);
        if !issues.is_empty() {
            return Err(refused(&issues));
        }
        let output = checked.types.get(root.id).cloned().unwrap_or(Type::Dyn);
        if *expected != Type::Dyn && output != *expected {
            return Err(CompileError::Result { expected: expected.clone(), actual: output });
        }
        let cost = cost::estimate(&root, &checked, self);
        let used = checked.variables.iter();
        let variables = used.filter_map(|name| Some((name.clone(), self.variable(name)?.clone()))).collect();
        Ok(Program { root, checked, regexes, variables, cost, output })
    }
}

/// Constant arguments that are refused when compiling: patterns, durations, times.
struct Literals<'a> {
    offsets: &'a [usize],
    issues: &'a mut Issues,
    regexes: &'a mut BTreeMap<usize, Regex>,
}

impl Literals<'_> {
    fn check(&mut self, expr: &Expr) {
        match &expr.kind {
            Kind::Select { operand, .. } => self.check(operand),
            Kind::Call(call) => {
                self.call(expr.id, call);
                call.target.as_deref().into_iter().chain(&call.args).for_each(|inner| self.check(inner));
            }
            Kind::List(elements, _) => elements.iter().for_each(|element| self.check(element)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                self.check(&entry.key);
                self.check(&entry.value);
            }),
            Kind::Struct(_, fields) => fields.iter().for_each(|field| self.check(&field.value)),
            Kind::Comprehension(fold) => {
                for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    self.check(part);
                }
            }
            Kind::Literal(_) | Kind::Ident(_) | Kind::Error => {}
        }
    }

    fn call(&mut self, id: usize, call: &Call) {
        let at = match (call.function.as_str(), &call.target) {
            ("matches", None) => 1,
            ("matches" | "find" | "findAll", Some(_)) | ("duration" | "timestamp", None) => 0,
            _ => return,
        };
        let Some(Expr { kind: Kind::Literal(Literal::String(text)), id: argument }) = call.args.get(at)
        else {
            return;
        };
        let valid = match call.function.as_str() {
            "duration" => parse_go_duration(text).is_some(),
            "timestamp" => Instant::parse(text, false).is_ok(),
            _ => match library::regex::compile(text) {
                Ok(regex) => {
                    self.regexes.insert(id, regex);
                    true
                }
                // Kubernetes' own functions say so when they are called.
                Err(_) => call.function != "matches",
            },
        };
        if !valid {
            let offset = self.offsets.get(*argument).copied();
            self.issues.report(offset, format!("invalid {} argument", call.function));
        }
    }
}

impl Program {
    /// What evaluation costs at least and at most, given the bounds of the declared types.
    pub fn cost(&self) -> Range {
        self.cost
    }

    /// The type of the result.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether a variable of the environment is used: a rule that uses `oldSelf` is about a change.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains_key(variable)
    }

    /// Evaluates, spending at most `budget` (upstream: [`super::PER_CALL_LIMIT`]).
    pub fn evaluate<'a>(&'a self, bindings: &Bindings<'a>, budget: u64) -> Outcome<'a> {
        let (value, cost) = eval::evaluate(self, bindings, budget);
        Outcome { value, cost }
    }

    fn declared(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }
}

/// What evaluation gave and what it cost.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The value.
    pub value: Eval<Value<'a>>,
    /// What it cost, also if it failed.
    pub cost: u64,
}

/// Values of the variables.
#[derive(Debug, Default, Clone)]
pub struct Bindings<'a> {
    values: Vec<(&'a str, Binding<'a>)>,
}

#[derive(Debug, Clone)]
enum Binding<'a> {
    Json(&'a Json),
    OptionalJson(Option<&'a Json>),
    Value(Value<'a>),
}

impl<'a> Bindings<'a> {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable that is JSON of its declared type.
    #[must_use]
    pub fn json(mut self, name: &'a str, json: &'a Json) -> Self {
        self.values.push((name, Binding::Json(json)));
        self
    }

    /// An optional variable that is JSON of its declared type.
    #[must_use]
    pub fn optional_json(mut self, name: &'a str, json: Option<&'a Json>) -> Self {
        self.values.push((name, Binding::OptionalJson(json)));
        self
    }

    /// A variable that is a value.
    #[must_use]
    pub fn value_of(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.values.push((name, Binding::Value(value)));
        self
    }

    pub(crate) fn value(&self, name: &str, program: &'a Program) -> Eval<Value<'a>> {
        let found = self.values.iter().rev().find(|(other, _)| *other == name);
        let typed = |json: &'a Json| match program.declared(name) {
            Some(variable) => Value::typed(json, &variable.decl),
            None => Ok(Value::dynamic(json)),
        };
        match found.map(|(_, binding)| binding) {
            Some(Binding::Json(json)) => typed(json),
            Some(Binding::OptionalJson(json)) => {
                Ok(Value::Optional(json.map(typed).transpose()?.map(Arc::new)))
            }
            Some(Binding::Value(value)) => Ok(value.clone()),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }
}
