//! Names and numbers of replica sets: which one is current, what revision each has, which old ones go.

use std::collections::BTreeMap;

use client::execute::{Act, Failure};
use client::plan::EventType;
use client::request;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rolling;
use super::rollout::{DESIRED, MAX, Rollout, Set};
use crate::owners::{controller_reference, to_json};

/// Which revision of the deployment a replica set is; on the deployment, which it is at.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Revisions the set had before a rollback to it.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Keeps the pods of different replica sets apart.
const HASH: &str = "pod-template-hash";
/// Annotations of the deployment that are its own affair.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// Whether the set was made from the deployment's present template.
pub(super) fn same_template(spec: &DeploymentSpec, set: &ReplicaSet) -> bool {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    template.is_some_and(|template| without_hash(template) == without_hash(&spec.template))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.creation_timestamp = None;
    let labels = metadata.labels.get_or_insert_default();
    labels.remove(HASH);
    metadata.annotations.get_or_insert_default();
    template
}

fn revision_of(set: &Set) -> i64 {
    set.annotations.get(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// The number the current set must have: one more than any old set.
fn next_revision(rollout: &Rollout<'_>) -> i64 {
    rollout.old().into_iter().map(|index| revision_of(&rollout.sets[index])).max().unwrap_or(0) + 1
}

/// Finds the current set and brings its annotations, and the deployment's revision, up to date.
pub(super) fn sync_existing(rollout: &mut Rollout<'_>) {
    rollout.find_new();
    let Some(index) = rollout.new else { return };
    let revision = next_revision(rollout);
    let copied = copied_annotations(rollout.deployment);
    let min_ready_seconds = rollout.spec.min_ready_seconds.unwrap_or(0);
    let set = &mut rollout.sets[index];
    set.annotations.extend(copied);
    set.min_ready_seconds = min_ready_seconds;
    number(set, revision);
    let current = set.annotations.get(REVISION).cloned();
    let found = format!("Found new replica set \"{}\"", set.name());
    set_deployment_revision(rollout, current);
    if rollout.deadline().is_some() && rollout.condition("Progressing").is_none() {
        rollout.set_condition("Progressing", "True", "FoundNewReplicaSet", found);
    }
}

/// Raises a set's revision; the one it had goes to its history. A set with a later number keeps it.
fn number(set: &mut Set, revision: i64) {
    let known = set.annotations.get(REVISION).cloned();
    if revision_of(set) >= revision {
        return;
    }
    set.annotations.insert(REVISION.to_owned(), revision.to_string());
    if let Some(known) = known.filter(|known| !known.is_empty()) {
        let history = set.annotations.entry(HISTORY.to_owned()).or_default();
        if !history.is_empty() {
            history.push(',');
        }
        history.push_str(&known);
    }
}

fn set_deployment_revision(rollout: &mut Rollout<'_>, revision: Option<String>) {
    let annotations = rollout.deployment.metadata.annotations.as_ref();
    if annotations.and_then(|annotations| annotations.get(REVISION)) != revision.as_ref() {
        rollout.revision = revision;
    }
}

fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.into_iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())).collect()
}

/// Like [`sync_existing`], but makes a new set when there is none for the template.
pub(super) fn sync_or_create(rollout: &mut Rollout<'_>, last: Option<&Failure>) {
    sync_existing(rollout);
    if rollout.new.is_some() {
        return;
    }
    let refused = last.filter(|last| last.act == Act::Create && last.plural == "replicasets");
    if let Some(last) = refused {
        rollout.status_first = true;
        if last.reason == "AlreadyExists" {
            // Somebody else's set has the name our hash gives: another count gives another hash.
            rollout.collision_count = Some(rollout.collision_count.unwrap_or(0) + 1);
        } else {
            note_refusal(rollout, last);
        }
    }
    let revision = next_revision(rollout);
    rollout.sets.push(new_set(rollout, revision));
    let index = rollout.sets.len() - 1;
    rollout.new = Some(index);
    let replicas = rolling::new_set_size(rollout, index);
    let set = &mut rollout.sets[index];
    set.replicas = replicas;
    let name = set.name().to_owned();
    if replicas > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {replicas}");
        rollout.sets[index].said = Some(rollout.event(EventType::Normal, "ScalingReplicaSet", message));
    }
    let complaint = format!("Failed to create new replica set \"{name}\": {{error}}");
    rollout.sets[index].complaint =
        Some(rollout.event(EventType::Warning, "ReplicaSetCreateError", complaint));
    set_deployment_revision(rollout, Some(revision.to_string()));
    if rollout.deadline().is_some() && refused.is_none_or(|last| last.reason == "AlreadyExists") {
        let message = format!("Created new replica set \"{name}\"");
        rollout.set_condition("Progressing", "True", "NewReplicaSetCreated", message);
    }
}

fn note_refusal(rollout: &mut Rollout<'_>, last: &Failure) {
    let message = format!("Failed to create new replica set \"{}\": {}", last.key.name, last.message);
    if rollout.deadline().is_some() {
        rollout.set_condition("Progressing", "False", "ReplicaSetCreateError", message);
    }
}

fn new_set(rollout: &Rollout<'_>, revision: i64) -> Set {
    let (deployment, spec) = (rollout.deployment, rollout.spec);
    let hash = template_hash(&spec.template, rollout.collision_count);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let mut annotations = copied_annotations(deployment);
    let wanted = rollout.wanted();
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.insert(DESIRED.to_owned(), wanted.to_string());
    annotations.insert(MAX.to_owned(), (wanted + rollout.max_surge()).to_string());
    let owner = controller_reference(&request::resource::<Deployment>(), &deployment.metadata);
    let object = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", rollout.name())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds.filter(|seconds| *seconds != 0),
            selector,
            template: Some(template),
        }),
        status: None,
    };
    let min_ready_seconds = spec.min_ready_seconds.unwrap_or(0);
    Set { exists: false, replicas: 0, min_ready_seconds, annotations, ..Set::existing(object.into()) }
}

/// A short, stable name for a template, in letters that cannot spell words.
///
/// FNV-1a over the template's canonical JSON. Kubernetes hashes Go memory layout; nothing depends on
/// the value, only on it staying the same for the same template.
fn template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = to_json(&without_hash(template)).to_string();
    let count = collision_count.map(|count| count.to_string()).unwrap_or_default();
    let hash = text
        .bytes()
        .chain(count.bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// Drops old, empty, settled sets beyond the history limit, lowest revision first.
pub(super) fn clean_up(rollout: &mut Rollout<'_>) {
    let Some(limit) = rollout.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
    let mut old = rollout.old();
    old.retain(|index| rollout.sets[*index].object.metadata.deletion_timestamp.is_none());
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by_key(|index| revision_of(&rollout.sets[*index]));
    for index in old.into_iter().take(surplus) {
        let set = &mut rollout.sets[index];
        let observed = set.object.status.as_ref().and_then(|status| status.observed_generation);
        let settled = set.object.metadata.generation.unwrap_or(0) <= observed.unwrap_or(0);
        if set.actual() == 0 && set.replicas == 0 && settled {
            set.delete = true;
        }
    }
}
