//! The estimate: a walk over the checked tree that follows where data comes from, to know its bounds.

use std::collections::BTreeMap;

use super::calls::{self, Node};
use super::{LIST_COST, MAP_COST, MESSAGE_COST, Range};
use crate::cel::ast::{Call, Comprehension, Entry, Expr, Kind, Literal};
use crate::cel::checker::Checked;
use crate::cel::decl::{DeclKind, DeclType};
use crate::cel::environment::Environment;
use crate::cel::functions::Form;
use crate::cel::types::Type;

/// What evaluating the tree costs at least and at most.
pub(crate) fn estimate(root: &Expr, checked: &Checked, environment: &Environment) -> Range {
    Estimator { checked, environment, known: BTreeMap::new(), locals: Vec::new() }.cost(root)
}

/// Where in declared data a value comes from.
#[derive(Clone, Copy, Default)]
pub(super) enum Place<'a> {
    #[default]
    Nowhere,
    Data(&'a DeclType),
    /// A key of a map.
    Key,
}

/// Sizes of what is in a list or map.
#[derive(Clone, Copy)]
pub(super) struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

/// What was found out about a node.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    place: Place<'a>,
    size: Option<Range>,
    entries: Option<Entries>,
}

pub(super) struct Estimator<'a> {
    checked: &'a Checked,
    environment: &'a Environment,
    known: BTreeMap<usize, Known<'a>>,
    locals: Vec<(&'a str, Known<'a>)>,
}

impl<'a> Place<'a> {
    /// The declared bound.
    fn size(self) -> Option<Range> {
        match self {
            Self::Nowhere => None,
            Self::Data(decl) => Some(Range::new(0, decl.max_elements)),
            Self::Key => Some(Range::ZERO),
        }
    }

    /// Items of a list, values of a map.
    fn element(self) -> Self {
        match self {
            Self::Data(DeclType { kind: DeclKind::List(inner, _) | DeclKind::Map(inner), .. }) => {
                Self::Data(inner)
            }
            _ => Self::Nowhere,
        }
    }

    fn key(self) -> Self {
        match self {
            Self::Data(DeclType { kind: DeclKind::Map(_), .. }) => Self::Key,
            _ => Self::Nowhere,
        }
    }

    fn field(self, name: &str) -> Self {
        match self {
            Self::Data(decl) => decl.field(name).map_or(Self::Nowhere, |field| Self::Data(field)),
            _ => Self::Nowhere,
        }
    }
}

