//! What comes back, and in which order: pure.
//!
//! Entry point: [`plan`]. What belongs to a deletion is found by uid, which no two objects ever share,
//! and by when its own deletion began: not before the one it followed from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::ctl::resources::Resource;

/// Says of an object that came back which one it was: `UID@REVISION`, the revision that began the
/// deletion it followed from.
const ORIGIN: &str = "gantry.dev/undeleted";

/// Kinds that are made again by the controller that owns them.
const REMADE: [&str; 3] = ["Pod", "EndpointSlice", "Endpoints"];
/// Kinds that tell of the past only; they do not come back.
const RECORDS: [&str; 1] = ["Event"];
/// Kinds in the order they are needed; others follow, bare pods come last.
const FIRST: [&str; 8] = [
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "Role",
    "RoleBinding",
    "Service",
];

/// Where to look for what went along.
pub struct Scope {
    /// `None` looks everywhere.
    pub namespace: Option<String>,
    /// Everything in the namespace, and not only dependents.
    pub whole: bool,
}

impl Scope {
    /// The scope of an object.
    pub fn of(resource: &Resource, namespace: &str, name: &str) -> Self {
        let whole = resource.kind == "Namespace" && resource.group.is_empty();
        let namespace =
            if whole { Some(name.to_owned()) } else { resource.namespaced.then(|| namespace.to_owned()) };
        Self { namespace, whole }
    }
}

/// Which object one was, and the revision that began the deletion it followed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    pub uid: String,
    pub begun: u64,
}

impl Origin {
    /// What a present object says of where it came from.
    pub fn of(object: &Value) -> Option<Self> {
        let (uid, begun) = object["metadata"]["annotations"][ORIGIN].as_str()?.split_once('@')?;
        Some(Self { uid: uid.to_owned(), begun: begun.parse().ok()? })
    }
}

/// An object that is gone, as it was before its deletion began.
#[derive(Debug, Clone)]
pub struct Removed {
    pub resource: Resource,
    pub object: Value,
    /// The revision that began its deletion.
    pub begun: u64,
}

impl Removed {
    /// From an item of the server's list.
    pub fn parse(resource: &Resource, item: &Value) -> Option<Self> {
        let begun = item["begun"].as_str()?.parse().ok()?;
        Some(Self { resource: resource.clone(), object: item["object"].clone(), begun })
    }

    /// The uid it had.
    pub fn uid(&self) -> &str {
        api::object::uid(&self.object)
    }

    /// The origin of what comes back of it and of all that followed.
    pub fn origin(&self) -> Origin {
        Origin { uid: self.uid().to_owned(), begun: self.begun }
    }

    fn belongs_to(&self, uids: &BTreeSet<String>) -> bool {
        self.owners().any(|owner| owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
    }

    fn owners(&self) -> impl Iterator<Item = &Value> {
        self.object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
    }
}

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It comes back so.
    Create(Value),
    /// It does not, and why.
    Leave(String),
}

/// One object and what becomes of it.
pub struct Step {
    pub resource: Resource,
    pub name: String,
    pub origin: Origin,
    pub act: Act,
}

impl Step {
    /// `deployment.apps/web`.
    pub fn shown(&self) -> String {
        format!("{}/{}", self.resource.singular_name(), self.name)
    }
}

