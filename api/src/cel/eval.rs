//! Evaluation of a checked tree, counting what it costs.
//!
//! Entry point: [`evaluate`]. Costs are those of `cel-go/interpreter/runtimecost.go` with Kubernetes'
//! options: a variable, a field and an index cost 1, a presence test nothing, constants nothing, literals
//! and functions what [`super::cost::call`] says. Evaluation ends with an error when the budget is passed.

mod access;

use std::sync::Arc;

use super::ast::{ACCUMULATOR, Call, Comprehension, Entry, Expr, Field, Kind, Literal, operators};
use super::checker::Resolved;
use super::cost::{self, LIST_COST, MAP_COST, MESSAGE_COST};
use super::error::EvalError;
use super::functions::Form;
use super::library::{self, Args, Run};
use super::program::{Bindings, Program};
use super::value::{Entries, Eval, Key, List, Map, Text, Value};
pub(crate) use access::{display, key_of};
use access::{element, lookup_if_present, missing, present, select};

/// The value, and what it cost.
pub(crate) fn evaluate<'a>(
    program: &'a Program,
    bindings: &Bindings<'a>,
    budget: u64,
) -> (Eval<Value<'a>>, u64) {
    let mut evaluator = Evaluator { program, bindings, scopes: Vec::new(), cost: 0, budget };
    let value = evaluator.eval(&program.root);
    (value, evaluator.cost)
}

struct Evaluator<'a, 'b> {
    program: &'a Program,
    bindings: &'b Bindings<'a>,
    /// Loop variables and accumulators, innermost last. An accumulator may be an error that is absorbed.
    scopes: Vec<(&'a str, Eval<Value<'a>>)>,
    cost: u64,
    budget: u64,
}

