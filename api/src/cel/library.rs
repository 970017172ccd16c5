//! What functions do. Types are checked where they are declared ([`super::functions`]); a value of another
//! type gets here only through `dyn` and is refused with `no such overload`.

pub(crate) mod arithmetic;
pub(crate) mod authz;
pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod format;
pub(crate) mod go;
pub(crate) mod lists;
pub(crate) mod network;
pub(crate) mod optionals;
pub(crate) mod printf;
pub(crate) mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
pub(crate) mod sets;
pub(crate) mod strings;
pub(crate) mod time;
pub(crate) mod url;

use ::regex::Regex;

use super::ast::operators;
use super::error::EvalError;
use super::functions::Form;
use super::value::{Eval, Value};

/// Larger results are refused as if the budget were used up: most functions are charged by what goes in.
const MAX_RESULT_BYTES: usize = 32 << 20;
/// As [`MAX_RESULT_BYTES`], for lists.
const MAX_RESULT_ITEMS: usize = 1 << 20;

/// A function.
pub(crate) type Run = for<'e, 'a> fn(Args<'e, 'a>) -> Eval<Value<'a>>;

/// The arguments of a call, the target first.
pub(crate) struct Args<'e, 'a> {
    pub(crate) name: &'static str,
    /// The overload, if the types left only one.
    pub(crate) overload: &'static str,
    pub(crate) values: Vec<Value<'a>>,
    /// The pattern, where it is a constant.
    pub(crate) regex: Option<&'e Regex>,
}

impl<'a> Args<'_, 'a> {
    /// The refusal of these arguments.
    fn refuse<T>(&self) -> Eval<T> {
        let types: Vec<String> = self.values.iter().map(Value::type_name).collect();
        Err(EvalError::new(format!("no such overload: {}({})", self.name, types.join(", "))))
    }

    fn texts<const N: usize>(&self) -> Eval<[&str; N]> {
        let mut out = [""; N];
        if self.values.len() != N {
            return self.refuse();
        }
        for (slot, value) in out.iter_mut().zip(&self.values) {
            match value.as_str() {
                Some(text) => *slot = text,
                None => return self.refuse(),
            }
        }
        Ok(out)
    }
}

fn check_size(bytes: usize) -> Eval<()> {
    if bytes > MAX_RESULT_BYTES { Err(EvalError::over_budget()) } else { Ok(()) }
}

fn check_items(items: usize) -> Eval<()> {
    if items > MAX_RESULT_ITEMS { Err(EvalError::over_budget()) } else { Ok(()) }
}

/// Whether a function converts one value to a type.
pub(crate) fn is_conversion(name: &str) -> bool {
    matches!(
        name,
        "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint"
    )
}

/// How a function of this name is evaluated; none if there is no such function.
pub(crate) fn form(name: &str) -> Option<Form> {
    Some(match name {
        operators::AND => Form::And,
        operators::OR => Form::Or,
        operators::CONDITIONAL => Form::Conditional,
        operators::NOT_STRICTLY_FALSE => Form::NotStrictlyFalse,
        operators::INDEX => Form::Index { optional: false },
        operators::OPT_INDEX => Form::Index { optional: true },
        operators::OPT_SELECT => Form::OptionalSelect,
        "or" | "orValue" => Form::OptionalOr,
        _ => Form::Strict(function(name)?),
    })
}

fn function(name: &str) -> Option<Run> {
    arithmetic::function(name)
        .or_else(|| compare::function(name))
        .or_else(|| convert::function(name))
        .or_else(|| strings::function(name))
        .or_else(|| lists::function(name))
        .or_else(|| sets::function(name))
        .or_else(|| optionals::function(name))
        .or_else(|| time::function(name))
        .or_else(|| regex::function(name))
        .or_else(|| url::function(name))
        .or_else(|| quantity::function(name))
        .or_else(|| semver::function(name))
        .or_else(|| network::function(name))
        .or_else(|| format::function(name))
        .or_else(|| authz::function(name))
}

#[cfg(test)]
mod tests;
