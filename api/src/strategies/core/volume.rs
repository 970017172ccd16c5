//! Rules of persistent volumes and claims.

use serde_json::{Value, json};

use super::super::check::{self, entries, list, text};
use super::super::{pod, resources};
use crate::names;
use crate::object;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";
/// What can be behind a volume, in the order upstream looks for it.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Storage of the cluster.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn answers_deleted(&self) -> bool {
        true
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, context: &Context) {
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": context.now});
    }

    /// A change of phase is dated, unless the writer does that.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        let (new, before) = (&object["status"], &old["status"]);
        let field = "lastPhaseTransitionTime";
        let undated = new[field].is_null() || new[field] == before[field];
        if context.subresource == "status" && new["phase"] != before["phase"] && undated {
            object::section(object, "status").insert(field.to_owned(), context.now.as_str().into());
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        if list(spec, "accessModes").is_empty() {
            causes.push(Cause::required("spec.accessModes", ""));
        }
        access_modes(&mut causes, spec, "spec.accessModes");
        capacity(&mut causes, &spec["capacity"]);
        let policy = &spec["persistentVolumeReclaimPolicy"];
        if !text(spec, "persistentVolumeReclaimPolicy").is_empty() {
            let field = "spec.persistentVolumeReclaimPolicy";
            check::one_of(&mut causes, field, policy, &["Delete", "Recycle", "Retain"]);
        }
        let affinity = &spec["nodeAffinity"];
        if !affinity.is_null() && affinity["required"].is_null() {
            let detail = "must specify required node constraints";
            causes.push(Cause::required("spec.nodeAffinity.required", detail));
        } else if !affinity.is_null() {
            pod::node_selector(&mut causes, &affinity["required"], "spec.nodeAffinity.required");
        }
        sources(&mut causes, spec);
        if spec["hostPath"]["path"] == "/" && policy == "Recycle" {
            let detail = "may not be 'recycle' for a hostPath mount of '/'";
            causes.push(Cause::forbidden("spec.persistentVolumeReclaimPolicy", detail));
        }
        class_and_mode(&mut causes, spec, "spec");
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (mut new, old) = (object["spec"].clone(), &old["spec"]);
        if old["csi"]["controllerExpandSecretRef"].is_null()
            && let Some(csi) = new.get_mut("csi").filter(|_| !old["csi"].is_null())
        {
            object::remove(csi, "controllerExpandSecretRef");
        }
        if SOURCES.iter().any(|source| new[*source] != old[*source]) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            causes.push(Cause::forbidden("spec.persistentvolumesource", detail));
        }
        check::immutable(&mut causes, "volumeMode", &new["volumeMode"], &old["volumeMode"]);
        if !old["nodeAffinity"].is_null() {
            check::immutable(&mut causes, "nodeAffinity", &new["nodeAffinity"], &old["nodeAffinity"]);
        }
        attributes_class(&mut causes, &new, old);
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource == "status" { Vec::new() } else { self.validate_update(object, old) }
    }
}

