//! Which requests a webhook, a policy or a binding is about: resource rules and selectors.
//!
//! Entry point: [`Criteria::matches`]. Pure. Source: upstream's `predicates/{rules,namespace,object}` and
//! `policy/matching`.

use std::sync::Arc;

use api::Status;
use api::selector::LabelSelector;
use serde_json::Value;

use super::versions::Row;
use crate::admission::{Attributes, Operation};

/// What is matched: the request, the object after and before, and the namespace it is in.
pub(crate) struct Subject<'a> {
    pub(crate) attributes: &'a Attributes<'a>,
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
    /// The namespace's object; the refusal if there is none, for those who want to see its labels.
    pub(crate) namespace: Result<Option<Arc<Value>>, Status>,
    /// The resource itself, then others the same objects are served as.
    pub(crate) rows: Vec<Row>,
}

/// A rule: operations on resources.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    /// Empty means all.
    names: Vec<String>,
}

/// When something applies.
#[derive(Debug)]
pub(crate) struct Criteria {
    /// `None` where every resource is meant.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// Whether a rule about one version is about the others of the same resource, too.
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn read(rule: &Value) -> Self {
        Self {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
            names: texts(&rule["resourceNames"]),
        }
    }

    fn read_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::read).collect()
    }

    fn fits(&self, attributes: &Attributes<'_>, row: &Row) -> bool {
        let subresource = attributes.resource().2;
        let resource = |pattern: &String| {
            let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == row.plural()) && (sub == "*" || sub == subresource)
        };
        let name = || self.names.is_empty() || self.names.contains(&attributes.name);
        has(&self.operations, attributes.operation.word())
            && has(&self.groups, row.group())
            && has(&self.versions, row.version())
            && self.resources.iter().any(resource)
            && self.in_scope(attributes)
            && name()
    }

    /// Namespaces are no part of a namespace, although requests about them name one.
    fn in_scope(&self, attributes: &Attributes<'_>) -> bool {
        let (group, plural, _) = attributes.resource();
        let namespaced = (group, plural) != ("", "namespaces") && !attributes.namespace().is_empty();
        match self.scope.as_str() {
            "*" => true,
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => false,
        }
    }
}

impl Criteria {
    /// Of a webhook: without rules it is about nothing.
    pub(crate) fn of_webhook(hook: &Value) -> Self {
        Self { rules: Some(Rule::read_all(&hook["rules"])), ..Self::of_resources(hook) }
    }

    /// Of a policy's constraints or a binding: without rules they are about everything.
    pub(crate) fn of_resources(constraints: &Value) -> Self {
        let rules = Rule::read_all(&constraints["resourceRules"]);
        let selector = |key: &str| match &constraints[key] {
            Value::Null => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector).map_err(|error| error.0),
        };
        Self {
            rules: (!rules.is_empty()).then_some(rules),
            excluded: Rule::read_all(&constraints["excludeResourceRules"]),
            equivalent: constraints["matchPolicy"] != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The form in which the object is wanted; `None` if the request is none of these.
    ///
    /// # Errors
    /// When a selector cannot be read, or the namespace is not there: only if all else fits.
    pub(crate) fn matches(&self, subject: &Subject<'_>) -> Result<Option<Row>, Status> {
        let (namespace, object) = (self.in_namespace(subject), self.selects(subject));
        if matches!(namespace, Ok(false)) || matches!(object, Ok(false)) {
            return Ok(None);
        }
        if self.find(&self.excluded, subject).is_some() {
            return Ok(None);
        }
        let found = match &self.rules {
            None => subject.rows.first(),
            Some(rules) => self.find(rules, subject),
        };
        let Some(found) = found else { return Ok(None) };
        namespace?;
        object?;
        Ok(Some(found.clone()))
    }

    /// The resource itself if any rule names it, else the first equivalent one.
    fn find<'s>(&self, rules: &[Rule], subject: &'s Subject<'_>) -> Option<&'s Row> {
        let (own, others) = subject.rows.split_first()?;
        if rules.iter().any(|rule| rule.fits(subject.attributes, own)) {
            return Some(own);
        }
        let others = if self.equivalent { others } else { &[] };
        rules.iter().find_map(|rule| others.iter().find(|row| rule.fits(subject.attributes, row)))
    }

    fn in_namespace(&self, subject: &Subject<'_>) -> Result<bool, Status> {
        let attributes = subject.attributes;
        let (_, plural, subresource) = attributes.resource();
        if attributes.namespace().is_empty() && plural != "namespaces" {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        // A new or changed namespace is in nobody's memory yet.
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if plural == "namespaces" && subresource.is_empty() && written {
            return Ok(subject.object.is_some_and(|object| selector.matches_object(object)));
        }
        let namespace = subject.namespace.as_ref().map_err(Clone::clone)?;
        Ok(namespace.as_ref().is_some_and(|namespace| selector.matches_object(namespace)))
    }

    fn selects(&self, subject: &Subject<'_>) -> Result<bool, Status> {
        let selector = self.objects.as_ref().map_err(Status::internal)?;
        let fits = |object: Option<&Value>| object.is_some_and(|object| selector.matches_object(object));
        Ok(selector.is_everything() || fits(subject.object) || fits(subject.old))
    }
}
