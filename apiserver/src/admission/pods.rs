//! What is decided about every pod by itself: how long it survives a sick node, which nodes it stands, how its images
//! are pulled; and that a new node begins as one that is not ready.

use std::collections::BTreeSet;

use api::{Status, object};
use serde_json::{Value, json};

use super::{Attributes, Operation};

/// Seconds a pod stays on a node that is not ready or not reachable (upstream's default).
const TOLERATION_SECONDS: i64 = 300;
const SICK_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Adds the two tolerations unless the pod has an opinion.
pub(super) async fn default_toleration_seconds(_: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let list = tolerations(pod);
    for taint in SICK_NODE_TAINTS {
        let tolerated = list.iter().any(|t| {
            let key = t["key"].as_str().unwrap_or_default();
            let effect = t["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
                             "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
    Ok(())
}

/// The list of tolerations, made if absent.
pub(super) fn tolerations(pod: &mut Value) -> &mut Vec<Value> {
    let slot = object::section(pod, "spec").entry("tolerations").or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    let Value::Array(list) = slot else { unreachable!("made a list above") };
    list
}

/// A pod that asks for a resource that nodes are set apart for is let onto them.
pub(super) async fn extended_resource_toleration(_: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array().cloned());
    let containers = lists.into_iter().flatten().flatten();
    let requests = containers.filter_map(|c| c["resources"]["requests"].as_object().cloned());
    let is_extended = |name: &String| name.contains('/') && !name.contains("kubernetes.io/");
    let names: BTreeSet<String> = requests.flat_map(|map| map.into_iter().map(|(name, _)| name)).collect();
    for name in names.into_iter().filter(is_extended) {
        let wanted = json!({"key": name, "operator": "Exists"});
        let list = tolerations(pod);
        if !list.contains(&wanted) {
            list.push(wanted);
        }
    }
    Ok(())
}

/// A pod keeps others away from its node at most, not from a whole zone.
pub(super) async fn limit_anti_affinity(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut keys = terms.as_array().into_iter().flatten().filter_map(|term| term["topologyKey"].as_str());
    match keys.find(|key| *key != HOSTNAME) {
        None => Ok(()),
        Some(key) => {
            let detail = format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
            );
            Err(attributes.forbidden(pod, &detail))
        }
    }
}

/// A new node takes no pods until its controller has seen that it is ready.
pub(super) async fn taint_new_node(_: &Attributes<'_>, node: &mut Value) -> Result<(), Status> {
    let taint = json!({"key": SICK_NODE_TAINTS[0], "effect": "NoSchedule"});
    let taints = object::section(node, "spec").entry("taints").or_insert_with(|| json!([]));
    if !taints.is_array() {
        *taints = json!([]);
    }
    let same = |known: &Value| known["key"] == taint["key"] && known["effect"] == taint["effect"];
    if let Value::Array(list) = taints
        && !list.iter().any(same)
    {
        list.push(taint);
    }
    Ok(())
}

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Whether an update brings no image that was not there.
fn keeps_images(attributes: &Attributes<'_>, pod: &Value) -> bool {
    let images = |pod: &Value| -> BTreeSet<String> {
        let containers =
            CONTAINER_LISTS.iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
        containers.filter_map(|c| c["image"].as_str().map(str::to_owned)).collect()
    };
    let before = attributes.old.filter(|_| attributes.operation == Operation::Update).map(images);
    before.is_some_and(|before| images(pod).is_subset(&before))
}

/// Nobody runs a private image because somebody else has pulled it.
pub(super) async fn always_pull_images(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if keeps_images(attributes, pod) {
        return Ok(());
    }
    for list in CONTAINER_LISTS {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = "Always".into();
        }
    }
    Ok(())
}

/// What came after [`always_pull_images`] has not undone it.
pub(super) async fn check_pull_policies(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    if keeps_images(attributes, pod) {
        return Ok(());
    }
    for list in CONTAINER_LISTS {
        for (at, container) in pod["spec"][list].as_array().into_iter().flatten().enumerate() {
            let policy = container["imagePullPolicy"].as_str().unwrap_or_default();
            if policy != "Always" {
                let detail = format!(
                    "spec.{list}[{at}].imagePullPolicy: Unsupported value: {policy:?}: supported values: \"Always\""
                );
                return Err(attributes.forbidden(pod, &detail));
            }
        }
    }
    Ok(())
}
