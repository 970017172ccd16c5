//! PodTopologyLabels: a pod bears the zone and region of its node (KEP-4742).

use api::{Status, object};
use serde_json::Value;

use super::Attributes;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Copies the labels onto a binding, from where they go to the pod, or onto a pod that is born on a node.
pub(super) async fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let node = match attributes.call.info.subresource.as_str() {
        "" => object["spec"]["nodeName"].as_str(),
        _ if object["target"]["kind"] == "Node" => object["target"]["name"].as_str(),
        _ => None,
    };
    let Some(node) = node.filter(|name| !name.is_empty()) else { return Ok(()) };
    let Some(node) = attributes.stored(("", "nodes"), None, node).await? else { return Ok(()) };
    for label in LABELS {
        if let Some(value) = node["metadata"]["labels"].get(label) {
            object::metadata_mut(object);
            object["metadata"]["labels"][label] = value.clone();
        }
    }
    Ok(())
}
