//! Rules of roles: what one says, which rules grant all that others do, and how a role or binding is
//! brought to what it should be.
//!
//! Entry points: [`PolicyRule`], [`missing`], [`reconcile`]. Source: `rbac/v1`,
//! `component-helpers/auth/rbac`. Pure.

mod covers;
pub mod reconcile;

pub use covers::{describe, missing, quoted, url_covers};
use serde_json::{Map, Value, json};

/// API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Verbs on resources, or on paths. `*` in a list stands for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// `get`, `list`, …
    pub verbs: Vec<String>,
    /// Empty text for core.
    pub api_groups: Vec<String>,
    /// `pods`, `pods/status`, `*/status`, `*`.
    pub resources: Vec<String>,
    /// None means any name.
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end stands for anything.
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// Reads a rule of a role.
    pub fn of(rule: &Value) -> Self {
        let texts = |key: &str| {
            let items = rule[key].as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Self {
            verbs: texts("verbs"),
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
        }
    }

    /// Reads the rules of a role.
    pub fn all_of(role: &Value) -> Vec<Self> {
        role["rules"].as_array().into_iter().flatten().map(Self::of).collect()
    }

    /// As it stands in a role; what is empty is left out.
    pub fn to_json(&self) -> Value {
        let fields = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        let kept = fields.into_iter().filter(|(_, list)| !list.is_empty());
        Value::Object(kept.map(|(key, list)| (key.to_owned(), json!(list))).collect::<Map<_, _>>())
    }
}
