//! PodResizeValidator: a bound pod is resized only to what its node could give, and only on Linux.

use api::pod_resources::{Resources, list, requests};
use api::quantity::Quantity;
use api::{Status, object};
use serde_json::Value;

use super::Attributes;

pub(super) async fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let Some(name) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64();
    if attributes.old.is_some_and(|old| generation(old) == generation(pod)) {
        return Ok(());
    }
    let Some(node) = attributes.stored(("", "nodes"), None, name).await? else {
        return Err(attributes.forbidden(pod, &format!("node {name:?} not found")));
    };
    let (asked, there) = (requests(pod), list(&node["status"]["allocatable"]));
    let amount = |of: &Resources, resource: &str| {
        let read = if resource == "cpu" { Quantity::milli_value } else { Quantity::value };
        of.get(resource).copied().map_or(0, read)
    };
    let short = |resource: &&str| amount(&asked, resource) > amount(&there, resource);
    let told: Vec<String> = ["cpu", "memory"]
        .into_iter()
        .filter(short)
        .map(|resource| {
            let (requested, allocatable) = (amount(&asked, resource), amount(&there, resource));
            format!("{resource}, requested: {requested}, allocatable: {allocatable}")
        })
        .collect();
    if !told.is_empty() {
        let detail = format!("Node didn't have enough allocatable resources: {}", told.join("; "));
        return Err(attributes.forbidden(pod, &detail));
    }
    match node["metadata"]["labels"]["kubernetes.io/os"].as_str().unwrap_or_default() {
        "linux" => Ok(()),
        system => {
            let name = object::name(&node);
            let detail = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            Err(attributes.forbidden(pod, &detail))
        }
    }
}
