//! What may change in a pod that exists.

use serde_json::{Value, json};

use super::super::check::{self, list, text};
use super::qos_class;
use crate::object;
use crate::status::Cause;

const CONTAINER_LISTS: [&str; 2] = ["containers", "initContainers"];

const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod itself.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    for field in CONTAINER_LISTS {
        if list(new, field).len() != list(old, field).len() {
            let detail = "pod updates may not add or remove containers";
            causes.push(Cause::forbidden(format!("spec.{field}"), detail));
            return causes;
        }
        for (at, container) in list(new, field).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                let detail = "must not have leading or trailing whitespace";
                causes.push(Cause::invalid(format!("spec.{field}[{at}].image"), &json!(image), detail));
            }
        }
    }
    if !deadline(&mut causes, &new["activeDeadlineSeconds"], &old["activeDeadlineSeconds"]) {
        return causes;
    }
    tolerations(&mut causes, new, old);
    for (at, gate) in list(new, "schedulingGates").iter().enumerate() {
        if !list(old, "schedulingGates").iter().any(|known| known["name"] == gate["name"]) {
            let name = text(gate, "name");
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            causes.push(Cause::forbidden(format!("spec.schedulingGates[{at}].name"), &detail));
        }
    }
    let munged = munged(new, old);
    if munged != *old {
        let detail = format!("{CHANGEABLE}\n{}", differences(&munged, old));
        causes.push(Cause::forbidden("spec", &detail));
    }
    causes
}

