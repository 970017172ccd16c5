//! `FlowSchema`: which requests belong together, and to which level.
//!
//! Entry points: [`Schema::of`], [`Schema::matches`], [`Schema::flow`] (`pkg/util/flowcontrol/rule.go`).

use component_base::user::UserInfo;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::request::RequestInfo;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A schema, read for matching.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) precedence: i64,
    /// Name of its level.
    pub(super) level: String,
    by: Distinguisher,
    rules: Vec<Rule>,
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    subjects: Vec<Subject>,
    #[serde(default)]
    resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    non_resource_rules: Vec<NonResourceRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    user: Option<Name>,
    group: Option<Name>,
    service_account: Option<ServiceAccount>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct ServiceAccount {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    #[serde(default)]
    cluster_scope: bool,
    #[serde(default)]
    namespaces: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NonResourceRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

impl Schema {
    /// Reads an object that was validated and defaulted; `None` when it cannot be read.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let rules = match &spec["rules"] {
            Value::Null => Vec::new(),
            rules => Vec::deserialize(rules).ok()?,
        };
        Some(Self {
            name: api::object::name(object).to_owned(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1_000),
            level: spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned(),
            by: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules,
        })
    }

    /// Whether a request is one of its.
    pub(super) fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.matches(user))
                && if info.is_resource() {
                    rule.resource_rules.iter().any(|rule| rule.matches(info))
                } else {
                    rule.non_resource_rules.iter().any(|rule| rule.matches(info))
                }
        })
    }

    /// What tells a request's flow from others of the schema.
    pub(super) fn told_apart<'a>(&self, user: &'a UserInfo, info: &'a RequestInfo) -> &'a str {
        match self.by {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        }
    }

    /// The hash of a request's flow.
    pub(super) fn flow(&self, user: &UserInfo, info: &RequestInfo) -> u64 {
        let told_apart = self.told_apart(user, info);
        let digest =
            Sha256::new().chain_update(&self.name).chain_update([0]).chain_update(told_apart).finalize();
        digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

/// Whether a word is in a list, or the list is nothing but `*`.
fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == word) || matches!(list, [all] if all == "*")
}

impl Subject {
    fn matches(&self, user: &UserInfo) -> bool {
        if let Some(Name { name }) = &self.user {
            return name == "*" || *name == user.name;
        }
        if let Some(Name { name }) = &self.group {
            return name == "*" || user.groups.contains(name);
        }
        let Some(ServiceAccount { namespace, name }) = &self.service_account else { return false };
        let account = user.name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
        account.is_some_and(|(in_namespace, own)| in_namespace == namespace && (name == "*" || own == name))
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = || match info.subresource.as_str() {
            "" => has(&self.resources, &info.resource),
            subresource => has(&self.resources, &format!("{}/{subresource}", info.resource)),
        };
        has(&self.verbs, info.verb)
            && has(&self.api_groups, &info.group)
            && resource()
            && if info.namespace.is_empty() {
                self.cluster_scope
            } else {
                has(&self.namespaces, &info.namespace)
            }
    }
}

impl NonResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let below = |url: &String| {
            let start = url.strip_suffix('*').unwrap_or(url);
            let start = start.strip_suffix('/').unwrap_or(start);
            info.path.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'))
        };
        has(&self.verbs, info.verb)
            && self.non_resource_urls.iter().any(|url| url == "*" || *url == info.path || below(url))
    }
}
