//! Rules of `rbac.authorization.k8s.io`.

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Grant, Strategy};

use crate::rbac::GROUP;

/// What may be done, in one namespace or everywhere.
pub struct Role {
    /// Whether it holds in one namespace only.
    pub namespaced: bool,
}

impl Strategy for Role {
    fn grants(&self) -> Option<Grant> {
        Some(Grant::Rules)
    }

    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (at, rule) in list(object, "rules").iter().enumerate() {
            policy_rule(&mut causes, &format!("rules[{at}]"), rule, self.namespaced);
        }
        let aggregation = &object["aggregationRule"];
        if !self.namespaced && !aggregation.is_null() {
            let field = "aggregationRule.clusterRoleSelectors";
            let selectors = list(aggregation, "clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                causes.push(Cause::required(field, detail));
            }
            for (at, selector) in selectors.iter().enumerate() {
                check::label_selector(&mut causes, &format!("{field}[{at}]"), selector);
            }
        }
        causes
    }
}

fn policy_rule(causes: &mut Vec<Cause>, path: &str, rule: &Value, namespaced: bool) {
    let empty = |field: &str| list(rule, field).is_empty();
    if empty("verbs") {
        causes.push(Cause::required(format!("{path}.verbs"), "verbs must contain at least one value"));
    }
    if !empty("nonResourceURLs") {
        let field = format!("{path}.nonResourceURLs");
        if namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            causes.push(Cause::invalid(&field, &rule["nonResourceURLs"], detail));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|other| !empty(other)) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            causes.push(Cause::invalid(&field, &rule["nonResourceURLs"], detail));
        }
        return;
    }
    for (field, one) in [("apiGroups", "api group"), ("resources", "resource")] {
        if empty(field) {
            let detail = format!("resource rules must supply at least one {one}");
            causes.push(Cause::required(format!("{path}.{field}"), &detail));
        }
    }
}

/// Who has a role.
pub struct RoleBinding {
    /// Whether it grants the role in one namespace only.
    pub namespaced: bool,
}

impl Strategy for RoleBinding {
    fn grants(&self) -> Option<Grant> {
        Some(Grant::Role)
    }

    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let role = &object["roleRef"];
        one_of(&mut causes, "roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]);
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        one_of(&mut causes, "roleRef.kind", text(role, "kind"), kinds);
        check::required(&mut causes, "roleRef.name", &role["name"], Some(names::path_segment));
        for (at, subject) in list(object, "subjects").iter().enumerate() {
            validate_subject(&mut causes, &format!("subjects[{at}]"), subject, self.namespaced);
        }
        causes
    }

    /// A binding is trusted for the role it names; another role needs another binding.
    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let role = &object["roleRef"];
        if *role == old["roleRef"] {
            return Vec::new();
        }
        vec![Cause::invalid("roleRef", role, "cannot change roleRef")]
    }
}

fn one_of(causes: &mut Vec<Cause>, field: &str, value: &str, allowed: &[&str]) {
    if !allowed.contains(&value) {
        causes.push(Cause::not_supported(field, &json!(value), allowed));
    }
}

fn validate_subject(causes: &mut Vec<Cause>, path: &str, subject: &Value, namespaced: bool) {
    let name = format!("{path}.name");
    let group = format!("{path}.apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            check::required(causes, &name, &subject["name"], Some(names::dns1123_subdomain));
            one_of(causes, &group, text(subject, "apiGroup"), &[""]);
            if !namespaced && text(subject, "namespace").is_empty() {
                causes.push(Cause::required(format!("{path}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            check::required(causes, &name, &subject["name"], None);
            one_of(causes, &group, text(subject, "apiGroup"), &[GROUP]);
        }
        kind => {
            check::required(causes, &name, &subject["name"], None);
            one_of(causes, &format!("{path}.kind"), kind, &["ServiceAccount", "User", "Group"]);
        }
    }
}