impl<'a> Estimator<'a> {
    fn type_of(&self, expr: &Expr) -> &'a Type {
        self.checked.types.get(expr.id).unwrap_or(&Type::Dyn)
    }

    fn local(&self, name: &str) -> Option<Known<'a>> {
        self.locals.iter().rev().find(|(local, _)| *local == name).map(|(_, known)| *known)
    }

    fn known(&self, expr: &Expr) -> Known<'a> {
        self.known.get(&expr.id).copied().unwrap_or_default()
    }

    fn place(&self, expr: &Expr) -> Place<'a> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.place;
        }
        self.known(expr).place
    }

    fn set_place(&mut self, expr: &Expr, place: Place<'a>) {
        self.known.entry(expr.id).or_default().place = place;
    }

    fn set_size(&mut self, expr: &Expr, size: Option<Range>) {
        if size.is_some() {
            self.known.entry(expr.id).or_default().size = size;
        }
    }

    fn set_entries(&mut self, expr: &Expr, entries: Option<Entries>) {
        if entries.is_some() {
            self.known.entry(expr.id).or_default().entries = entries;
        }
    }

    /// The size of a value, where anything is known about it.
    pub(super) fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.known(expr).size.or_else(|| written_size(expr)) {
            return Some(size);
        }
        if let Some(size) = self.place(expr).size() {
            self.set_size(expr, Some(size));
            return Some(size);
        }
        if self.type_of(expr).is_scalar() {
            return Some(Range::ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    pub(super) fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn entries(&self, expr: &Expr) -> Option<Entries> {
        let known = self.known(expr).entries;
        known.or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        })
    }

    fn cost(&mut self, expr: &'a Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) | Kind::Error => Range::ZERO,
            Kind::Ident(name) => {
                let place = match self.local(name) {
                    Some(local) => local.place,
                    None => match self.environment.variable(name.strip_prefix('.').unwrap_or(name)) {
                        Some(variable) => Place::Data(&variable.decl),
                        None => Place::Nowhere,
                    },
                };
                // Data of any type has no bounds.
                let place = match place {
                    Place::Data(decl) if matches!(decl.kind, DeclKind::Dyn | DeclKind::Other(_)) => {
                        Place::Nowhere
                    }
                    other => other,
                };
                self.set_place(expr, place);
                Range::ONE
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements, _) => self.list(expr, elements),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct(_, fields) => {
                let sum = fields.iter().fold(Range::ZERO, |sum, field| sum.plus(self.cost(&field.value)));
                sum.plus(Range::fixed(MESSAGE_COST))
            }
            Kind::Comprehension(fold) => self.comprehension(expr, fold),
        }
    }

    fn select(&mut self, expr: &'a Expr, operand: &'a Expr, field: &str, test: bool) -> Range {
        let cost = self.cost(operand);
        if test {
            return cost;
        }
        let place = self.place(operand).field(field);
        self.set_place(expr, place);
        match self.type_of(operand) {
            Type::Map(..) | Type::Object(_) | Type::Param(_) => cost.plus(Range::ONE),
            _ => cost,
        }
    }

    fn list(&mut self, expr: &'a Expr, elements: &'a [Expr]) -> Range {
        let mut sum = Range::fixed(LIST_COST);
        let mut size = if elements.is_empty() { Range::ZERO } else { Range::new(u64::MAX, 0) };
        for element in elements {
            sum = sum.plus(self.cost(element));
            size = size.union(self.size_or_unknown(element));
        }
        self.set_entries(expr, Some(Entries { is_list: true, key: Range::ONE, value: size }));
        sum
    }

    fn map(&mut self, expr: &'a Expr, entries: &'a [Entry]) -> Range {
        let mut sum = Range::fixed(MAP_COST);
        let empty = if entries.is_empty() { Range::ZERO } else { Range::new(u64::MAX, 0) };
        let (mut key, mut value) = (empty, empty);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.set_entries(expr, Some(Entries { is_list: false, key, value }));
        sum
    }

    fn call(&mut self, expr: &'a Expr, call: &'a Call) -> Range {
        if call.function == "dyn" {
            let Some(arg) = call.args.first() else { return Range::ZERO };
            let cost = self.cost(arg).plus(Range::ONE);
            self.copy_sizes(expr, arg);
            return cost;
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        for arg in &call.args {
            self.size(arg);
        }
        let Some(Some(resolved)) = self.checked.calls.get(expr.id) else { return Range::ZERO };
        let target_cost = match &call.target {
            Some(target) => {
                let cost = self.cost(target);
                self.size(target);
                cost
            }
            None => Range::ZERO,
        };
        let args_cost = costs.iter().fold(Range::ZERO, |sum, cost| sum.plus(*cost));
        let mut worst = Range::new(u64::MAX, 0);
        let mut result: Option<Range> = None;
        for overload in &resolved.overloads {
            let (cost, size) = match resolved.function.form {
                Form::And | Form::Or => {
                    let least = costs.first().map_or(0, |left| left.min);
                    (Range::new(least, args_cost.max), None)
                }
                Form::Conditional => self.conditional(expr, call, &costs),
                _ => {
                    self.joined_entries(expr, call, overload.id);
                    let (cost, size) = calls::estimate(self, resolved.function.name, overload.id, call);
                    (cost.plus(args_cost), size)
                }
            };
            worst = worst.union(cost);
            if let Some(size) = size {
                result = Some(result.map_or(size, |before| before.union(size)));
            }
            if matches!(overload.id, "index_list" | "index_map")
                && let Some(operand) = call.args.first()
            {
                result = self.entries(operand).map(|entries| entries.value);
                let place = self.place(operand).element();
                self.set_place(expr, place);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        self.set_size(expr, result);
        target_cost.plus(worst)
    }

    fn conditional(&mut self, expr: &Expr, call: &Call, costs: &[Range]) -> (Range, Option<Range>) {
        let ([_, yes, no], [condition, yes_cost, no_cost]) = (&call.args[..], costs) else {
            return (Range::ZERO, None);
        };
        let size = self.size_or_unknown(yes).union(self.size_or_unknown(no));
        let entries = union(self.entries(yes), self.entries(no));
        self.set_entries(expr, entries);
        (condition.plus(yes_cost.union(*no_cost)), Some(size))
    }

    /// Of two lists or strings added, what the elements of the result are.
    fn joined_entries(&mut self, expr: &Expr, call: &Call, overload: &str) {
        if let ("add_list" | "add_string" | "add_bytes", [left, right]) = (overload, &call.args[..]) {
            let entries = union(self.entries(left), self.entries(right));
            self.set_entries(expr, entries);
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        let (size, entries) = (self.size(from), self.entries(from));
        self.set_size(to, size);
        self.set_entries(to, entries);
    }

    fn comprehension(&mut self, expr: &'a Expr, fold: &'a Comprehension) -> Range {
        if is_bind(fold) {
            let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
            self.push_accumulator(fold);
            let sum = sum.plus(self.cost(&fold.result));
            self.locals.pop();
            self.copy_sizes(expr, &fold.result);
            return sum;
        }
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let outer = self.locals.len();
        self.push_variables(fold);
        let turn = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(outer);
        let sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let turns = self.size_or_unknown(&fold.range);
        let sum = sum.plus(turns.times(turn));
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(expr, size);
            }
            Kind::List(..) | Kind::Map(_) => {
                self.set_size(expr, Some(turns));
                let entries = self.entries(&fold.step);
                self.set_entries(expr, entries);
            }
            _ => {}
        }
        sum
    }

    fn push_accumulator(&mut self, fold: &'a Comprehension) {
        let init = &fold.init;
        let known = Known { place: self.place(init), size: self.size(init), entries: self.entries(init) };
        self.locals.push((&fold.accumulator, known));
    }

    fn push_variables(&mut self, fold: &'a Comprehension) {
        let range = &fold.range;
        let (place, entries) = (self.place(range), self.entries(range));
        let is_list = match entries {
            Some(entries) => entries.is_list,
            None => matches!(self.type_of(range), Type::List(_)),
        };
        let key = Known {
            place: if is_list { Place::Nowhere } else { place.key() },
            size: entries.map(|entries| entries.key),
            entries: None,
        };
        let value =
            Known { place: place.element(), size: entries.map(|entries| entries.value), entries: None };
        match &fold.variable2 {
            Some(second) => {
                self.locals.push((&fold.variable, key));
                self.locals.push((second, value));
            }
            None => self.locals.push((&fold.variable, if is_list { value } else { key })),
        }
    }

    /// A list's items as a node: their type, and their bound if it is declared.
    pub(super) fn items(&mut self, list: &Expr) -> Option<Node<'a>> {
        let ty = match self.type_of(list) {
            Type::List(items) | Type::Optional(items) => items,
            Type::Map(keys, _) => keys,
            _ => return None,
        };
        let size = self.place(list).element().size().unwrap_or(Range::UNKNOWN);
        Some(Node { ty, size })
    }

    pub(super) fn node_type(&self, expr: &Expr) -> &'a Type {
        self.type_of(expr)
    }
}

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries { is_list: a.is_list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

/// A loop over nothing, which only gives a value a name.
fn is_bind(fold: &Comprehension) -> bool {
    matches!(&fold.range.kind, Kind::List(elements, _) if elements.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
}

/// The size of what stands in the expression itself.
fn written_size(expr: &Expr) -> Option<Range> {
    Some(Range::fixed(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(elements, _) => elements.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    }))
}
