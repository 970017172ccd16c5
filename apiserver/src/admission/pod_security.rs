//! PodSecurity: pods are what their namespace's labels allow (KEP-2579). Controllers' templates are only warned about,
//! and so is whoever tightens a namespace that has pods.
//!
//! Source: `k8s.io/pod-security-admission/admission`. The controls are `api::pod_security`.

use std::collections::{BTreeMap, BTreeSet};

use api::pod_security::{self, Level, LevelVersion, Policy};
use api::{Status, object};
use serde_json::Value;

use super::{Attributes, Operation, Resource};
use crate::authz::aggregate;

/// With more pods, only these many are looked at when a namespace is tightened.
const MOST_PODS: usize = 3000;

/// The annotation that says what pods are held to.
const ENFORCED: &str = "enforce-policy";

/// What is asked about.
pub(super) const RESOURCES: &[Resource] = &[
    ("", "namespaces", ""),
    ("", "pods", ""),
    ("", "pods", "ephemeralcontainers"),
    ("", "pods", "resize"),
    ("", "replicationcontrollers", ""),
    ("", "podtemplates", ""),
    ("apps", "replicasets", ""),
    ("apps", "deployments", ""),
    ("apps", "statefulsets", ""),
    ("apps", "daemonsets", ""),
    ("batch", "jobs", ""),
    ("batch", "cronjobs", ""),
];

/// Upstream's `PodSecurityConfiguration`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standards {
    /// For namespaces without labels.
    pub defaults: Policy,
    /// Users whose pods are not looked at.
    pub usernames: Vec<String>,
    /// Runtime classes whose pods are not looked at.
    pub runtime_classes: Vec<String>,
    /// Namespaces whose pods are not looked at.
    pub namespaces: Vec<String>,
}

impl Standards {
    fn spares_runtime(&self, pod: &Value) -> bool {
        let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        !class.is_empty() && self.runtime_classes.iter().any(|spared| spared == class)
    }

    fn spares_namespace(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|spared| spared == namespace)
    }
}

pub(super) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    if attributes.call.kind.plural == "namespaces" {
        return validate_namespace(attributes, object).await;
    }
    let standards = &attributes.call.server.config.admission.pod_security;
    if standards.spares_namespace(attributes.namespace()) {
        annotate(attributes, "exempt", "namespace");
        return Ok(());
    }
    if standards.usernames.contains(&attributes.user().name) {
        annotate(attributes, "exempt", "user");
        return Ok(());
    }
    let is_pod = attributes.call.kind.plural == "pods";
    let namespace = attributes.stored(("", "namespaces"), None, attributes.namespace()).await?;
    let Some(namespace) = namespace else {
        let text = format!("failed to lookup namespace {:?}", attributes.namespace());
        annotate(attributes, "error", text.as_str());
        return if is_pod { Err(Status::internal(text)) } else { Ok(()) };
    };
    let (policy, causes) = Policy::of_labels(&namespace["metadata"]["labels"], standards.defaults);
    // Who makes pods is told early; only pods are refused.
    let enforced = if is_pod { policy.enforce } else { LevelVersion::PRIVILEGED };
    if causes.is_empty() && (Policy { enforce: enforced, ..policy }).is_privileged() {
        if is_pod {
            annotate(attributes, ENFORCED, LevelVersion::PRIVILEGED.to_string());
        }
        return Ok(());
    }
    let Some(pod) = template(&attributes.call.kind.plural, object) else { return Ok(()) };
    if attributes.old.is_some_and(|old| is_pod && !is_significant(pod, old)) {
        return Ok(());
    }
    if standards.spares_runtime(pod) {
        annotate(attributes, "exempt", "runtimeClass");
        return Ok(());
    }
    if !causes.is_empty() {
        let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
        annotate(attributes, "error", format!("Failed to parse policy: {}", aggregate(&causes)));
    }
    if is_pod {
        annotate(attributes, ENFORCED, enforced.to_string());
    }
    let broken = |level: LevelVersion, verb: &str| {
        let found = pod_security::evaluate(level, pod);
        let text = || format!("{verb} PodSecurity \"{level}\": {}", pod_security::detail(&found));
        (!found.is_empty()).then(text)
    };
    if let Some(text) = broken(policy.audit, "would violate") {
        annotate(attributes, "audit-violations", text);
    }
    if let Some(text) = broken(enforced, "violates") {
        return Err(attributes.forbidden(object, &text));
    }
    if let Some(text) = broken(policy.warn, "would violate") {
        attributes.call.warn(text);
    }
    Ok(())
}