/// False if nothing else is worth reporting.
fn deadline(causes: &mut Vec<Cause>, new: &Value, old: &Value) -> bool {
    let field = "spec.activeDeadlineSeconds";
    match (new.as_i64(), old.as_i64()) {
        (Some(new_value), _) if !(0..=i64::from(i32::MAX)).contains(&new_value) => {
            check::between(causes, field, new, 0, i64::from(i32::MAX));
            false
        }
        (Some(new_value), Some(old_value)) if old_value < new_value => {
            causes.push(Cause::invalid(field, new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            causes.push(Cause::invalid(field, &Value::Null, detail));
            true
        }
        _ => true,
    }
}

fn tolerations(causes: &mut Vec<Cause>, new: &Value, old: &Value) {
    let but_seconds = |toleration: &Value| {
        let mut rest = toleration.clone();
        crate::object::remove(&mut rest, "tolerationSeconds");
        rest
    };
    let kept: Vec<Value> = list(new, "tolerations").iter().map(but_seconds).collect();
    if !list(old, "tolerations").iter().all(|toleration| kept.contains(&but_seconds(toleration))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
}

/// The new specification with everything that may change put back.
fn munged(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    for field in CONTAINER_LISTS {
        for (at, container) in
            spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            check::copy(container, &list(old, field)[at], "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        check::copy(&mut spec, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if old[grace].as_i64().is_some_and(|seconds| seconds < 0) && spec[grace] == 1 {
        check::copy(&mut spec, old, grace);
    }
    if !list(old, "schedulingGates").is_empty() {
        let kept =
            check::entries(&old["nodeSelector"]).all(|(key, value)| new["nodeSelector"][key] == *value);
        if kept {
            check::copy(&mut spec, old, "nodeSelector");
        }
    }
    spec
}

/// Names the fields that differ, one a line.
fn differences(new: &Value, old: &Value) -> String {
    let keys: std::collections::BTreeSet<&String> =
        check::entries(new).chain(check::entries(old)).map(|(key, _)| key).collect();
    keys.into_iter()
        .filter(|key| new.get(key) != old.get(key))
        .map(|key| format!("  {key}: {} -> {}\n", old[key.as_str()], new[key.as_str()]))
        .collect()
}

/// What a write through `ephemeralcontainers` may carry; all else stays as it was.
pub(super) fn keep_ephemeral(new: &mut Value, old: &Value) {
    let mut kept = old.clone();
    if let Some(spec) = kept.get_mut("spec") {
        check::copy(spec, &new["spec"], "ephemeralContainers");
    }
    *new = kept;
}

/// What a write through `resize` may carry; all else stays as it was.
pub(super) fn keep_resources(new: &mut Value, old: &Value) {
    let mut kept = old.clone();
    for field in CONTAINER_LISTS {
        let sent = list(&new["spec"], field);
        let names = |containers: &[Value]| -> Vec<Value> {
            containers.iter().map(|container| container["name"].clone()).collect()
        };
        if names(sent) != names(list(&old["spec"], field)) {
            // Left for validation to see.
            check::copy(&mut kept["spec"], &new["spec"], field);
            continue;
        }
        let containers = kept["spec"].get_mut(field).and_then(Value::as_array_mut);
        for (container, sent) in containers.into_iter().flatten().zip(sent) {
            for part in ["resources", "resizePolicy"] {
                check::copy(container, sent, part);
            }
        }
    }
    *new = kept;
}

/// A write through `ephemeralcontainers`: they are only added.
pub(super) fn validate_ephemeral(new: &Value, old: &Value) -> Vec<Cause> {
    if is_mirror(old) {
        return vec![Cause::forbidden("", "static pods do not support ephemeral containers")];
    }
    let mut causes = Vec::new();
    let field = "spec.ephemeralContainers";
    for container in list(&old["spec"], "ephemeralContainers") {
        let name = text(container, "name");
        match list(&new["spec"], "ephemeralContainers").iter().find(|c| c["name"] == container["name"]) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                causes.push(Cause::forbidden(field, &detail));
            }
            Some(same) if same != container => {
                let changes = differences(same, container);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{changes}");
                causes.push(Cause::forbidden(field, &detail));
            }
            Some(_) => {}
        }
    }
    causes
}

/// A pod the node agent was given as a file: the server only shows it.
fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// A write through `resize`: CPU and memory may change, not go, and not the class.
pub(super) fn validate_resize(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let refused = if [new, old].iter().any(|pod| has_own_resources(pod)) {
        Some("pods with pod-level resources cannot be resized")
    } else if is_mirror(old) {
        Some("static pods cannot be resized")
    } else {
        (old["spec"]["os"]["name"] == "windows").then_some("windows pods cannot be resized")
    };
    if let Some(detail) = refused {
        return vec![Cause::forbidden("", detail)];
    }
    if qos_class(new) != qos_class(old) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        causes.push(Cause::invalid("spec", &new["status"]["qosClass"], detail));
    }
    if !reports_resources(old) {
        causes.push(Cause::forbidden("spec", "Pod running on node without support for resize"));
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    let before = causes.len();
    for field in CONTAINER_LISTS {
        same_order(&mut causes, new, old, field);
    }
    if causes.len() > before {
        return causes;
    }
    type Judge = fn(&mut Vec<Cause>, &str, &Value, &Value);
    let judges: [(&str, Judge); 4] = [
        ("initContainers", kept),
        ("containers", kept),
        ("containers", resized),
        ("initContainers", init_resized),
    ];
    for (field, judge) in judges {
        for (at, (container, known)) in list(new, field).iter().zip(list(old, field)).enumerate() {
            judge(&mut causes, &format!("spec.{field}[{at}]"), container, known);
        }
    }
    causes
}

fn has_own_resources(pod: &Value) -> bool {
    check::entries(&pod["spec"]["resources"]).any(|(_, part)| check::entries(part).next().is_some())
}

/// Whether the node of a running pod says what its containers have: one that does not cannot resize.
fn reports_resources(pod: &Value) -> bool {
    let statuses = list(&pod["status"], "containerStatuses");
    pod["status"]["phase"] != "Running"
        || statuses.iter().all(|s| s["state"]["running"].is_null() || s["resources"].is_object())
}

fn same_order(causes: &mut Vec<Cause>, new: &Value, old: &Value, field: &str) {
    let (new, old) = (list(new, field), list(old, field));
    if new.len() != old.len() {
        let detail = format!("{field} may not be added or removed on resize");
        causes.push(Cause::forbidden(format!("spec.{field}"), &detail));
        return;
    }
    let detail = format!("{field} may not be renamed or reordered on resize");
    for (at, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new["name"] != old["name"]) {
        causes.push(Cause::forbidden(format!("spec.{field}[{at}].name"), &detail));
    }
}

/// Amounts may change, not go.
fn kept(causes: &mut Vec<Cause>, path: &str, new: &Value, old: &Value) {
    for kind in ["requests", "limits"] {
        let (now, before) = (&new["resources"][kind], &old["resources"][kind]);
        if check::entries(before).any(|(name, _)| now[name].is_null()) {
            let detail = format!("resource {kind} cannot be removed");
            causes.push(Cause::forbidden(format!("{path}.resources.{kind}"), &detail));
        }
    }
}

fn resized(causes: &mut Vec<Cause>, _path: &str, new: &Value, old: &Value) {
    if lasting(new) != lasting(old) {
        causes.push(Cause::forbidden("spec", "only cpu and memory resources are mutable"));
    }
}

fn init_resized(causes: &mut Vec<Cause>, path: &str, new: &Value, old: &Value) {
    if lasting(new) != lasting(old) {
        let detail = "only cpu and memory resources for init or sidecar containers are mutable";
        causes.push(Cause::forbidden(path, detail));
    }
    let restarts =
        list(new, "resizePolicy").iter().any(|policy| policy["restartPolicy"] == "RestartContainer");
    if new != old && new["restartPolicy"] != "Always" && restarts {
        let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        causes.push(Cause::forbidden(path, detail));
    }
}

/// Everything of a container but CPU and memory, and what is done with one whose amounts change.
fn lasting(container: &Value) -> Value {
    let mut rest = container.clone();
    object::remove(&mut rest, "resizePolicy");
    for kind in ["requests", "limits"] {
        if let Some(amounts) = rest.pointer_mut(&format!("/resources/{kind}")) {
            for name in ["cpu", "memory"] {
                object::remove(amounts, name);
            }
        }
    }
    object::remove(&mut rest["resources"], "claims");
    if let Some(resources) = rest["resources"].as_object_mut() {
        resources.retain(|_, amounts| amounts.as_object().is_none_or(|map| !map.is_empty()));
    }
    rest
}

/// A write of the status: what has ended for good stays ended.
pub(super) fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (now, before) = (&new["status"], &old["status"]);
    if before["qosClass"].is_string() {
        check::immutable(&mut causes, "status.qosClass", &now["qosClass"], &before["qosClass"]);
    }
    let policy = text(&old["spec"], "restartPolicy");
    if policy == "Always" {
        return causes;
    }
    for (at, status) in list(before, "containerStatuses").iter().enumerate() {
        let ended = &status["state"]["terminated"];
        if ended.is_null() || (policy == "OnFailure" && ended["exitCode"] != 0) {
            continue;
        }
        let revived = list(now, "containerStatuses")
            .iter()
            .any(|new| new["name"] == status["name"] && new["state"]["terminated"].is_null());
        if revived {
            let field = format!("status.containerStatuses[{at}].state");
            causes.push(Cause::forbidden(field, "may not be transitioned to non-terminated state"));
        }
    }
    causes
}