/// Decides what comes back: the root unless it is back already, then what followed from its deletion.
/// `known` are old uids of objects that an earlier run brought back.
pub fn plan(
    root: Option<Removed>,
    origin: &Origin,
    removed: Vec<Removed>,
    known: &BTreeMap<String, String>,
    whole: bool,
) -> Vec<Step> {
    let mut members: BTreeSet<String> = known.keys().cloned().collect();
    members.insert(origin.uid.clone());
    let mut chosen: Vec<(usize, Removed)> = root.into_iter().map(|root| (0, root)).collect();
    let wanted = |candidate: &Removed| {
        candidate.begun >= origin.begun && !RECORDS.contains(&candidate.resource.kind.as_str())
    };
    let mut rest: Vec<Removed> = removed.into_iter().filter(wanted).collect();
    if whole {
        // What belongs to nothing else in the namespace comes before what does.
        let all: BTreeSet<String> = rest.iter().map(|removed| removed.uid().to_owned()).collect();
        let (bound, free): (Vec<Removed>, Vec<Removed>) =
            rest.into_iter().partition(|removed| removed.belongs_to(&all));
        members.extend(free.iter().map(|free| free.uid().to_owned()));
        chosen.extend(free.into_iter().map(|free| (0, free)));
        rest = bound;
    }
    // Dependents of dependents: each round finds those of the round before.
    for depth in 1.. {
        let (found, others): (Vec<Removed>, Vec<Removed>) =
            rest.into_iter().partition(|candidate| candidate.belongs_to(&members));
        rest = others;
        if found.is_empty() {
            break;
        }
        members.extend(found.iter().map(|found| found.uid().to_owned()));
        chosen.extend(found.into_iter().map(|found| (depth, found)));
    }
    chosen.sort_by_cached_key(|(depth, removed)| {
        let kind = removed.resource.kind.as_str();
        let rank = FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len());
        (
            *depth,
            rank + usize::from(kind == "Pod"),
            kind.to_owned(),
            api::object::name(&removed.object).to_owned(),
        )
    });
    chosen.into_iter().map(|(_, removed)| step(removed, origin.begun, &members)).collect()
}

fn step(removed: Removed, begun: u64, members: &BTreeSet<String>) -> Step {
    let origin = Origin { uid: removed.uid().to_owned(), begun };
    let act = match left_out(&removed, members) {
        Some(why) => Act::Leave(why),
        None => {
            let mut object = recreated(&removed.object);
            let metadata = &mut object["metadata"];
            api::object::section(metadata, "annotations")
                .insert(ORIGIN.to_owned(), format!("{}@{begun}", origin.uid).into());
            Act::Create(object)
        }
    };
    let name = api::object::name(&removed.object).to_owned();
    Step { resource: removed.resource, name, origin, act }
}

/// Why an object does not come back, if there is a reason.
fn left_out(removed: &Removed, members: &BTreeSet<String>) -> Option<String> {
    let kind = removed.resource.kind.as_str();
    let controller = removed.owners().find(|owner| owner["controller"] == true);
    if let Some(owner) =
        controller.filter(|owner| owner["uid"].as_str().is_some_and(|uid| members.contains(uid)))
        && REMADE.contains(&kind)
    {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        return Some(format!("{}/{} makes it anew", text("kind").to_lowercase(), text("name")));
    }
    let done = removed.object["status"]["conditions"].as_array().is_some_and(|all| {
        all.iter().any(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True")
    });
    let ended = ["Succeeded", "Failed"].iter().any(|phase| removed.object["status"]["phase"] == *phase);
    if (kind == "Job" && done) || (kind == "Pod" && ended) {
        return Some("it had finished and would run again".to_owned());
    }
    None
}

/// An object as a new one: without what the server gives, and without what was decided for the old one.
pub fn recreated(object: &Value) -> Value {
    let mut new = object.clone();
    api::object::remove(&mut new, "status");
    let metadata = api::object::metadata_mut(&mut new);
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        metadata.remove(field);
    }
    if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
        finalizers.retain(|finalizer| finalizer != "orphan" && finalizer != "foregroundDeletion");
    }
    match object["kind"].as_str() {
        // The scheduler chooses again.
        Some("Pod") => drop(api::object::section(&mut new, "spec").remove("nodeName")),
        Some("Job") => forget_generated_selector(&mut new),
        _ => {}
    }
    new
}

/// A job's selector names the job's own uid unless its author chose one.
fn forget_generated_selector(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    api::object::section(job, "spec").remove("selector");
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = job.pointer_mut(labels).and_then(Value::as_object_mut) {
            labels.retain(|key, _| key != "controller-uid" && key != "batch.kubernetes.io/controller-uid");
        }
    }
}

/// Lets the server choose a service's addresses and ports.
pub fn forget_addresses(service: &mut Value) {
    let spec: &mut Map<String, Value> = api::object::section(service, "spec");
    for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
        spec.remove(field);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        api::object::remove(port, "nodePort");
    }
}

#[cfg(test)]
mod tests;
