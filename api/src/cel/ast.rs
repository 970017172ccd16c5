//! The tree of an expression, as the parser makes it and the checker completes it.
//!
//! Every node has an id, handed out in reading order; what is known about a node (its place in the text,
//! its type, the function it calls) stands in tables by id. Macros are already expanded here.

/// Number of a node.
pub(crate) type Id = usize;

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    /// `operand.field`; with `test`, `has(operand.field)`.
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
    },
    Call(Call),
    /// Elements, and the indices of those written `?x`.
    List(Vec<Expr>, Vec<usize>),
    Map(Vec<Entry>),
    /// A message literal; Kubernetes has no type that can be made this way except in mutation.
    Struct(String, Vec<Field>),
    Comprehension(Box<Comprehension>),
    /// Stands where a syntax error was.
    Error,
}

/// A call of a function or operator.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) target: Option<Box<Expr>>,
    pub(crate) args: Vec<Expr>,
}

/// `key: value` in a map literal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// `name: value` in a message literal.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
    pub(crate) id: Id,
}

/// The one loop of the language: folds a range into an accumulator.
#[derive(Debug, Clone)]
pub(crate) struct Comprehension {
    pub(crate) variable: String,
    /// The second variable, if there are two: the first is then the key or index.
    pub(crate) variable2: Option<String>,
    pub(crate) range: Expr,
    pub(crate) accumulator: String,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(std::sync::Arc<[u8]>),
}

/// Name of the accumulator in every macro but `bind`; no user can write it.
pub(crate) const ACCUMULATOR: &str = "@result";

/// Operators under the names the function tables know.
pub(crate) mod operators {
    pub(crate) const CONDITIONAL: &str = "_?_:_";
    pub(crate) const AND: &str = "_&&_";
    pub(crate) const OR: &str = "_||_";
    pub(crate) const NOT: &str = "!_";
    pub(crate) const NEGATE: &str = "-_";
    pub(crate) const ADD: &str = "_+_";
    pub(crate) const EQUALS: &str = "_==_";
    pub(crate) const NOT_EQUALS: &str = "_!=_";
    pub(crate) const INDEX: &str = "_[_]";
    pub(crate) const OPT_INDEX: &str = "_[?_]";
    pub(crate) const OPT_SELECT: &str = "_?._";
    pub(crate) const IN: &str = "@in";
    pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";

    /// The function of a binary operator, and how tightly it binds.
    pub(crate) fn binary(text: &str) -> Option<(&'static str, u8)> {
        Some(match text {
            "<" => ("_<_", 1),
            "<=" => ("_<=_", 1),
            ">=" => ("_>=_", 1),
            ">" => ("_>_", 1),
            "==" => (EQUALS, 1),
            "!=" => (NOT_EQUALS, 1),
            "in" => (IN, 1),
            "+" => (ADD, 2),
            "-" => ("_-_", 2),
            "*" => ("_*_", 3),
            "/" => ("_/_", 3),
            "%" => ("_%_", 3),
            _ => return None,
        })
    }
}
