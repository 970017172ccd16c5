//! A cluster role with an aggregation rule has the rules of all cluster roles the rule selects.
//!
//! Source: upstream's `pkg/controller/clusterroleaggregation`.

use std::sync::Arc;

use api::selector::LabelSelector;
use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;

/// A role that gathers, and all roles.
pub struct Observed {
    /// The role that may have an aggregation rule.
    pub role: Arc<ClusterRole>,
    /// Every cluster role, by name.
    pub all: Vec<Arc<ClusterRole>>,
}

/// Writes the rules that the selected roles have together, each once.
pub fn reconcile(observed: &Observed) -> Plan {
    let Observed { role, all } = observed;
    let Some(aggregation) = &role.aggregation_rule else { return Plan::nothing() };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        // Checked when the role was written; what cannot be read selects nothing.
        let selector =
            LabelSelector::from_object(&json!(selector)).unwrap_or_else(|_| LabelSelector::nothing());
        let labels = |other: &ClusterRole| json!(other.metadata.labels);
        let selected = all.iter().filter(|other| other.metadata.name != role.metadata.name);
        for other in selected.filter(|other| selector.matches_json(&labels(other))) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    if rules == *role.rules.as_deref().unwrap_or_default() {
        return Plan::nothing();
    }
    let target = Target::same_version(&request::resource::<ClusterRole>(), &role.metadata);
    let patch = json!({ "rules": rules });
    Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() }
}

/// Watches cluster roles.
pub struct ClusterRoleAggregation {
    roles: Informer<ClusterRole>,
}

impl ClusterRoleAggregation {
    /// Uses the process's shared view.
    pub fn new(informers: &Informers) -> Self {
        Self { roles: informers.of() }
    }
}

#[async_trait]
impl Controller for ClusterRoleAggregation {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        let roles = self.roles.clone();
        // Any role may be one that is gathered, or was one before its labels changed.
        wake.on(&self.roles, move |_| {
            let gathering = roles.list().into_iter().filter(|role| role.aggregation_rule.is_some());
            gathering.map(|role| Key::of(&role.metadata)).collect::<Vec<_>>()
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let all = self.roles.list();
        Ok(self.roles.get(key).map(|role| Observed { role, all }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, label: &str, gathers: Option<&str>, resources: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<_> = resources
            .iter()
            .map(|resource| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]}))
            .collect();
        let mut role = json!({"metadata": {"name": name, "labels": {label: "true"}, "resourceVersion": "1"}, "rules": rules});
        if let Some(label) = gathers {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        Arc::new(serde_json::from_value(role).unwrap())
    }

    fn gathered(all: &[Arc<ClusterRole>], name: &str) -> Option<Vec<String>> {
        let role = all.iter().find(|role| role.metadata.name.as_deref() == Some(name)).unwrap().clone();
        let plan = reconcile(&Observed { role, all: all.to_vec() });
        let Some(Action::Patch { patch, .. }) = plan.actions.first() else { return None };
        let rules = patch["rules"].as_array().unwrap();
        Some(rules.iter().map(|rule| rule["resources"][0].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn rules_of_selected_roles_are_gathered_once() {
        let all = [
            role("a", "to-view", None, &["pods", "services"]),
            role("b", "to-view", None, &["services", "nodes"]),
            role("c", "other", None, &["secrets"]),
            role("edit", "x", Some("to-edit"), &["old"]),
            role("view", "to-view", Some("to-view"), &["secrets"]),
        ];
        assert_eq!(gathered(&all, "view").unwrap(), ["pods", "services", "nodes"]);
        assert_eq!(gathered(&all, "edit").unwrap(), [""; 0]);
        assert_eq!(gathered(&all, "a"), None);
        let settled = [all[0].clone(), role("view", "x", Some("to-view"), &["pods", "services"])];
        assert_eq!(gathered(&settled, "view"), None);
    }
}