/// Says something in the audit log.
fn annotate(attributes: &Attributes<'_>, key: &str, value: impl Into<String>) {
    attributes.call.annotate(&format!("pod-security.kubernetes.io/{key}"), value);
}

/// The pod in an object that is one or makes some.
fn template<'a>(plural: &str, object: &'a Value) -> Option<&'a Value> {
    let template = match plural {
        "pods" => object,
        "podtemplates" => &object["template"],
        "cronjobs" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    template.is_object().then_some(template)
}

/// Whether a change of a pod is one that standards care for: other images, more containers.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<Value> {
        pod["spec"][list].as_array().into_iter().flatten().map(|c| c["image"].clone()).collect()
    };
    let known = |container: &Value| {
        let mut before = old["spec"]["ephemeralContainers"].as_array().into_iter().flatten();
        before.any(|old| old["name"] == container["name"] && old["image"] == container["image"])
    };
    ["containers", "initContainers"].iter().any(|list| images(pod, list) != images(old, list))
        || pod["spec"]["ephemeralContainers"].as_array().into_iter().flatten().any(|c| !known(c))
}

async fn validate_namespace(attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    let standards = &attributes.call.server.config.admission.pod_security;
    let labels = &namespace["metadata"]["labels"];
    let (policy, causes) = Policy::of_labels(labels, standards.defaults);
    let name = object::name(namespace);
    let invalid = |causes| Err(Status::invalid("", "Namespace", name, causes));
    let Some(old) = attributes.old.filter(|_| attributes.operation == Operation::Update) else {
        if !causes.is_empty() {
            return invalid(causes);
        }
        warn_exempt(attributes, name, &policy, labels);
        return Ok(());
    };
    let (before, known) = Policy::of_labels(&old["metadata"]["labels"], standards.defaults);
    if !causes.is_empty() && causes != known {
        return invalid(causes);
    }
    let (enforce, was) = (policy.enforce, before.enforce);
    let relaxed = enforce.version == was.version && enforce.level <= was.level;
    if enforce == was || enforce.level == Level::Privileged || relaxed {
        return Ok(());
    }
    if standards.spares_namespace(name) {
        warn_exempt(attributes, name, &policy, labels);
        return Ok(());
    }
    for warning in existing_pods(attributes, name, enforce).await? {
        attributes.call.warn(warning);
    }
    Ok(())
}

/// Tells that labels of an exempt namespace do nothing.
fn warn_exempt(attributes: &Attributes<'_>, name: &str, policy: &Policy, labels: &Value) {
    let standards = &attributes.call.server.config.admission.pod_security;
    let says_nothing = policy.is_privileged() || policy.is_equivalent(&standards.defaults);
    if standards.spares_namespace(name) && !says_nothing {
        let told = policy.explicit(labels);
        let text = format!(
            "namespace {name:?} is exempt from Pod Security, and the policy ({told}) will be ignored"
        );
        attributes.call.warn(text);
    }
}

/// What to say of pods that a namespace would not take any more.
async fn existing_pods(
    attributes: &Attributes<'_>,
    namespace: &str,
    enforce: LevelVersion,
) -> Result<Vec<String>, Status> {
    let standards = &attributes.call.server.config.admission.pod_security;
    let pods = attributes.stored_all(("", "pods"), Some(namespace)).await?;
    let pods = one_of_each_controller(pods.iter().filter(|pod| !standards.spares_runtime(pod)));
    let mut warnings = Vec::new();
    if pods.len() > MOST_PODS {
        let text = "new PodSecurity enforce level only checked against the first";
        warnings.push(format!("{text} {MOST_PODS} of {} existing pods", pods.len()));
    }
    let mut names: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for pod in pods.into_iter().take(MOST_PODS) {
        let broken = pod_security::evaluate(enforce, pod);
        if !broken.is_empty() {
            names.entry(pod_security::reason(&broken)).or_default().insert(object::name(pod));
        }
    }
    if !names.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut each: Vec<String> = names.iter().map(|(reason, names)| told(reason, names)).collect();
    each.sort_unstable();
    warnings.extend(each);
    Ok(warnings)
}

fn told(reason: &str, names: &BTreeSet<&str>) -> String {
    let first = names.first().copied().unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        count => format!("{first} (and {} other pods): {reason}", count - 1),
    }
}

/// Pods of a controller are much the same: one of each comes first.
fn one_of_each_controller<'a>(pods: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    let controller = |pod: &'a Value| {
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.find(|owner| owner["controller"] == true).and_then(|owner| owner["uid"].as_str())
    };
    let (mut first, more): (Vec<_>, Vec<_>) =
        pods.partition(|pod| controller(pod).is_none_or(|uid| seen.insert(uid)));
    first.extend(more);
    first
}
