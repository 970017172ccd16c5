//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::workload::is_true;
use super::{Column, NONE, age, items, name, or, str, text};

pub(in crate::kinds) fn node() -> Vec<Column> {
    let info = |name, field: &'static str, description| {
        text(name, description, move |node| {
            or(node["status"]["nodeInfo"][field].as_str().unwrap_or_default(), "<unknown>")
        })
        .wide()
    };
    let address = |name, kind: &'static str, description| {
        text(name, description, move |node| {
            let address = items(node, "/status/addresses").iter().find(|a| a["type"] == kind);
            or(address.map_or("", |a| str(a, "/address")), NONE)
        })
        .wide()
    };
    vec![
        name(),
        text("Status", "The status of the node", status),
        text("Roles", "The roles of the node", roles),
        age(),
        text("Version", "Version of its agent.", |node| {
            str(node, "/status/nodeInfo/kubeletVersion").to_owned()
        }),
        address("Internal-IP", "InternalIP", "Address inside the cluster."),
        address("External-IP", "ExternalIP", "Address outside the cluster."),
        info("OS-Image", "osImage", "Operating system."),
        info("Kernel-Version", "kernelVersion", "Kernel."),
        info("Container-Runtime", "containerRuntimeVersion", "What runs containers."),
    ]
}

fn status(node: &Value) -> String {
    let known = items(node, "/status/conditions").iter().any(|c| c["type"] == "Ready");
    let mut status = match (known, is_true(node, "Ready")) {
        (false, _) => "Unknown",
        (true, true) => "Ready",
        (true, false) => "NotReady",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        let prefixed = key.strip_prefix("node-role.kubernetes.io/");
        let named = (key == "kubernetes.io/role").then(|| value.as_str().unwrap_or_default());
        roles.extend(prefixed.or(named).filter(|role| !role.is_empty()));
    }
    or(&roles.into_iter().collect::<Vec<_>>().join(","), NONE)
}