impl<'a> Evaluator<'a, '_> {
    fn charge(&mut self, cost: u64) -> Eval<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.budget { Err(EvalError::over_budget()) } else { Ok(()) }
    }

    fn eval(&mut self, expr: &'a Expr) -> Eval<Value<'a>> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements, optionals) => self.list(elements, optionals),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, fields) => self.message(name, fields),
            Kind::Comprehension(fold) => self.comprehension(fold),
            Kind::Error => Err(EvalError::new("invalid expression")),
        }
    }

    fn message(&mut self, name: &'a str, fields: &'a [Field]) -> Eval<Value<'a>> {
        let mut out = Entries::default();
        for field in fields {
            let value = self.eval(&field.value)?;
            if let Some(value) = present(value, field.optional)? {
                out.insert(Key::String(Text::Borrowed(&field.name)), value);
            }
        }
        self.charge(MESSAGE_COST)?;
        Ok(Value::Map(Map::Message(name.strip_prefix('.').unwrap_or(name), Arc::new(out))))
    }

    fn ident(&mut self, expr: &'a Expr, name: &'a str) -> Eval<Value<'a>> {
        self.charge(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(local, _)| *local == name) {
            return value.clone();
        }
        if let Some(Some(ty)) = self.program.checked.type_names.get(expr.id) {
            return Ok(Value::Type(ty.clone()));
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        self.bindings.value(name, self.program)
    }

    fn select(&mut self, operand: &'a Expr, field: &'a str, test: bool) -> Eval<Value<'a>> {
        let operand = self.eval(operand)?;
        let key = Key::String(Text::Borrowed(field));
        if test {
            return Ok(Value::Bool(lookup_if_present(&operand, &key, false)?.is_some()));
        }
        self.charge(1)?;
        select(&operand, &key, false)
    }

    fn list(&mut self, elements: &'a [Expr], optionals: &[usize]) -> Eval<Value<'a>> {
        let mut values = Vec::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            let value = self.eval(element)?;
            values.extend(present(value, optionals.contains(&at))?);
        }
        if elements.is_empty() || !elements.iter().all(is_constant) {
            self.charge(LIST_COST)?;
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Eval<Value<'a>> {
        let mut out = Entries::default();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            let Some(key) = key.as_key() else {
                return Err(EvalError::new(format!("unsupported key type: {}", key.type_name())));
            };
            if let Some(value) = present(value, entry.optional)? {
                out.insert(key, value);
            }
        }
        if entries.is_empty() || !entries.iter().all(|e| is_constant(&e.key) && is_constant(&e.value)) {
            self.charge(MAP_COST)?;
        }
        Ok(Value::Map(Map::Values(Arc::new(out))))
    }

    fn call(&mut self, expr: &'a Expr, call: &'a Call) -> Eval<Value<'a>> {
        let Some(Some(resolved)) = self.program.checked.calls.get(expr.id) else {
            return Err(EvalError::no_overload());
        };
        match (resolved.function.form, &call.args[..]) {
            (Form::And, [left, right]) => self.logical(left, right, false),
            (Form::Or, [left, right]) => self.logical(left, right, true),
            (Form::Conditional, [condition, yes, no]) => self.conditional(condition, yes, no),
            (Form::NotStrictlyFalse, [operand]) => self.not_strictly_false(operand),
            (Form::OptionalOr, [other]) => self.optional_or(call, other),
            (Form::Index { optional }, [operand, index]) => self.index(operand, index, optional),
            (Form::OptionalSelect, [operand, field]) => self.optional_select(operand, field),
            (Form::Strict(run), _) => {
                let values = self.arguments(resolved, call)?;
                self.run(expr, resolved, run, values)
            }
            _ => Err(EvalError::no_overload()),
        }
    }

    fn conditional(&mut self, condition: &'a Expr, yes: &'a Expr, no: &'a Expr) -> Eval<Value<'a>> {
        match self.eval(condition)? {
            Value::Bool(true) => self.eval(yes),
            Value::Bool(false) => self.eval(no),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn not_strictly_false(&mut self, operand: &'a Expr) -> Eval<Value<'a>> {
        let value = self.absorbable(operand)?;
        self.charge(1)?;
        Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false)))))
    }

    fn optional_select(&mut self, operand: &'a Expr, field: &'a Expr) -> Eval<Value<'a>> {
        let operand = self.eval(operand)?;
        let Some(key) = self.eval(field)?.as_key() else { return Err(EvalError::no_overload()) };
        self.charge(1)?;
        select(&operand, &key, true)
    }

    fn arguments(&mut self, resolved: &Resolved, call: &'a Call) -> Eval<Vec<Value<'a>>> {
        let mut values = Vec::with_capacity(call.args.len() + 1);
        // Taken, not copied: what a macro builds must not be copied for each element.
        let builds = matches!(resolved.function.name, operators::ADD | operators::MAP_INSERT);
        for (at, operand) in call.target.as_deref().into_iter().chain(&call.args).enumerate() {
            values.push(match &operand.kind {
                Kind::Ident(name) if builds && at == 0 && name == ACCUMULATOR => {
                    self.take_accumulator(name)?
                }
                _ => self.eval(operand)?,
            });
        }
        Ok(values)
    }

    fn run(
        &mut self,
        expr: &'a Expr,
        resolved: &Resolved,
        run: Run,
        values: Vec<Value<'a>>,
    ) -> Eval<Value<'a>> {
        let name = resolved.function.name;
        let overload = match &resolved.overloads[..] {
            [only] => only.id,
            _ => "",
        };
        let sizes = cost::ArgSizes::of(name, overload, &values);
        let regex = self.program.regexes.get(&expr.id);
        let value = run(Args { name, overload, values, regex })?;
        if !is_constant(expr) {
            self.charge(sizes.call(&value))?;
        }
        Ok(value)
    }

    /// Evaluates something whose failure may be absorbed; running out of budget never is.
    fn absorbable(&mut self, expr: &'a Expr) -> Eval<Eval<Value<'a>>> {
        match self.eval(expr) {
            Err(error) if error.is_over_budget() => Err(error),
            outcome => Ok(outcome),
        }
    }

    /// `&&` and `||`: the side that decides wins over an error on the other.
    fn logical(&mut self, left: &'a Expr, right: &'a Expr, decides: bool) -> Eval<Value<'a>> {
        let mut failure = None;
        for side in [left, right] {
            match self.absorbable(side)? {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(EvalError::no_overload())),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn optional_or(&mut self, call: &'a Call, other: &'a Expr) -> Eval<Value<'a>> {
        let Some(target) = &call.target else { return Err(EvalError::no_overload()) };
        match self.eval(target)? {
            Value::Optional(Some(inner)) if call.function == "orValue" => Ok((*inner).clone()),
            Value::Optional(Some(inner)) => Ok(Value::Optional(Some(inner))),
            Value::Optional(None) => self.eval(other),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn index(&mut self, operand: &'a Expr, index: &'a Expr, optional: bool) -> Eval<Value<'a>> {
        let operand = self.eval(operand)?;
        let index = self.eval(index)?;
        self.charge(1)?;
        let (target, was_optional) = match &operand {
            Value::Optional(Some(inner)) => (&**inner, true),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            other => (other, false),
        };
        let found = element(target, &index)?;
        if optional || was_optional {
            return Ok(Value::Optional(found.map(Arc::new)));
        }
        found.ok_or_else(|| missing(target, &index))
    }

    fn take_accumulator(&mut self, name: &str) -> Eval<Value<'a>> {
        self.charge(1)?;
        match self.scopes.iter_mut().rev().find(|(local, _)| *local == name) {
            Some((_, value)) => std::mem::replace(value, Ok(Value::Null)),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn comprehension(&mut self, fold: &'a Comprehension) -> Eval<Value<'a>> {
        let range = self.eval(&fold.range)?;
        let outer = self.scopes.len();
        let init = self.absorbable(&fold.init)?;
        self.scopes.push((&fold.accumulator, init));
        let outcome = self.fold(fold, &range).and_then(|()| self.eval(&fold.result));
        self.scopes.truncate(outer);
        outcome
    }

    fn fold(&mut self, fold: &'a Comprehension, range: &Value<'a>) -> Eval<()> {
        match range {
            Value::List(list) => {
                let mut at = 0;
                while at < list.len() && self.turn(fold, &Turn::Item(list, at))? {
                    at += 1;
                }
                Ok(())
            }
            Value::Map(map) => {
                for key in map.keys() {
                    if !self.turn(fold, &Turn::Entry(map, key))? {
                        break;
                    }
                }
                Ok(())
            }
            other => Err(EvalError::new(format!("got '{}', expected iterable type", other.type_name()))),
        }
    }

    /// One turn of the loop; false if the condition ends it before.
    fn turn(&mut self, fold: &'a Comprehension, turn: &Turn<'_, 'a>) -> Eval<bool> {
        let outer = self.scopes.len();
        self.enter(fold, turn);
        let goes_on = !matches!(self.absorbable(&fold.condition)?, Ok(Value::Bool(false)));
        if !goes_on {
            self.scopes.truncate(outer);
            return Ok(false);
        }
        let value = self.absorbable(&fold.step)?;
        self.scopes.truncate(outer);
        if let Some((_, slot)) = self.scopes.last_mut() {
            *slot = value;
        }
        Ok(true)
    }

    /// Gives the loop's variables their values.
    fn enter(&mut self, fold: &'a Comprehension, turn: &Turn<'_, 'a>) {
        let (first, second) = turn.values(fold.variable2.is_some());
        self.scopes.push((&fold.variable, first));
        if let (Some(name), Some(value)) = (&fold.variable2, second) {
            self.scopes.push((name, value));
        }
    }
}

/// What a loop is at.
enum Turn<'t, 'a> {
    Item(&'t List<'a>, usize),
    Entry(&'t Map<'a>, Value<'a>),
}

impl<'a> Turn<'_, 'a> {
    /// The values of the first and, if there are two, the second variable.
    fn values(&self, two: bool) -> (Eval<Value<'a>>, Option<Eval<Value<'a>>>) {
        match self {
            Self::Item(list, at) => {
                let item = list.get(*at).unwrap_or_else(|| Err(EvalError::no_overload()));
                if two { (Ok(Value::Int(*at as i64)), Some(item)) } else { (item, None) }
            }
            Self::Entry(map, key) => {
                let value = key.as_key().filter(|_| two).and_then(|key| map.get(&key));
                (Ok(key.clone()), value)
            }
        }
    }
}

/// Whether upstream computes it when compiling, so that it costs nothing later: literals, conversions of
/// literals, and lists and maps of nothing else.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::List(elements, optionals) => {
            !elements.is_empty() && optionals.is_empty() && elements.iter().all(is_constant)
        }
        Kind::Map(entries) => {
            !entries.is_empty()
                && entries.iter().all(|e| !e.optional && is_constant(&e.key) && is_constant(&e.value))
        }
        Kind::Call(Call { function, target: None, args }) => {
            matches!(&args[..], [Expr { kind: Kind::Literal(_), .. }]) && library::is_conversion(function)
        }
        _ => false,
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

#[cfg(test)]
mod tests;
