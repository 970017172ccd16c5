//! The labels nodes may not give themselves: those of Kubernetes but for a few, and those meant to keep
//! work away from nodes.
//!
//! Entry point: [`forbidden`]. Source: KEP-279 (`kubelet/pkg/apis/well_known_labels.go`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Of a node's own making.
const OWN: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Names of labels that differ and must not, as the refusal lists them; empty if there are none.
pub(super) fn forbidden(new: &Value, old: &Value) -> String {
    let none = Map::new();
    let labels =
        |object: &'_ Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_else(|| none.clone());
    let (new, old) = (labels(new), labels(old));
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let changed = keys.into_iter().filter(|key| new.get(*key) != old.get(*key));
    let named: Vec<&str> = changed.map(String::as_str).filter(|key| is_forbidden(key)).collect();
    named.join(", ")
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |root: &str| domain == root || domain.ends_with(&format!(".{root}"));
    let own = OWN.contains(&label) || OWN_DOMAINS.into_iter().any(within);
    within(RESTRICTED) || ((within("kubernetes.io") || within("k8s.io")) && !own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_a_node_may_not_change() {
        let node = |labels: Value| json!({"metadata": {"labels": labels}});
        let check =
            |new: Value, old: Value, expect: &str| assert_eq!(forbidden(&node(new), &node(old)), expect);
        check(
            json!({"kubernetes.io/os": "linux", "team": "a", "node.kubernetes.io/x": "y"}),
            json!(null),
            "",
        );
        check(
            json!({"node-role.kubernetes.io/control-plane": "", "a.node-restriction.kubernetes.io/b": "c", "x.k8s.io/y": "z"}),
            json!(null),
            "a.node-restriction.kubernetes.io/b, node-role.kubernetes.io/control-plane, x.k8s.io/y",
        );
        let role = json!({"node-role.kubernetes.io/x": ""});
        check(role.clone(), role.clone(), "");
        check(json!({}), role, "node-role.kubernetes.io/x");
    }
}
