//! Macros: calls that stand for a comprehension or a presence test.
//!
//! Those of the language, of the optional types, of the list library and of the two-variable
//! comprehensions, as Kubernetes enables them. (`cel.bind` is not enabled there.)

use super::super::ast::{ACCUMULATOR, Call, Comprehension, Entry, Expr, Field, Id, Kind, Literal, operators};
use super::{Parser, call};

/// The other name an accumulator has had; refused as a variable.
const OLD_ACCUMULATOR: &str = "__result__";
const SORT_INPUT: &str = "@__sortBy_input__";

/// Where and why an expansion is refused.
type Refusal = (Id, String);

impl Parser<'_> {
    /// The call, or what it expands to if it is a macro.
    pub(super) fn call_or_macro(
        &mut self,
        id: Id,
        function: String,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Expr {
        let offset = self.offset_of(id);
        let is_macro = match (&target, args.len()) {
            (None, 1) => function == "has",
            (Some(_), 2) => matches!(
                function.as_str(),
                "all"
                    | "exists"
                    | "exists_one"
                    | "existsOne"
                    | "map"
                    | "filter"
                    | "optMap"
                    | "optFlatMap"
                    | "sortBy"
            ),
            (Some(_), 3) => matches!(
                function.as_str(),
                "map"
                    | "all"
                    | "exists"
                    | "exists_one"
                    | "existsOne"
                    | "transformList"
                    | "transformMap"
                    | "transformMapEntry"
            ),
            (Some(_), 4) => {
                matches!(function.as_str(), "transformList" | "transformMap" | "transformMapEntry")
            }
            _ => false,
        };
        if !is_macro {
            return Expr { id, kind: Kind::Call(Call { function, target: target.map(Box::new), args }) };
        }
        let mut maker = Maker { parser: self, offset };
        let expanded = match target {
            None => maker.has(args),
            Some(target) => maker.receiver(&function, target, args),
        };
        expanded.unwrap_or_else(|(at, text)| {
            let offset = self.offset_of(at);
            self.issues.report(Some(offset), text);
            self.node(offset, Kind::Error)
        })
    }
}

/// Makes nodes at the place of the macro's call.
struct Maker<'p, 'a> {
    parser: &'p mut Parser<'a>,
    offset: usize,
}

