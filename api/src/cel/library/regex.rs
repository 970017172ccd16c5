//! `matches`, `find`, `findAll`: RE2 syntax, in time linear in the text.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::{Args, Run};
use crate::cel::error::EvalError;
use crate::cel::value::{Eval, Value};

/// Compiled size of a pattern; the danger is a pattern that repeats repetitions.
const MAX_COMPILED_BYTES: usize = 4 << 20;

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "matches" => matches,
        "find" => find,
        "findAll" => find_all,
        _ => return None,
    })
}

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build()
}

fn pattern<'e>(known: Option<&'e Regex>, text: &str) -> Eval<Cow<'e, Regex>> {
    match known {
        Some(regex) => Ok(Cow::Borrowed(regex)),
        None => compile(text).map(Cow::Owned).map_err(|error| {
            // The parser of patterns explains in several lines; the last says what is wrong.
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            EvalError::new(format!("error parsing regexp: {what}"))
        }),
    }
}

fn illegal(error: &EvalError) -> EvalError {
    EvalError::new(format!("Illegal regex: {error}"))
}

fn matches<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [text, regex] = args.texts()?;
    Ok(Value::Bool(pattern(args.regex, regex)?.is_match(text)))
}

fn find<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [text, regex] = args.texts()?;
    let regex = pattern(args.regex, regex).map_err(|error| illegal(&error))?;
    Ok(Value::text(regex.find(text).map_or("", |found| found.as_str())))
}

fn find_all<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let (text, regex, limit) = match &args.values[..] {
        [Value::String(text), Value::String(regex)] => (text, regex, -1),
        [Value::String(text), Value::String(regex), Value::Int(limit)] => (text, regex, *limit),
        _ => return args.refuse(),
    };
    let regex = pattern(args.regex, regex).map_err(|error| illegal(&error))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str()));
    Ok(Value::list(found.collect()))
}
