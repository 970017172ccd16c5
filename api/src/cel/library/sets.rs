//! Lists as sets: `sets.contains`, `sets.equivalent`, `sets.intersects`.

use super::compare::equal;
use super::{Args, Run};
use crate::cel::value::{Eval, List, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "sets.contains" => |args| on_lists(args, |list, part| contains_all(list, part)),
        "sets.equivalent" => |args| on_lists(args, |a, b| Ok(contains_all(a, b)? && contains_all(b, a)?)),
        "sets.intersects" => |args| on_lists(args, intersects),
        _ => return None,
    })
}

fn on_lists<'a>(args: Args<'_, 'a>, holds: fn(&List<'a>, &List<'a>) -> Eval<bool>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(holds(a, b)?)),
        _ => args.refuse(),
    }
}

fn contains<'a>(list: &List<'a>, item: &Value<'a>) -> Eval<bool> {
    for other in list.iter() {
        if equal(&other?, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains_all<'a>(list: &List<'a>, part: &List<'a>) -> Eval<bool> {
    for item in part.iter() {
        if !contains(list, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(a: &List<'a>, b: &List<'a>) -> Eval<bool> {
    for item in a.iter() {
        if contains(b, &item?)? {
            return Ok(true);
        }
    }
    Ok(false)
}
