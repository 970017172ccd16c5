//! Types of every node, and which overloads each call may mean.
//!
//! Entry point: [`check`]. The rules (unification, order of overloads, what is reported where) are those of
//! cel-go's checker, with lists and maps required to be of one type, as Kubernetes does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ast::{Call, Comprehension, Entry, Expr, Field, Id, Kind, Literal, operators};
use super::environment::Environment;
use super::functions::{self, Function, Overload};
use super::source::Issues;
use super::types::{Substitution, Type, most_general};

/// What is known about the nodes of a checked tree, by id.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) types: Vec<Type>,
    /// The function a call node calls, and the overloads it may mean.
    pub(crate) calls: Vec<Option<Resolved>>,
    /// Nodes that name a type.
    pub(crate) type_names: Vec<Option<Type>>,
    /// Variables of the environment that are used.
    pub(crate) variables: BTreeSet<String>,
}

/// A call's function.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) function: &'static Function,
    pub(crate) overloads: Vec<&'static Overload>,
}

/// Checks the tree and rewrites qualified names in it to what they name.
pub(crate) fn check(
    root: &mut Expr,
    offsets: &[usize],
    environment: &Environment,
    issues: &mut Issues,
) -> Checked {
    let count = offsets.len().max(1);
    let mut checker = Checker {
        environment,
        offsets,
        issues,
        substitution: Substitution::default(),
        variables: 0,
        scopes: Vec::new(),
        out: Checked {
            types: vec![Type::Dyn; count],
            calls: vec![None; count],
            type_names: vec![None; count],
            variables: BTreeSet::new(),
        },
    };
    checker.check(root);
    let Checker { substitution, mut out, .. } = checker;
    for ty in &mut out.types {
        *ty = substitution.apply(ty, true);
    }
    out
}

struct Checker<'a> {
    environment: &'a Environment,
    offsets: &'a [usize],
    issues: &'a mut Issues,
    substitution: Substitution,
    /// Type variables made so far.
    variables: usize,
    scopes: Vec<(String, Type)>,
    out: Checked,
}

