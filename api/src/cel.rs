//! The Common Expression Language as Kubernetes 1.36 speaks it: CRD validation rules, admission policies,
//! match conditions, authentication configuration, device selectors.
//!
//! Entry points: [`DeclType::from_schema`] makes a type of a schema, [`Environment`] declares variables of
//! such types, [`Environment::compile`] makes a [`Program`], [`Program::evaluate`] runs it on [`Bindings`].
//!
//! The parser, checker and evaluator are our own and follow cel-go. The `cel` crate (0.15) was read and not
//! taken: it has no types, no overloads and no costs, converts data into its own tree before it looks at it,
//! and its errors are worded differently; what would remain of it is an ANTLR parser.
//!
//! Invariants. Evaluation is a pure function of program and bindings: no clock, no IO. It always ends: every
//! step is charged to the budget, and running out of budget is an error nothing absorbs. Nesting is bounded
//! when parsing, so no walk exhausts the stack. Costs and error texts are part of the API: upstream's.

pub mod admission;
mod ast;
mod authorizer;
mod checker;
mod cost;
mod decl;
mod environment;
mod error;
mod escaping;
mod eval;
mod extension;
mod functions;
mod instant;
mod lexer;
mod library;
pub mod mutation;
mod parser;
mod program;
mod source;
mod types;
mod value;

pub use authorizer::{Authorizer, Check, Decision, ResourceCheck, ServiceAccount};
pub use cost::{
    ESTIMATED_COST_LIMIT, ESTIMATED_CRD_COST_LIMIT, PER_CALL_LIMIT, RUNTIME_BUDGET,
    RUNTIME_BUDGET_MATCH_CONDITIONS, Range,
};
pub use decl::{DeclType, MAX_REQUEST_BYTES};
pub use environment::Environment;
pub use error::{CompileError, EvalError};
pub use escaping::{escape, unescape};
pub use extension::Extension;
pub use instant::Instant;
pub use program::{Bindings, Outcome, Program};
pub use types::Type;
pub use value::{Entries, Eval, Fields, Key, List, Map, Text, Value};
