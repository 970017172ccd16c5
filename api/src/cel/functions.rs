//! Every function and operator an expression may call: names, overloads, types. What they do stands in
//! [`super::library`].
//!
//! The set is that of Kubernetes 1.36 (`apiserver/pkg/cel/environment/base.go`): the standard library,
//! optionals, strings v2, sets, lists of Kubernetes and lists v3, two-variable comprehensions, URL, regex,
//! quantity, IP, CIDR, format, semver v1, authorizer with selectors, JSON patch.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::library::{self, Run};
use super::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    /// Called on a value: the first parameter is the target.
    pub(crate) member: bool,
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
}

/// A name, the ways to call it, and what it does.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
    pub(crate) form: Form,
}

/// How a call is evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// All arguments first, then the function.
    Strict(Run),
    And,
    Or,
    Conditional,
    NotStrictlyFalse,
    /// `a.or(b)`, `a.orValue(b)`: the argument only if there is no value.
    OptionalOr,
    Index {
        optional: bool,
    },
    OptionalSelect,
}

/// The function of this name.
pub(crate) fn lookup(name: &str) -> Option<&'static Function> {
    TABLE.get(name.strip_prefix('.').unwrap_or(name))
}

static TABLE: LazyLock<BTreeMap<&'static str, Function>> = LazyLock::new(|| {
    let mut table = BTreeMap::new();
    for line in
        include_str!("functions.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
    {
        // A malformed line is a mistake in this crate; a test parses every line.
        let Some((name, overload)) = parse(line) else { continue };
        let Some(form) = library::form(name) else { continue };
        let function = table.entry(name).or_insert_with(|| Function { name, overloads: Vec::new(), form });
        function.overloads.push(overload);
    }
    table
});

/// `name id target.(param, param) result`; without `target.` for a function that is not a method.
fn parse(line: &'static str) -> Option<(&'static str, Overload)> {
    let (name, rest) = line.split_once(' ')?;
    let (id, rest) = rest.split_once(' ')?;
    // The parameters start at the `(` that is the first character or follows a dot.
    let open = if rest.starts_with('(') { 0 } else { rest.find(".(")? + 1 };
    let target = rest.get(..open)?.strip_suffix('.');
    let close = rest.rfind(") ")?;
    let written = rest.get(open + 1..close)?;
    let mut params: Vec<Type> = target.map(Type::parse).into_iter().collect();
    params.extend(written.split(", ").filter(|param| !param.is_empty()).map(Type::parse));
    let result = Type::parse(rest.get(close + 2..)?);
    Some((name, Overload { id, member: target.is_some(), params, result }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_parses_and_ids_are_unique() {
        let mut ids = BTreeMap::new();
        for line in include_str!("functions.txt").lines() {
            if line.is_empty() || line.starts_with("# ") {
                continue;
            }
            let (name, overload) = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert!(lookup(name).is_some(), "{name} is not implemented");
            let before = ids.insert((name, overload.id), line);
            assert_eq!(before, None, "{line}");
        }
        let join = lookup("join").unwrap();
        assert_eq!(join.overloads[1].params, [Type::list(Type::String), Type::String]);
        assert_eq!(lookup("type").unwrap().overloads[0].result.to_string(), "type(A)");
    }
}