impl Checker<'_> {
    fn report(&mut self, at: Id, message: String) {
        self.issues.report(self.offsets.get(at).copied(), message);
    }

    fn set(&mut self, id: Id, ty: Type) {
        if let Some(slot) = self.out.types.get_mut(id) {
            *slot = ty;
        }
    }

    fn get(&self, expr: &Expr) -> Type {
        self.out.types.get(expr.id).cloned().unwrap_or(Type::Dyn)
    }

    fn known(&self, expr: &Expr) -> Type {
        self.substitution.apply(&self.get(expr), false)
    }

    fn fresh(&mut self) -> Type {
        self.variables += 1;
        Type::Param(format!("_var{}", self.variables - 1).into())
    }

    fn mismatch(&mut self, at: Id, expected: &Type, actual: &Type) {
        self.report(at, format!("expected type '{expected}' but found '{actual}'"));
    }

    fn undeclared(&mut self, at: Id, name: &str) {
        self.report(at, format!("undeclared reference to '{name}' (in container '')"));
        self.set(at, Type::Error);
    }

    fn check(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Literal(literal) => self.set(id, literal_type(literal)),
            Kind::Ident(name) => match self.resolve(name, id) {
                Some(ty) => self.set(id, ty),
                None => {
                    let name = name.clone();
                    self.undeclared(id, &name);
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call(_) => self.call(expr),
            Kind::List(elements, optionals) => self.list(id, elements, optionals),
            Kind::Map(entries) => self.map(id, entries),
            Kind::Struct(name, fields) => self.message(id, name, fields),
            Kind::Comprehension(fold) => self.comprehension(id, fold),
            Kind::Error => self.set(id, Type::Error),
        }
    }

    /// The type of a name: a local variable, a variable of the environment, or a type.
    fn resolve(&mut self, name: &str, id: Id) -> Option<Type> {
        let global = name.strip_prefix('.');
        if global.is_none()
            && let Some((_, ty)) = self.scopes.iter().rev().find(|(local, _)| local == name)
        {
            return Some(ty.clone());
        }
        let name = global.unwrap_or(name);
        if let Some(variable) = self.environment.variable(name) {
            self.out.variables.insert(name.to_owned());
            return Some(variable.ty.clone());
        }
        let ty = Type::named(name)?;
        if let Some(slot) = self.out.type_names.get_mut(id) {
            *slot = Some(ty.clone());
        }
        Some(Type::Type(Some(Arc::new(ty))))
    }

    fn select(&mut self, expr: &mut Expr) {
        if let Some(name) = qualified_name(expr) {
            let local = name.split('.').next().unwrap_or_default();
            if !self.scopes.iter().any(|(other, _)| other == local)
                && let Some(ty) = self.resolve(&name, expr.id)
            {
                expr.kind = Kind::Ident(name);
                return self.set(expr.id, ty);
            }
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return };
        let found = self.field(id, operand, field, false);
        let ty = if *test { Type::Bool } else { self.substitution.apply(&found, false) };
        self.set(id, ty);
    }

    /// The type of `operand.field`.
    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand_type = self.known(operand);
        let (target, was_optional) = operand_type.unwrapped();
        let found = match target {
            Type::Map(_, values) => Type::clone(values),
            Type::Object(name) => match self.environment.field_type(name, field) {
                Some(ty) => ty,
                None => {
                    self.report(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.substitution.assign(&Type::Dyn, target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if was_optional || optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else { return };
        if call.function == operators::OPT_SELECT {
            return self.optional_select(id, call);
        }
        for arg in &mut call.args {
            self.check(arg);
        }
        if let Some(target) = &mut call.target {
            // `a.b.c()` may be a function of that whole name.
            let qualified = qualified_name(target).map(|prefix| format!("{prefix}.{}", call.function));
            if let Some(function) = qualified.as_deref().and_then(|name| self.function(name)) {
                call.function = function.name.to_owned();
                call.target = None;
                return self.resolve_call(id, function, call);
            }
            self.check(target);
        }
        match self.function(&call.function) {
            Some(function) => self.resolve_call(id, function, call),
            None => {
                let name = call.function.clone();
                self.undeclared(id, &name);
            }
        }
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        functions::lookup(name).filter(|function| self.environment.offers(function.name))
    }

    fn optional_select(&mut self, id: Id, call: &mut Call) {
        let [operand, Expr { kind: Kind::Literal(Literal::String(field)), id: field_id }] =
            &mut call.args[..]
        else {
            return self.report(id, "unsupported optional field selection".to_owned());
        };
        let (field, field_id) = (field.clone(), *field_id);
        self.set(field_id, Type::String);
        let found = self.field(id, operand, &field, true);
        let found = self.substitution.apply(&found, false);
        self.set(id, found);
        if let Some(function) = functions::lookup(operators::OPT_SELECT) {
            self.record(id, function, function.overloads.iter().collect());
        }
    }

    fn record(&mut self, id: Id, function: &'static Function, overloads: Vec<&'static Overload>) {
        if let Some(slot) = self.out.calls.get_mut(id) {
            *slot = Some(Resolved { function, overloads });
        }
    }

    fn resolve_call(&mut self, id: Id, function: &'static Function, call: &Call) {
        if matches!(function.name, operators::AND | operators::OR) {
            return self.logical(id, function, call);
        }
        let actual: Vec<Type> =
            call.target.as_deref().into_iter().chain(&call.args).map(|e| self.get(e)).collect();
        let mut matching = Vec::new();
        let mut result: Option<Type> = None;
        for overload in &function.overloads {
            if overload.member != call.target.is_some() {
                continue;
            }
            let (params, declared_result) = self.instantiate(overload);
            if !self.substitution.assign_all(&actual, &params) {
                continue;
            }
            matching.push(overload);
            let this = self.substitution.apply(&declared_result, false);
            result = Some(match result {
                None => this,
                Some(before) if before == Type::Dyn || before == this => before,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                self.set(id, ty);
                self.record(id, function, matching);
            }
            None => self.no_overload(id, function.name, call.target.is_some(), &actual),
        }
    }

    fn no_overload(&mut self, id: Id, name: &str, method: bool, actual: &[Type]) {
        let actual: Vec<String> =
            actual.iter().map(|ty| self.substitution.apply(ty, true).to_string()).collect();
        let signature = match actual.split_first() {
            Some((target, args)) if method => format!("{target}.({})", args.join(", ")),
            _ => format!("({})", actual.join(", ")),
        };
        self.report(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
        self.set(id, Type::Error);
    }

    fn logical(&mut self, id: Id, function: &'static Function, call: &Call) {
        let mut fits = true;
        for arg in &call.args {
            let ty = self.get(arg);
            if !self.substitution.assign(&ty, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, &ty);
                fits = false;
            }
        }
        self.set(id, if fits { Type::Bool } else { Type::Error });
        self.record(id, function, function.overloads.iter().collect());
    }

    /// The overload's types, with variables of their own for this call.
    fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut own = Substitution::default();
        let mut names = BTreeSet::new();
        overload.params.iter().for_each(|param| param.variables(&mut names));
        overload.result.variables(&mut names);
        for name in names {
            let fresh = self.fresh();
            own.assign(&fresh, &Type::Param(name));
        }
        let params = overload.params.iter().map(|param| own.apply(param, false)).collect();
        (params, own.apply(&overload.result, false))
    }

    /// The type of a value written `?x`: what the optional holds.
    fn unwrap_optional(&mut self, expr: &Expr) -> Type {
        let ty = self.get(expr);
        let (inner, is_optional) = ty.unwrapped();
        if !is_optional && *inner != Type::Dyn {
            self.mismatch(expr.id, &Type::optional(inner.clone()), inner);
        }
        inner.clone()
    }

    fn list(&mut self, id: Id, elements: &mut [Expr], optionals: &[usize]) {
        let mut joined = None;
        for (at, element) in elements.iter_mut().enumerate() {
            self.check(element);
            let ty = if optionals.contains(&at) { self.unwrap_optional(element) } else { self.get(element) };
            joined = Some(self.join(element.id, joined, ty));
        }
        let items = joined.unwrap_or_else(|| self.fresh());
        self.set(id, Type::list(items));
    }

    fn map(&mut self, id: Id, entries: &mut [Entry]) {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.check(&mut entry.key);
            let ty = self.get(&entry.key);
            keys = Some(self.join(entry.key.id, keys, ty));
            self.check(&mut entry.value);
            let ty = if entry.optional { self.unwrap_optional(&entry.value) } else { self.get(&entry.value) };
            values = Some(self.join(entry.value.id, values, ty));
        }
        let keys = keys.unwrap_or_else(|| self.fresh());
        let values = values.unwrap_or_else(|| self.fresh());
        self.set(id, Type::map(keys, values));
    }

    /// The one type of the elements so far and the next.
    fn join(&mut self, at: Id, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.substitution.assign(&previous, &current) {
            return most_general(&previous, &current).clone();
        }
        self.mismatch(at, &previous, &current);
        Type::Error
    }

    fn message(&mut self, id: Id, name: &str, fields: &mut [Field]) {
        if !self.environment.makes(name) {
            self.undeclared(id, name);
            return;
        }
        for field in fields {
            self.check(&mut field.value);
            let ty = if field.optional { self.unwrap_optional(&field.value) } else { self.get(&field.value) };
            match self.environment.field_type(name, &field.name) {
                None => self.report(field.id, format!("undefined field '{}'", field.name)),
                Some(declared) => {
                    if !self.substitution.assign(&declared, &ty) {
                        let name = &field.name;
                        let text = format!(
                            "expected type of field '{name}' is '{declared}' but provided type is '{ty}'"
                        );
                        self.report(field.id, text);
                    }
                }
            }
        }
        self.set(id, Type::Object(name.into()));
    }

    fn comprehension(&mut self, id: Id, fold: &mut Comprehension) {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.known(&fold.range);
        let accumulated = self.get(&fold.init);
        let (first, second) = match &range {
            Type::List(items) if fold.variable2.is_some() => (Type::Int, Type::clone(items)),
            Type::List(items) => (Type::clone(items), Type::Error),
            Type::Map(keys, values) => (Type::clone(keys), Type::clone(values)),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.substitution.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or \
                     dynamic)"
                );
                self.report(fold.range.id, text);
                (Type::Error, Type::Error)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.accumulator.clone(), accumulated.clone()));
        let inner = self.scopes.len();
        self.scopes.push((fold.variable.clone(), first));
        if let Some(name) = &fold.variable2 {
            self.scopes.push((name.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert(&fold.step, &accumulated);
        self.scopes.truncate(inner);
        self.check(&mut fold.result);
        self.scopes.truncate(outer);
        let ty = self.known(&fold.result);
        self.set(id, ty);
    }

    fn assert(&mut self, expr: &Expr, expected: &Type) {
        let actual = self.get(expr);
        if !self.substitution.assign(expected, &actual) {
            self.mismatch(expr.id, expected, &actual);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// `a.b.c` if the expression is nothing but names.
fn qualified_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", qualified_name(operand)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
