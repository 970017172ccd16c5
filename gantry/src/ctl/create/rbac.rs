//! `gantry create role|clusterrole|rolebinding|clusterrolebinding`.

use serde_json::{Map, Value, json};

use super::Common;
use crate::ctl::resources::Resources;
use crate::ctl::{Failure, Outcome};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Flags of a role's rules.
#[derive(clap::Args)]
pub struct Rule {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// What may be done; `*` is everything.
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    verb: Vec<String>,
    /// With what: RESOURCE[.GROUP][/SUBRESOURCE].
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    resource: Vec<String>,
    /// With which objects.
    #[arg(long, value_name = "NAMES")]
    resource_name: Vec<String>,
}

/// Flags of `create role`.
#[derive(clap::Args)]
pub struct Role {
    #[command(flatten)]
    pub(super) rule: Rule,
}

/// Flags of `create clusterrole`.
#[derive(clap::Args)]
pub struct ClusterRole {
    #[command(flatten)]
    pub(super) rule: Rule,
    /// Paths that are no resources.
    #[arg(long = "non-resource-url", value_name = "PATHS", value_delimiter = ',')]
    paths: Vec<String>,
    /// KEY=VALUE: roles with these labels are part of this one.
    #[arg(long, value_name = "LABELS", default_value = "")]
    aggregation_rule: String,
}

impl Rule {
    fn verbs(&self) -> Outcome<Vec<&str>> {
        if self.verb.is_empty() {
            return Err(Failure::new("at least one verb must be specified"));
        }
        if self.verb.iter().any(|verb| verb == "*") {
            return Ok(vec!["*"]);
        }
        Ok(self.verb.iter().map(String::as_str).collect())
    }

    /// One rule per group, in the order the groups are named.
    fn rules(&self, resources: &Resources) -> Outcome<Vec<Value>> {
        let verbs = self.verbs()?;
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for word in &self.resource {
            let (name, sub) = word.split_once('/').map_or((word.as_str(), ""), |(name, sub)| (name, sub));
            let (group, mut plural) = match name {
                "*" => (String::new(), "*".to_owned()),
                name => {
                    let found = resources.named(name)?;
                    (found.group.clone(), found.plural.clone())
                }
            };
            if !sub.is_empty() {
                plural = format!("{plural}/{sub}");
            }
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, plurals)) if plurals.contains(&plural) => {}
                Some((_, plurals)) => plurals.push(plural),
                None => groups.push((group, vec![plural])),
            }
        }
        let rule = |(group, plurals): (String, Vec<String>)| {
            let mut rule = json!({"apiGroups": [group], "resources": plurals, "verbs": verbs});
            if !self.resource_name.is_empty() {
                rule["resourceNames"] = json!(self.resource_name);
            }
            rule
        };
        Ok(groups.into_iter().map(rule).collect())
    }

    fn role(&self, kind: &str, rules: &[Value]) -> Value {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": self.name}, "rules": rules})
    }
}

impl Role {
    pub(super) fn object(&self, resources: &Resources) -> Outcome<Value> {
        self.rule.verbs()?;
        if self.rule.resource.is_empty() {
            return Err(Failure::new("at least one resource must be specified"));
        }
        Ok(self.rule.role("Role", &self.rule.rules(resources)?))
    }
}

impl ClusterRole {
    pub(super) fn object(&self, resources: &Resources) -> Outcome<Value> {
        if !self.aggregation_rule.is_empty() {
            let labels: Map<String, Value> = self
                .aggregation_rule
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), json!(value)))
                .collect();
            let mut object = self.rule.role("ClusterRole", &[]);
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            return Ok(object);
        }
        let verbs = self.rule.verbs()?;
        if self.rule.resource.is_empty() && self.paths.is_empty() {
            return Err(Failure::new("one of resource or nonResourceURL must be specified"));
        }
        let mut rules = self.rule.rules(resources)?;
        if !self.paths.is_empty() {
            rules.push(json!({"nonResourceURLs": self.paths, "verbs": verbs}));
        }
        Ok(self.rule.role("ClusterRole", &rules))
    }
}

/// Flags of both bindings.
#[derive(clap::Args)]
pub struct Binding {
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// The cluster role.
    #[arg(long, value_name = "NAME", default_value = "")]
    clusterrole: String,
    /// The role.
    #[arg(long, value_name = "NAME", default_value = "")]
    role: String,
    /// Users; may be repeated.
    #[arg(long = "user", value_name = "NAMES", value_delimiter = ',')]
    users: Vec<String>,
    /// Groups; may be repeated.
    #[arg(long = "group", value_name = "NAMES", value_delimiter = ',')]
    groups: Vec<String>,
    /// NAMESPACE:NAME; may be repeated.
    #[arg(long = "serviceaccount", value_name = "NAMES", value_delimiter = ',')]
    accounts: Vec<String>,
}

impl Binding {
    pub(super) fn object(&self, kind: &str, _namespace: &str) -> Outcome<Value> {
        let (role, name) = match (self.clusterrole.as_str(), self.role.as_str()) {
            (name, "") if !name.is_empty() => ("ClusterRole", name),
            ("", name) if !name.is_empty() && kind == "RoleBinding" => ("Role", name),
            _ if kind == "RoleBinding" => {
                return Err(Failure::new("exactly one of clusterrole or role must be specified"));
            }
            _ => return Err(Failure::new("required flag(s) \"clusterrole\" not set")),
        };
        let person = |kind: &str, name: &String| json!({"apiGroup": GROUP, "kind": kind, "name": name});
        let mut subjects: Vec<Value> = self.users.iter().map(|name| person("User", name)).collect();
        subjects.extend(self.groups.iter().map(|name| person("Group", name)));
        for account in &self.accounts {
            let (namespace, name) = account
                .split_once(':')
                .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
                .ok_or_else(|| Failure::new("serviceaccount must be <namespace>:<name>"))?;
            subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
        }
        let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": self.name},
            "roleRef": {"apiGroup": GROUP, "kind": role, "name": name}});
        if !subjects.is_empty() {
            object["subjects"] = Value::Array(subjects);
        }
        Ok(object)
    }
}
