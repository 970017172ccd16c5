//! `Policy` of `audit.k8s.io/v1`: how much is written down of which request.
//!
//! Entry points: [`Policy::parse`], [`Policy::decide`]. The first rule that matches counts, as in
//! `k8s.io/apiserver/pkg/audit/policy/checker.go`; a request that none matches is not written down.

use std::collections::BTreeSet;

use component_base::user::UserInfo;
use serde::{Deserialize, Serialize};

use crate::request::RequestInfo;

/// How much is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and how it ended.
    Metadata,
    /// That and what was sent.
    Request,
    /// That and what was answered.
    RequestResponse,
}

/// Where in its life a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What a policy says of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) level: Level,
    pub(crate) omit_stages: BTreeSet<Stage>,
    pub(crate) omit_managed_fields: bool,
}

/// The rules in order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    #[expect(dead_code, reason = "objects may carry metadata, which says nothing here")]
    metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What is written down where nobody made a policy: who changed what, never bodies. Lease renewals, events and
/// questions about rights are left out: they are most of all writes and answer no question of who did what.
const USUAL: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: '', resources: [events, nodes/status, pods/status, endpoints]}
  - {group: events.k8s.io}
  - {group: discovery.k8s.io}
  - {group: authentication.k8s.io}
  - {group: authorization.k8s.io}
  - {group: metrics.k8s.io}
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
  resources:
  - {group: '', resources: [pods/exec, pods/attach, pods/portforward, nodes/proxy, pods/proxy, services/proxy]}
";