fn access_modes(causes: &mut Vec<Cause>, spec: &Value, field: &str) {
    let modes = list(spec, "accessModes");
    for mode in modes.iter().filter(|mode| !mode.as_str().is_some_and(|m| MODES.contains(&m))) {
        causes.push(Cause::not_supported(field, mode, &MODES));
    }
    let alone = |mode: &&Value| **mode == "ReadWriteOncePod";
    let others = modes.iter().any(|mode| !alone(&mode) && mode.as_str().is_some_and(|m| MODES.contains(&m)));
    if others && modes.iter().any(|mode| alone(&mode)) {
        causes.push(Cause::forbidden(field, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn capacity(causes: &mut Vec<Cause>, capacity: &Value) {
    let count = entries(capacity).count();
    if count == 0 {
        causes.push(Cause::required("spec.capacity", ""));
    }
    if capacity["storage"].is_null() || count > 1 {
        causes.push(Cause::not_supported("spec.capacity", capacity, &["storage"]));
    }
    for (name, amount) in entries(capacity) {
        positive(causes, &format!("spec.capacity[{name}]"), amount);
    }
}

/// An amount of something; false if it is not even an amount above zero.
fn positive(causes: &mut Vec<Cause>, field: &str, amount: &Value) -> bool {
    match Quantity::from_json(amount) {
        Ok(quantity) if quantity > Quantity::ZERO => return true,
        Ok(quantity) => {
            causes.push(Cause::invalid(field, &json!(quantity.to_string()), "must be greater than zero"));
        }
        Err(error) => causes.push(Cause::invalid(field, amount, &error.to_string())),
    }
    false
}

fn sources(causes: &mut Vec<Cause>, spec: &Value) {
    let mut given = SOURCES.into_iter().filter(|source| !spec[*source].is_null());
    let Some(first) = given.next() else {
        causes.push(Cause::required("spec", "must specify a volume type"));
        return;
    };
    source(causes, spec, first);
    for other in given {
        causes.push(Cause::forbidden(format!("spec.{other}"), MORE_THAN_ONE));
    }
}

/// Kinds upstream itself no longer mounts (`flocker`, `quobyte`, …) are not looked into.
fn source(causes: &mut Vec<Cause>, spec: &Value, kind: &str) {
    let (source, path) = (&spec[kind], format!("spec.{kind}"));
    let at = |field: &str| format!("{path}.{field}");
    match kind {
        "hostPath" => pod::host_path(causes, source, &path),
        "nfs" => {
            check::required(causes, &at("server"), &source["server"], None);
            check::required(causes, &at("path"), &source["path"], None);
            if !text(source, "path").starts_with('/') {
                causes.push(Cause::invalid(at("path"), &source["path"], "must be an absolute path"));
            }
        }
        "local" => {
            check::required(causes, &at("path"), &source["path"], None);
            if text(source, "path").split('/').any(|part| part == "..") {
                causes.push(Cause::invalid(at("path"), &source["path"], "must not contain '..'"));
            }
            if spec["nodeAffinity"].is_null() {
                let detail = "Local volume requires node affinity";
                causes.push(Cause::required("spec.nodeAffinity", detail));
            }
        }
        "csi" => {
            check::required(causes, &at("driver"), &source["driver"], Some(names::dns1123_subdomain));
            if text(source, "driver").len() > 63 {
                causes.push(Cause::too_long(at("driver"), 63));
            }
            check::required(causes, &at("volumeHandle"), &source["volumeHandle"], None);
            for (field, reference) in entries(source).filter(|(field, _)| field.ends_with("SecretRef")) {
                let (name, namespace) = (&reference["name"], &reference["namespace"]);
                let path = at(field);
                check::required(causes, &format!("{path}.name"), name, Some(names::dns1123_subdomain));
                check::required(causes, &format!("{path}.namespace"), namespace, Some(names::dns1123_label));
            }
        }
        _ => {}
    }
}

fn class_and_mode(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let field = format!("{path}.storageClassName");
    check::optional(causes, &field, &spec["storageClassName"], names::dns1123_subdomain);
    if !spec["volumeMode"].is_null() {
        let shown = json!(text(spec, "volumeMode"));
        if !["Block", "Filesystem"].contains(&text(spec, "volumeMode")) {
            let field = format!("{path}.volumeMode");
            causes.push(Cause::not_supported(field, &shown, &["Block", "Filesystem"]));
        }
    }
    let field = format!("{path}.volumeAttributesClassName");
    check::optional(causes, &field, &spec["volumeAttributesClassName"], names::dns1123_subdomain);
}

/// A class of attributes may change, but not go.
fn attributes_class(causes: &mut Vec<Cause>, new: &Value, old: &Value) {
    let field = "volumeAttributesClassName";
    let before = old[field].as_str().is_some();
    let detail = match new[field].as_str() {
        None if before => "update from non-nil value to nil is forbidden",
        Some("") if before && !text(old, field).is_empty() => {
            "update from non-nil value to an empty string is forbidden"
        }
        _ => return,
    };
    causes.push(Cause::forbidden(format!("spec.{field}"), detail));
}

/// A pod's claim to storage.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn answers_deleted(&self) -> bool {
        true
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    /// Both fields that name a source of data say the same.
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"phase": "Pending"});
        let spec = object::section(object, "spec");
        let given = |spec: &serde_json::Map<String, Value>, key: &str| {
            spec.get(key).filter(|source| !source.is_null()).cloned()
        };
        match (given(spec, "dataSource"), given(spec, "dataSourceRef")) {
            (Some(source), None) => drop(spec.insert("dataSourceRef".to_owned(), source)),
            (None, Some(source)) if text(&source, "namespace").is_empty() => {
                spec.insert("dataSource".to_owned(), source);
            }
            _ => {}
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        validate_claim(&mut causes, &object["spec"], "spec");
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (new, before) = (&object["spec"], &old["spec"]);
        let annotation = |object: &Value| object["metadata"]["annotations"][CLASS_ANNOTATION].clone();
        let mut munged = new.clone();
        if text(before, "volumeName").is_empty() {
            check::copy(&mut munged, before, "volumeName");
        }
        check::copy(&mut munged, before, "volumeAttributesClassName");
        let (from, to) = (annotation(old), annotation(object));
        // A class may be given later to a claim that has none, or that has it as an annotation.
        let class = &new["storageClassName"];
        if before["storageClassName"].is_null() && class.is_string() && (from.is_null() || from == *class) {
            check::copy(&mut munged, before, "storageClassName");
        }
        if from != to && !(before["storageClassName"].is_null() && from == *class && to.is_null()) {
            let field = format!("metadata.annotations[{CLASS_ANNOTATION}]");
            check::immutable(&mut causes, &field, &to, &from);
        }
        let requested = |spec: &Value| spec["resources"]["requests"]["storage"].clone();
        if old["status"]["phase"] == "Bound" && munged["resources"]["requests"].is_object() {
            munged["resources"]["requests"]["storage"] = requested(before);
        }
        if munged != *before {
            let detail = "spec is immutable after creation except resources.requests and \
                volumeAttributesClassName for bound claims";
            causes.push(Cause::forbidden("spec", detail));
        }
        shrunk(&mut causes, &requested(new), &requested(before), &old["status"]["capacity"]["storage"]);
        check::immutable(&mut causes, "volumeMode", &new["volumeMode"], &before["volumeMode"]);
        attributes_class(&mut causes, new, before);
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let mut causes = Vec::new();
        let status = &object["status"];
        for (name, amount) in entries(&status["capacity"]) {
            if Quantity::from_json(amount).is_ok_and(Quantity::is_negative) {
                let detail = "must be a valid resource quantity";
                causes.push(Cause::invalid(format!("status.capacity[{name}]"), amount, detail));
            }
        }
        for (name, amount) in entries(&status["allocatedResources"]) {
            if name != "storage" && !name.contains('/') {
                causes.push(Cause::not_supported("status.allocatedResources", &json!(name), &["storage"]));
                continue;
            }
            resources::amount(&mut causes, &format!("status.allocatedResources[{name}]"), name, amount);
        }
        causes
    }
}

/// A claim may be cut back to what it has, so that a growth that fails can be given up, but not below.
fn shrunk(causes: &mut Vec<Cause>, new: &Value, old: &Value, has: &Value) {
    let amount = |value: &Value| Quantity::from_json(value).unwrap_or(Quantity::ZERO);
    if amount(new) < amount(old) && amount(new) <= amount(has) {
        let field = "spec.resources.requests.storage";
        causes.push(Cause::forbidden(field, "field can not be less than status.capacity"));
    }
}

/// Checks the specification of a claim at `path`, which may be a template's.
pub(in crate::strategies) fn validate_claim(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let at = |field: &str| format!("{path}.{field}");
    if list(spec, "accessModes").is_empty() {
        causes.push(Cause::required(at("accessModes"), "at least 1 access mode is required"));
    }
    if !spec["selector"].is_null() {
        check::label_selector(causes, &at("selector"), &spec["selector"]);
    }
    access_modes(causes, spec, &at("accessModes"));
    let (field, storage) = (at("resources[storage]"), &spec["resources"]["requests"]["storage"]);
    if storage.is_null() {
        causes.push(Cause::required(field, ""));
    } else {
        positive(causes, &field, storage);
    }
    class_and_mode(causes, spec, path);
    data_sources(causes, spec, path);
}

fn data_sources(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    for key in ["dataSource", "dataSourceRef"] {
        let (source, path) = (&spec[key], format!("{path}.{key}"));
        if source.is_null() {
            continue;
        }
        check::required(causes, &format!("{path}.name"), &source["name"], None);
        check::required(causes, &format!("{path}.kind"), &source["kind"], None);
        if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            causes.push(Cause::invalid(path.as_str(), &json!(text(source, "kind")), detail));
        }
        let field = format!("{path}.namespace");
        check::optional(causes, &field, &source["namespace"], names::dns1123_label);
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if source.is_null() || reference.is_null() {
        return;
    }
    let same = ["apiGroup", "kind", "name"].iter().all(|key| source[*key] == reference[*key]);
    let detail = if !text(reference, "namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if !same {
        "must match dataSourceRef"
    } else {
        return;
    };
    causes.push(Cause::invalid(path, &json!(format!("{path}.dataSource")), detail));
}
