//! Custom resources, the pure part: one version of a CustomResourceDefinition becomes a row of the table
//! of kinds, with a schema of its own.
//!
//! Entry point: [`CustomVersion`]. Reading order: `node` (the structural schema, read once from the CRD's
//! JSON), `arena` (the same for every walk that works on [`crate::schema::Schema`]).

mod arena;
mod node;

use serde_json::Value;

use crate::schema::{DefId, Facts, Schema};

pub use node::{Additional, JsonType, Node};

/// Media types a custom object may be sent in, as the 415 names them.
pub const ACCEPTED: &str = "application/json, application/yaml";

/// What a served version of a custom resource knows about its objects.
#[derive(Debug)]
pub struct CustomVersion {
    /// The structural schema.
    pub root: Node,
    /// `openAPIV3Schema` as the CRD has it; null if it has none.
    pub open_api: Value,
    facts: Facts,
    definition: DefId,
}

impl CustomVersion {
    /// Reads a CRD version's `openAPIV3Schema`. `definition` names the kind among published definitions.
    pub fn new(definition: &str, open_api: &Value) -> Self {
        let root = Node::read(open_api);
        let (facts, id) = arena::build(definition, &root);
        Self { root, open_api: open_api.clone(), facts, definition: id }
    }

    /// What every walk sees.
    pub fn schema(&self) -> Schema<'_> {
        self.facts.of(self.definition)
    }
}