/// The variable part of a fold: initial value, condition, step, result.
struct Fold {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Maker<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.node(self.offset, kind)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }

    fn accu(&mut self) -> Expr {
        self.node(Kind::Ident(ACCUMULATOR.to_owned()))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        let id = self.parser.id(self.offset);
        call(id, function, args)
    }

    fn method(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Call { function: function.to_owned(), target: Some(Box::new(target)), args }))
    }

    fn has(&mut self, args: Vec<Expr>) -> Result<Expr, Refusal> {
        let Some(argument) = args.into_iter().next() else { return Ok(self.node(Kind::Error)) };
        match argument.kind {
            Kind::Select { operand, field, test: false } => {
                Ok(self.node(Kind::Select { operand, field, test: true }))
            }
            _ => Err((argument.id, "invalid argument to has() macro".to_owned())),
        }
    }

    fn receiver(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Refusal> {
        // The last arguments first: what remains are the variables.
        let body = args.pop().unwrap_or(Expr { id: 0, kind: Kind::Error });
        match function {
            "optMap" | "optFlatMap" => return self.optional_map(function, target, &args, body),
            "sortBy" => return self.sort_by(target, args, body),
            "map" | "filter" => {
                let filter = if args.len() == 2 { args.pop() } else { None };
                let variable = self.loop_variable(&args, "argument is not an identifier")?;
                return Ok(self.map_or_filter(function, target, variable, filter, (args, body)));
            }
            _ => {}
        }
        let filter = if args.len() == 3 { args.pop() } else { None };
        if args.len() == 1 {
            let variable = self.loop_variable(&args, "argument must be a simple name")?;
            let fold = self.quantifier(function, body);
            return Ok(self.comprehension(target, (variable, None), fold));
        }
        let (first, second) = two_variables(&args)?;
        let fold = if function.starts_with("transform") {
            self.transform(function, &first, filter, body)
        } else {
            self.quantifier(function, body)
        };
        Ok(self.comprehension(target, (first, Some(second)), fold))
    }

    fn comprehension(&mut self, range: Expr, variables: (String, Option<String>), fold: Fold) -> Expr {
        let (variable, variable2) = variables;
        let accumulator = ACCUMULATOR.to_owned();
        let Fold { init, condition, step, result } = fold;
        self.node(Kind::Comprehension(Box::new(Comprehension {
            variable,
            variable2,
            range,
            accumulator,
            init,
            condition,
            step,
            result,
        })))
    }

    fn loop_variable(&mut self, args: &[Expr], refusal: &str) -> Result<String, Refusal> {
        let Some(first) = args.first() else { return Err((0, refusal.to_owned())) };
        let Kind::Ident(name) = &first.kind else { return Err((first.id, refusal.to_owned())) };
        if name == OLD_ACCUMULATOR {
            let text = "iteration variable overwrites accumulator variable";
            return Err((first.id, text.to_owned()));
        }
        Ok(name.clone())
    }

    fn quantifier(&mut self, function: &str, predicate: Expr) -> Fold {
        let accu = self.accu();
        match function {
            "all" => {
                let init = self.literal(Literal::Bool(true));
                let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![accu]);
                let accu = self.accu();
                let step = self.call(operators::AND, vec![accu, predicate]);
                Fold { init, condition, step, result: self.accu() }
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false));
                let not = self.call(operators::NOT, vec![accu]);
                let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![not]);
                let accu = self.accu();
                let step = self.call(operators::OR, vec![accu, predicate]);
                Fold { init, condition, step, result: self.accu() }
            }
            _ => {
                let init = self.literal(Literal::Int(0));
                let condition = self.literal(Literal::Bool(true));
                let one = self.literal(Literal::Int(1));
                let more = self.call(operators::ADD, vec![accu, one]);
                let same = self.accu();
                let step = self.call(operators::CONDITIONAL, vec![predicate, more, same]);
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let result = self.call(operators::EQUALS, vec![accu, one]);
                Fold { init, condition, step, result }
            }
        }
    }

    /// `accu` extended by `step`, or left as it is where the filter does not hold.
    fn filtered(&mut self, filter: Option<Expr>, step: Expr) -> Expr {
        match filter {
            None => step,
            Some(filter) => {
                let same = self.accu();
                self.call(operators::CONDITIONAL, vec![filter, step, same])
            }
        }
    }

    fn appended(&mut self, element: Expr) -> Expr {
        let accu = self.accu();
        let list = self.node(Kind::List(vec![element], Vec::new()));
        self.call(operators::ADD, vec![accu, list])
    }

    fn map_or_filter(
        &mut self,
        function: &str,
        target: Expr,
        variable: String,
        filter: Option<Expr>,
        (mut args, body): (Vec<Expr>, Expr),
    ) -> Expr {
        let init = self.node(Kind::List(Vec::new(), Vec::new()));
        let condition = self.literal(Literal::Bool(true));
        let step = match (function, args.pop()) {
            ("filter", Some(variable)) => {
                let step = self.appended(variable);
                self.filtered(Some(body), step)
            }
            _ => {
                let step = self.appended(body);
                self.filtered(filter, step)
            }
        };
        let result = self.accu();
        self.comprehension(target, (variable, None), Fold { init, condition, step, result })
    }

    fn transform(&mut self, function: &str, key: &str, filter: Option<Expr>, body: Expr) -> Fold {
        let list = function == "transformList";
        let init = match list {
            true => self.node(Kind::List(Vec::new(), Vec::new())),
            false => self.node(Kind::Map(Vec::new())),
        };
        let condition = self.literal(Literal::Bool(true));
        let step = match function {
            "transformList" => self.appended(body),
            "transformMap" => {
                let (accu, key) = (self.accu(), self.node(Kind::Ident(key.to_owned())));
                self.call(operators::MAP_INSERT, vec![accu, key, body])
            }
            _ => {
                let accu = self.accu();
                self.call(operators::MAP_INSERT, vec![accu, body])
            }
        };
        let step = self.filtered(filter, step);
        Fold { init, condition, step, result: self.accu() }
    }

    /// A value bound to a name inside `result`: a loop over nothing.
    fn bind(&mut self, name: &str, value: Expr, result: Expr) -> Expr {
        let range = self.node(Kind::List(Vec::new(), Vec::new()));
        let condition = self.literal(Literal::Bool(false));
        let step = self.node(Kind::Ident(name.to_owned()));
        self.node(Kind::Comprehension(Box::new(Comprehension {
            variable: "#unused".to_owned(),
            variable2: None,
            range,
            accumulator: name.to_owned(),
            init: value,
            condition,
            step,
            result,
        })))
    }

    fn optional_map(
        &mut self,
        function: &str,
        target: Expr,
        args: &[Expr],
        body: Expr,
    ) -> Result<Expr, Refusal> {
        let Some(Expr { id, kind: Kind::Ident(name) }) = args.first() else {
            let at = args.first().map_or(0, |first| first.id);
            return Err((at, format!("{function}() variable name must be a simple identifier")));
        };
        let _ = id;
        let copy = self.copy(&target);
        let value = self.method("value", copy, Vec::new());
        let bound = self.bind(name, value, body);
        let bound = if function == "optMap" { self.call("optional.of", vec![bound]) } else { bound };
        let has = self.method("hasValue", target, Vec::new());
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(operators::CONDITIONAL, vec![has, bound, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>, body: Expr) -> Result<Expr, Refusal> {
        if !matches!(
            target.kind,
            Kind::List(..) | Kind::Select { .. } | Kind::Ident(_) | Kind::Comprehension(_) | Kind::Call(_)
        ) {
            let text = "sortBy can only be applied to a list, identifier, comprehension, call or select \
                        expression";
            return Err((target.id, text.to_owned()));
        }
        let variable = self.loop_variable(&args, "argument is not an identifier")?;
        let input = self.node(Kind::Ident(SORT_INPUT.to_owned()));
        let keys = self.map_or_filter("map", input, variable, None, (Vec::new(), body));
        let input = self.node(Kind::Ident(SORT_INPUT.to_owned()));
        let sorted = self.method("@sortByAssociatedKeys", input, vec![keys]);
        Ok(self.bind(SORT_INPUT, target, sorted))
    }

    /// The same tree under ids of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let offset = self.parser.offset_of(expr.id);
        let id = self.parser.id(offset);
        let kind = match &expr.kind {
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: Box::new(self.copy(operand)), field: field.clone(), test: *test }
            }
            Kind::Call(call) => Kind::Call(Call {
                function: call.function.clone(),
                target: call.target.as_ref().map(|target| Box::new(self.copy(target))),
                args: self.copies(&call.args),
            }),
            Kind::List(elements, optionals) => Kind::List(self.copies(elements), optionals.clone()),
            Kind::Map(entries) => Kind::Map(entries.iter().map(|entry| self.copy_entry(entry)).collect()),
            Kind::Struct(name, fields) => {
                Kind::Struct(name.clone(), fields.iter().map(|field| self.copy_field(field)).collect())
            }
            Kind::Comprehension(fold) => Kind::Comprehension(Box::new(Comprehension {
                variable: fold.variable.clone(),
                variable2: fold.variable2.clone(),
                range: self.copy(&fold.range),
                accumulator: fold.accumulator.clone(),
                init: self.copy(&fold.init),
                condition: self.copy(&fold.condition),
                step: self.copy(&fold.step),
                result: self.copy(&fold.result),
            })),
            leaf => leaf.clone(),
        };
        Expr { id, kind }
    }

    fn copies(&mut self, exprs: &[Expr]) -> Vec<Expr> {
        exprs.iter().map(|expr| self.copy(expr)).collect()
    }

    fn copy_entry(&mut self, entry: &Entry) -> Entry {
        Entry { key: self.copy(&entry.key), value: self.copy(&entry.value), optional: entry.optional }
    }

    fn copy_field(&mut self, field: &Field) -> Field {
        let offset = self.parser.offset_of(field.id);
        Field {
            name: field.name.clone(),
            value: self.copy(&field.value),
            optional: field.optional,
            id: self.parser.id(offset),
        }
    }
}

/// The names of a loop over keys and values.
fn two_variables(args: &[Expr]) -> Result<(String, String), Refusal> {
    let name = |at: usize| match args.get(at) {
        Some(Expr { kind: Kind::Ident(name), id }) => Ok((name.clone(), *id)),
        other => Err((other.map_or(0, |arg| arg.id), "argument must be a simple name".to_owned())),
    };
    let ((first, first_id), (second, second_id)) = (name(0)?, name(1)?);
    if first == second {
        return Err((second_id, format!("duplicate variable name: {first}")));
    }
    for (name, id) in [(&first, first_id), (&second, second_id)] {
        if name == OLD_ACCUMULATOR {
            return Err((id, "iteration variable overwrites accumulator variable".to_owned()));
        }
    }
    Ok((first, second))
}
