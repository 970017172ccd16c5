//! What a role or a binding must become to have at least what is wanted; what else it has stays unless
//! told otherwise.
//!
//! Entry point: [`plan`]. Source: `component-helpers/auth/rbac/reconciliation`, which servers use at their
//! start and `kubectl auth reconcile` for files.

use serde_json::{Value, json};

use super::{PolicyRule, missing};
use crate::object;

/// An object with this annotation set to `false` is left as it is.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// Replace the object by this one.
    Update(Value),
    /// Remove the object and create this one: a binding's role cannot be changed.
    Recreate(Value),
}

/// Compares a role or binding that is there with what is wanted. `exact` removes what is not wanted.
pub fn plan(wanted: &Value, current: &Value, exact: bool) -> Plan {
    if current["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Plan::Keep;
    }
    let mut new = current.clone();
    for field in ["labels", "annotations"] {
        merge(&mut new, wanted, field);
    }
    if wanted["roleRef"].is_object() {
        if wanted["roleRef"] != current["roleRef"] {
            return Plan::Recreate(recreated(wanted, &new));
        }
        list(&mut new, wanted, "subjects", exact);
    } else {
        role(&mut new, wanted, exact);
    }
    if new == *current { Plan::Keep } else { Plan::Update(new) }
}

/// What is there wins over what is wanted: somebody meant it.
fn merge(new: &mut Value, wanted: &Value, field: &str) {
    let Some(wanted) = wanted["metadata"][field].as_object() else { return };
    let kept = object::section(new, "metadata").entry(field.to_owned()).or_insert_with(|| json!({}));
    let Some(kept) = kept.as_object_mut() else { return };
    for (key, value) in wanted {
        kept.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// The wanted binding with the labels and annotations of the old one.
fn recreated(wanted: &Value, old: &Value) -> Value {
    let mut new = wanted.clone();
    for field in ["labels", "annotations"] {
        if old["metadata"][field].is_object() {
            new["metadata"][field] = old["metadata"][field].clone();
        }
    }
    new
}

fn role(new: &mut Value, wanted: &Value, exact: bool) {
    if wanted["aggregationRule"].is_object() {
        // What it gathers is the aggregation controller's.
        let rule = Value::Object(object::section(new, "aggregationRule").clone());
        let mut holder = json!({ "aggregationRule": rule });
        list(&mut holder["aggregationRule"], &wanted["aggregationRule"], "clusterRoleSelectors", exact);
        new["aggregationRule"] = holder["aggregationRule"].take();
        return;
    }
    let (held, wants) = (PolicyRule::all_of(new), PolicyRule::all_of(wanted));
    let lacking = missing(&held, &wants);
    let extra = exact && !missing(&wants, &held).is_empty();
    if extra {
        new["rules"] = wanted["rules"].clone();
    } else if !lacking.is_empty() {
        let mut rules: Vec<Value> = new["rules"].as_array().cloned().unwrap_or_default();
        rules.extend(lacking.iter().map(PolicyRule::to_json));
        new["rules"] = rules.into();
    }
}

/// Adds items that are missing; or, when there are too many and none may be, takes the wanted ones.
fn list(new: &mut Value, wanted: &Value, field: &str, exact: bool) {
    let items = |value: &Value| value[field].as_array().cloned().unwrap_or_default();
    let (mut held, wants) = (items(new), items(wanted));
    let extra = held.iter().any(|item| !wants.contains(item));
    let lacking: Vec<Value> = wants.iter().filter(|item| !held.contains(item)).cloned().collect();
    if exact && extra {
        new[field] = wants.into();
    } else if !lacking.is_empty() {
        held.extend(lacking);
        new[field] = held.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: Value, annotations: Value) -> Value {
        json!({"kind": "ClusterRole", "metadata": {"name": "r", "annotations": annotations}, "rules": rules})
    }

    fn pods(verbs: Value) -> Value {
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}])
    }

    #[test]
    fn roles_get_what_they_lack_and_keep_the_rest() {
        let wanted = role(pods(json!(["get", "list"])), json!({"a": "1"}));
        let current = role(pods(json!(["get", "delete"])), json!({"a": "2"}));
        let Plan::Update(new) = plan(&wanted, &current, false) else { panic!("not an update") };
        assert_eq!(new["metadata"]["annotations"], json!({"a": "2"}));
        let added = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
        assert_eq!(new["rules"], json!([pods(json!(["get", "delete"]))[0], added]));
        assert_eq!(plan(&wanted, &new, false), Plan::Keep);
        let Plan::Update(exact) = plan(&wanted, &new, true) else { panic!("not an update") };
        assert_eq!(exact["rules"], wanted["rules"]);
        let free = role(json!([]), json!({AUTOUPDATE: "false"}));
        assert_eq!(plan(&wanted, &free, false), Plan::Keep);
    }

    #[test]
    fn gathered_rules_are_left_alone() {
        let selectors = |name: &str| json!({"clusterRoleSelectors": [{"matchLabels": {name: "true"}}]});
        let mut wanted = role(json!([]), json!({}));
        wanted["aggregationRule"] = selectors("a");
        let mut current = role(pods(json!(["get"])), json!({}));
        current["aggregationRule"] = selectors("b");
        let Plan::Update(new) = plan(&wanted, &current, false) else { panic!("not an update") };
        assert_eq!(new["rules"], current["rules"]);
        let both = json!([{"matchLabels": {"b": "true"}}, {"matchLabels": {"a": "true"}}]);
        assert_eq!(new["aggregationRule"]["clusterRoleSelectors"], both);
    }

    #[test]
    fn bindings_get_subjects_or_are_made_anew() {
        let binding = |role: &str, users: &[&str]| {
            let subjects: Vec<Value> =
                users.iter().map(|user| json!({"kind": "User", "name": user})).collect();
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": role}, "subjects": subjects})
        };
        let wanted = binding("r", &["a", "b"]);
        assert_eq!(plan(&wanted, &binding("r", &["b", "a", "c"]), false), Plan::Keep);
        assert_eq!(
            plan(&wanted, &binding("r", &["a", "c"]), false),
            Plan::Update(binding("r", &["a", "c", "b"]))
        );
        assert_eq!(plan(&wanted, &binding("r", &["a", "c"]), true), Plan::Update(wanted.clone()));
        assert_eq!(plan(&wanted, &binding("q", &["a"]), false), Plan::Recreate(wanted));
    }
}
