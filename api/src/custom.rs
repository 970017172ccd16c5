//! Custom resources, the pure part: a CustomResourceDefinition becomes rows of the table of kinds, one for
//! each served version, with schemas of their own.
//!
//! Entry points: [`CustomResource::read`] and [`CustomVersion`]. Reading order: `node` (the structural
//! schema, read once from the CRD's JSON), `arena` (the same for every walk that works on
//! [`crate::schema::Schema`]), `defaulting`.

mod arena;
mod checks;
pub mod conversion;
pub mod defaulting;
pub mod definition;
pub mod establish;
mod formats;
mod node;
mod rows;
mod rules;
pub mod validation;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::pruning;
use crate::schema::{DefId, Facts, Schema};
use crate::status::Cause;
use rules::Rules;

pub use checks::{Checks, compile};
pub use formats::RECOGNISED;
pub use node::{Additional, JsonType, Node};
pub use rows::{ScalePaths, rows};

/// Media types a custom object may be sent in, as the 415 names them.
pub const ACCEPTED: &str = "application/json, application/yaml";

/// What all versions of a custom resource share.
#[derive(Debug)]
pub struct CustomResource {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// The version new bytes are written in.
    pub storage_version: String,
    /// `spec.conversion` as the CRD has it.
    pub conversion: Value,
    /// Every version of the CRD, served or not.
    pub versions: BTreeMap<String, Arc<VersionSchema>>,
    /// `FooList`.
    pub list_kind: String,
    /// Objects written after this revision have been pruned and defaulted with these very schemas.
    pub since: u64,
}

impl CustomResource {
    /// Reads a CRD. `since` is the newest revision whose writers may have known other schemas.
    pub fn read(crd: &Value, since: u64) -> Self {
        let spec = &crd["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
        let versions = spec["versions"].as_array().into_iter().flatten();
        let storage = versions.clone().find(|version| version["storage"] == true);
        Self {
            storage_version: storage.map(|version| text(&version["name"])).unwrap_or_default(),
            conversion: spec["conversion"].clone(),
            versions: versions
                .map(|version| {
                    let name = text(&version["name"]);
                    let definition = definition_name(&group, &name, &kind);
                    let schema = VersionSchema::new(&definition, &version["schema"]["openAPIV3Schema"]);
                    (name, Arc::new(schema))
                })
                .collect(),
            list_kind: text(&spec["names"]["listKind"]),
            group,
            kind,
            since,
        }
    }

    /// `group/version`.
    pub fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }

    /// Whether versions differ only in `apiVersion`.
    pub fn converts_by_name(&self) -> bool {
        self.conversion["strategy"] != "Webhook"
    }
}

/// A condition of a CRD's status.
pub fn condition<'a>(crd: &'a Value, name: &str) -> Option<&'a Value> {
    crd["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// Name of a custom kind's published definition: the group backwards, as in Java.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// The schema of one version.
#[derive(Debug)]
pub struct VersionSchema {
    /// The structural schema.
    pub root: Node,
    /// `openAPIV3Schema` as the CRD has it; null if it has none.
    pub open_api: Value,
    facts: Facts,
    definition: DefId,
    /// Compiled at first use: writes need them, reads do not.
    rules: OnceLock<Option<Rules>>,
}

impl VersionSchema {
    /// Reads a CRD version's `openAPIV3Schema`. `definition` names the kind among published definitions.
    pub fn new(definition: &str, open_api: &Value) -> Self {
        let root = Node::read(open_api);
        let (facts, id) = arena::build(definition, &root);
        Self { root, open_api: open_api.clone(), facts, definition: id, rules: OnceLock::new() }
    }

    /// What every walk sees.
    pub fn schema(&self) -> Schema<'_> {
        self.facts.of(self.definition)
    }

    /// Reasons to refuse `new`: by the schema, and by its rules if nothing they rely on is wrong.
    pub fn judge(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = validation::validate(&self.root, new, old);
        let Some(rules) = self.rules.get_or_init(|| Rules::compile(&self.open_api)) else { return causes };
        if causes.iter().any(validation::blocks_rules) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            causes.push(Cause::invalid("<nil>", &Value::Null, detail));
        } else {
            causes.extend(rules.check(&self.root, new, old));
        }
        causes
    }

    /// Brings an object read from the store into what this schema allows: unknown fields go, defaults
    /// come.
    pub fn coerce(&self, object: &mut Value) {
        pruning::prune(self.schema(), object);
        defaulting::apply(&self.root, object);
    }
}

/// What a row for a served version of a custom resource knows.
#[derive(Debug, Clone)]
pub struct CustomVersion {
    /// All versions.
    pub resource: Arc<CustomResource>,
    /// This version's.
    pub schema: Arc<VersionSchema>,
    /// Where replicas are, if there is a `scale` subresource.
    pub scale: Option<ScalePaths>,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// The warning for those who still use this version.
    pub deprecation: Option<String>,
}

impl CustomVersion {
    /// What every walk sees.
    pub fn schema(&self) -> Schema<'_> {
        self.schema.schema()
    }
}
