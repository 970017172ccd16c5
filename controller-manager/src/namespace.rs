//! Namespaces that go away: empty them, then let them go.
//!
//! Entry point: [`reconcile`]. Pods go first and everything else only when they are gone (KEP-5080),
//! so that nothing still runs while the policies that bound it are removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::{Act, Failure};
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{ListParams, ObjectList};
use kube::core::{ApiResource, PartialObjectMeta};
use serde_json::json;

use crate::discovery::Kinds;
use crate::owners::to_json;

/// The finalizer in `spec` that is ours to remove.
const FINALIZER: &str = "kubernetes";
/// Look again where no event tells of what finalizers of others hold back.
const LATER: Duration = Duration::from_secs(3);

/// A namespace being deleted, and what is left in it.
pub struct Observed {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Objects left, by kind; kinds without any are absent.
    pub content: Vec<(ApiResource, Vec<ObjectMeta>)>,
    /// Some of it is of a kind nobody watches (events): no change of it wakes us.
    pub unwatched: bool,
    /// Why the last plan failed.
    pub last: Option<Failure>,
}

/// Deletes what is left, reports what holds, and finalizes an empty namespace.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let meta = &observed.namespace.metadata;
    let finalizers =
        observed.namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if meta.deletion_timestamp.is_none() || !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Plan::nothing();
    }
    let mut plan = Plan::default();
    if observed.content.is_empty() {
        // The finalizer goes together with the last words: afterwards there is nothing to write to.
        let mut object = to_json(&*observed.namespace);
        let left: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Namespace");
        object["spec"]["finalizers"] = json!(left);
        let target = Target::same_version(&request::resource::<Namespace>(), meta);
        plan.actions.push(Action::Replace { target, subresource: Some("finalize"), object });
        return plan;
    }
    plan.actions.extend(new_conditions(observed, now));
    let is_pods = |resource: &ApiResource| resource.group.is_empty() && resource.plural == "pods";
    let pods_left = observed.content.iter().any(|(resource, _)| is_pods(resource));
    for (resource, objects) in observed.content.iter().filter(|(resource, _)| !pods_left || is_pods(resource))
    {
        for object in objects {
            if object.deletion_timestamp.is_none() {
                plan.actions.push(Action::Delete {
                    target: Target::same_object(resource, object),
                    propagation: Propagation::Background,
                    grace_period_seconds: None,
                });
            }
        }
    }
    if observed.unwatched {
        let deletes = plan.actions.iter().any(|action| matches!(action, Action::Delete { .. }));
        plan.requeue_within(if deletes { Duration::ZERO } else { LATER });
    }
    plan
}

struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn new_conditions(observed: &Observed, now: Timestamp) -> Option<Action> {
    let current =
        observed.namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = current.clone();
    for verdict in verdicts(observed) {
        let known = conditions.iter_mut().find(|condition| condition.type_ == verdict.kind);
        let mut transition = Some(Time(now));
        if let Some(known) = &known
            && known.status == verdict.status
        {
            transition.clone_from(&known.last_transition_time);
        }
        let condition = NamespaceCondition {
            type_: verdict.kind.to_owned(),
            status: verdict.status.to_owned(),
            reason: Some(verdict.reason.to_owned()),
            message: Some(verdict.message),
            last_transition_time: transition,
        };
        match known {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    }
    (conditions != current).then(|| Action::Patch {
        target: Target::same_object(&request::resource::<Namespace>(), &observed.namespace.metadata),
        subresource: Some("status"),
        patch: json!({"status": {"conditions": conditions}}),
    })
}

fn verdicts(observed: &Observed) -> Vec<Verdict> {
    let refused = observed.last.as_ref().filter(|last| last.act == Act::Delete);
    let content_failure = match refused {
        Some(last) => Verdict {
            kind: "NamespaceDeletionContentFailure",
            status: "True",
            reason: "ContentDeletionFailed",
            message: format!("Failed to delete all resource types, 1 remaining: {}", last.message),
        },
        None => Verdict {
            kind: "NamespaceDeletionContentFailure",
            status: "False",
            reason: "ContentDeleted",
            message: "All content successfully deleted, may be waiting on finalization".to_owned(),
        },
    };
    let fine =
        |kind, reason, message: &str| Verdict { kind, status: "False", reason, message: message.to_owned() };
    vec![
        fine(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        content_failure,
        remaining(observed),
        finalizers_remaining(observed),
    ]
}

fn remaining(observed: &Observed) -> Verdict {
    let name = |resource: &ApiResource| match resource.group.as_str() {
        "" => format!("{}.", resource.plural),
        group => format!("{}.{group}", resource.plural),
    };
    let each = observed
        .content
        .iter()
        .map(|(resource, objects)| format!("{} has {} resource instances", name(resource), objects.len()));
    let each: Vec<String> = each.collect();
    Verdict {
        kind: "NamespaceContentRemaining",
        status: "True",
        reason: "SomeResourcesRemain",
        message: format!("Some resources are remaining: {}", each.join(", ")),
    }
}

fn finalizers_remaining(observed: &Observed) -> Verdict {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let objects = observed.content.iter().flat_map(|(_, objects)| objects);
    for finalizer in objects.flat_map(|object| object.finalizers.iter().flatten()) {
        *counts.entry(finalizer).or_default() += 1;
    }
    let kind = "NamespaceFinalizersRemaining";
    if counts.is_empty() {
        let message = "All content-preserving finalizers finished".to_owned();
        return Verdict { kind, status: "False", reason: "ContentHasNoFinalizers", message };
    }
    let each: Vec<String> = counts
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    let message = format!("Some content in the namespace has finalizers remaining: {}", each.join(", "));
    Verdict { kind, status: "True", reason: "SomeFinalizersRemain", message }
}

/// Watches namespaces and everything in those that go.
pub struct Namespaces {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    kinds: Kinds,
}

impl Namespaces {
    /// Uses the process's shared views; that nothing is left is read live.
    pub fn new(informers: &Informers, kinds: &Kinds) -> Self {
        Self { client: informers.client().clone(), namespaces: informers.of(), kinds: kinds.clone() }
    }

    /// What is left, and whether all of it is watched.
    async fn content(&self, namespace: &str) -> Result<(Vec<(ApiResource, Vec<ObjectMeta>)>, bool), Failure> {
        let known = self.kinds.in_namespace(namespace);
        if !known.is_empty() {
            return Ok((known, true));
        }
        // Views may lag: only a live look can say that nothing is left.
        let mut content = Vec::new();
        for served in self.kinds.all().into_iter().filter(|served| served.namespaced) {
            let failure = |error: kube::Error| {
                Failure::new(Act::Observe, &served.resource, Key::new(namespace, ""), &error)
            };
            let requests = request::requests(&served.resource, Some(namespace));
            let request = requests.list_metadata(&ListParams::default());
            let request = request.map_err(|error| failure(kube::Error::BuildRequest(error)))?;
            let list: ObjectList<PartialObjectMeta> = match self.client.request(request).await {
                Ok(list) => list,
                // Served when we looked, not any more.
                Err(error) if matches!(request::code(&error), Some(404 | 405)) => continue,
                Err(error) => return Err(failure(error)),
            };
            let objects: Vec<ObjectMeta> = list.items.into_iter().map(|object| object.metadata).collect();
            if !objects.is_empty() {
                content.push((served.resource, objects));
            }
        }
        Ok((content, false))
    }
}

#[async_trait]
impl Controller for Namespaces {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on(&self.namespaces, |change| {
            change.current().is_some_and(|n| n.metadata.deletion_timestamp.is_some()).then(|| change.key())
        });
        let (namespaces, queue) = (self.namespaces.clone(), wake.queue());
        self.kinds.on_change(move |_, change| {
            let key = Key::cluster(change.key().namespace);
            let going = |key: &Key| {
                namespaces.get(key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
            };
            if !key.name.is_empty() && going(&key) {
                queue.add(key);
            }
        });
        let kinds = self.kinds.clone();
        wake.after(async move { kinds.ready().await });
    }

    async fn observe(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Ok(None);
        }
        let (content, watched) = self.content(&key.name).await?;
        let unwatched = !watched && !content.is_empty();
        Ok(Some(Observed { namespace, content, unwatched, last: last.cloned() }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