impl Policy {
    /// Reads and checks a policy's text.
    ///
    /// # Errors
    /// What is wrong, in upstream's words where it has some.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_yaml::from_str(text).map_err(|error| format!("failed decoding: {error}"))?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            return Err(format!(
                "failed decoding: no kind {:?} is registered for version {:?}",
                policy.kind, policy.api_version
            ));
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let wrong: Vec<String> =
            policy.rules.iter().enumerate().flat_map(|(number, rule)| rule.problems(number)).collect();
        match wrong.as_slice() {
            [] => Ok(policy),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// The policy where none was made.
    pub(crate) fn usual() -> Self {
        Self::parse(USUAL).unwrap_or_default()
    }

    /// What is written down of a request.
    pub(crate) fn decide(&self, user: &UserInfo, info: &RequestInfo) -> Decision {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, info)) else {
            return Decision { omit_stages: self.omit_stages.clone(), ..Decision::default() };
        };
        if rule.level == Level::None {
            return Decision::default();
        }
        Decision {
            level: rule.level,
            omit_stages: rule.omit_stages.union(&self.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    /// What is wrong with it (`pkg/apis/audit/validation`).
    fn problems(&self, number: usize) -> Vec<String> {
        let path = format!("rules[{number}]");
        let mut wrong = Vec::new();
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            wrong.push(format!(
                "{path}.nonResourceURLs: Invalid value: rules cannot apply to both regular resources and non-resource URLs"
            ));
        }
        for (at, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let path = format!("{path}.nonResourceURLs[{at}]");
            if !url.starts_with('/') {
                wrong.push(format!(
                    "{path}: Invalid value: {url:?}: non-resource URL rules must begin with a '/' character"
                ));
            }
            if url.trim_end_matches('*').len() + 1 < url.len()
                || url[..url.len().saturating_sub(1)].contains('*')
            {
                wrong.push(format!(
                    "{path}: Invalid value: {url:?}: non-resource URL wildcards '*' must be the final character of the rule"
                ));
            }
        }
        for (at, group) in self.resources.iter().enumerate() {
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                wrong.push(format!(
                    "{path}.resources[{at}].resourceNames: Invalid value: using resourceNames requires at least one resource"
                ));
            }
        }
        wrong
    }

    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let named = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
        if !named(&self.verbs, info.verb) || !named(&self.users, &user.name) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| user.groups.contains(group)) {
            return false;
        }
        if !(self.namespaces.is_empty() && self.resources.is_empty()) {
            return info.is_resource()
                && named(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(info)));
        }
        self.non_resource_urls.is_empty()
            || (!info.is_resource() && self.non_resource_urls.iter().any(|url| is_path(url, &info.path)))
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        self.resources.is_empty() || (named && self.resources.iter().any(|one| is_resource(one, info)))
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/scale`, `*`.
fn is_resource(pattern: &str, info: &RequestInfo) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || (info.subresource.is_empty() && pattern == info.resource),
        Some(("*", subresource)) if subresource != "*" => info.subresource == subresource,
        Some((resource, "*")) => resource == info.resource,
        Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
    }
}

fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(verb: &'static str, group: &str, resource: &str, name: &str) -> RequestInfo {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        RequestInfo {
            verb,
            group: group.to_owned(),
            version: "v1".to_owned(),
            namespace: "a".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = Policy::parse(
            "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [noise], verbs: [watch]}
- {level: RequestResponse, resources: [{group: '', resources: [pods], resourceNames: [one]}], omitManagedFields: false}
- {level: Request, resources: [{group: '', resources: ['*/scale', pods/*]}], namespaces: [a], omitStages: [Panic]}
- {level: Metadata, resources: [{group: apps}], userGroups: [dev]}
- {level: Metadata, nonResourceURLs: [/healthz*, /version]}
",
        )
        .expect("a policy");
        let user = |name: &str, groups: &[&str]| UserInfo::component(name, groups);
        let path = |path: &str| RequestInfo { verb: "get", path: path.to_owned(), ..RequestInfo::default() };
        for (who, what, expected) in [
            (user("noise", &[]), info("watch", "", "pods", "one"), Level::None),
            (user("other", &[]), info("watch", "", "pods", "one"), Level::RequestResponse),
            (user("other", &[]), info("get", "", "pods", "two"), Level::Request),
            (user("other", &[]), info("get", "", "services", "two"), Level::None),
            (user("other", &[]), info("get", "", "pods/log", "two"), Level::Request),
            (user("other", &[]), info("get", "", "replicationcontrollers/scale", "x"), Level::Request),
            (user("other", &[]), info("get", "apps", "deployments", "x"), Level::None),
            (user("other", &["dev"]), info("get", "apps", "deployments", "x"), Level::Metadata),
            (user("other", &[]), path("/healthz/ping"), Level::Metadata),
            (user("other", &[]), path("/version"), Level::Metadata),
            (user("other", &[]), path("/version/"), Level::None),
        ] {
            assert_eq!(policy.decide(&who, &what).level, expected, "{who:?} {what:?}");
        }
        let decision = policy.decide(&user("other", &[]), &info("get", "", "pods/log", "two"));
        assert_eq!(decision.omit_stages, BTreeSet::from([Stage::RequestReceived, Stage::Panic]));
        assert!(decision.omit_managed_fields);
    }

    #[test]
    fn mistakes_are_told() {
        let policy = |rules: &str| format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
        for (text, expected) in [
            (policy("[]"), "0 rules"),
            (policy("[{level: Some}]"), "Some"),
            (policy("[{level: Metadata, nonResourceURLs: [a]}]"), "must begin with a '/'"),
            (policy("[{level: Metadata, nonResourceURLs: ['/*/a']}]"), "must be the final character"),
            (policy("[{level: Metadata, nonResourceURLs: ['/a'], namespaces: [b]}]"), "cannot apply to both"),
            (
                policy("[{level: Metadata, resources: [{resourceNames: [a]}]}]"),
                "requires at least one resource",
            ),
            ("kind: Policy".to_owned(), "is registered"),
        ] {
            let why = Policy::parse(&text).expect_err(&text);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn usually_changes_are_written_down_and_never_bodies() {
        let (policy, user) = (Policy::usual(), UserInfo::component("u", &[]));
        for (what, expected) in [
            (info("delete", "", "secrets", "x"), Level::Metadata),
            (info("patch", "apps", "deployments/scale", "x"), Level::Metadata),
            (info("get", "", "secrets", "x"), Level::None),
            (info("watch", "", "pods", ""), Level::None),
            (info("get", "", "nodes", "x"), Level::None),
            (info("update", "coordination.k8s.io", "leases", "x"), Level::None),
            (info("get", "", "pods/exec", "x"), Level::Metadata),
        ] {
            assert_eq!(policy.decide(&user, &what).level, expected, "{what:?}");
        }
    }
}
