//! What a node may: a table over a small graph.

use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::graph::of_objects;
use super::*;
use crate::authz::Selectors;

fn pod(name: &str, node: &str, spec: Value) -> (String, Value) {
    let mut pod = json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec});
    pod["spec"]["nodeName"] = node.into();
    (format!("/registry/core/pods/a/{name}"), pod)
}

fn graph() -> Graph {
    let spec = json!({
        "serviceAccountName": "robot", "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "settings"}}]}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "key"}}}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "scratch", "ephemeral": {}},
            {"name": "all", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "root"}}]}}],
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
    });
    let mut mirror =
        pod("mirror", "n1", json!({"containers": [{"envFrom": [{"secretRef": {"name": "stolen"}}]}]}));
    mirror.1["metadata"]["annotations"][references::MIRROR] = "x".into();
    let volume = json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "a", "name": "claim"},
        "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "storage"}, "controllerPublishSecretRef": {"name": "controller"}}}});
    let objects = [
        pod("web", "n1", spec.clone()),
        pod("other", "n2", json!({"imagePullSecrets": [{"name": "pull"}, {"name": "other"}]})),
        pod("waiting", "", json!({"imagePullSecrets": [{"name": "later"}]})),
        mirror,
        ("/registry/core/persistentvolumes/pv".to_owned(), volume),
        (
            "/registry/storage.k8s.io/volumeattachments/va".to_owned(),
            json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}),
        ),
    ];
    let objects: Vec<(&str, Value)> =
        objects.iter().map(|(key, object)| (key.as_str(), object.clone())).collect();
    of_objects(&objects)
}

/// Node `n1` asks `VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE NAME [FIELD SELECTOR]`; `-` is nothing.
fn ask(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let mut what = words[1].splitn(3, '/').map(|word| if word == "core" { "" } else { word });
    let mut part = || what.next().unwrap_or_default();
    let (group, resource, subresource) = (part(), part(), part());
    let selectors = words.get(4).map(|text| Selectors::parse(text, ""));
    let wish = Attributes {
        verb: words[0],
        group,
        resource,
        subresource,
        namespace: words[2],
        name: words[3],
        is_resource: true,
        selectors: selectors.as_ref(),
        ..Attributes::default()
    };
    let decision = decide(&graph(), &UserInfo::component("system:node:n1", &["system:nodes"]), &wish);
    if decision.is_allowed() { "yes".to_owned() } else { decision.reason }
}

#[test]
fn objects_of_its_pods() {
    let unrelated = "no relationship found between node 'n1' and this object";
    for (question, expect) in [
        ("get core/secrets a pull", "yes"),
        ("watch core/secrets a key", "yes"),
        ("get core/secrets a projected", "yes"),
        ("get core/secrets a other", unrelated),
        ("get core/secrets a later", unrelated),
        ("get core/secrets a stolen", unrelated),
        ("get core/secrets storage stage", "yes"),
        ("get core/secrets a controller", unrelated),
        ("list core/secrets a -", "No Object name found"),
        ("list core/secrets - pull", "can only read namespaced object of this type"),
        ("delete core/secrets a pull", "can only read resources of this type"),
        ("get core/configmaps a settings", "yes"),
        ("get core/configmaps a root", "yes"),
        ("get core/configmaps b root", unrelated),
        ("get core/persistentvolumeclaims a claim", "yes"),
        ("get core/persistentvolumeclaims a web-scratch", "yes"),
        ("patch core/persistentvolumeclaims/status a claim", "yes"),
        ("get core/persistentvolumeclaims/status a claim", "can only get/update/patch this type"),
        ("list core/persistentvolumeclaims a claim", "can only get individual resources of this type"),
        ("get core/persistentvolumes - pv", "yes"),
        ("get core/persistentvolumes - other", unrelated),
        ("get storage.k8s.io/volumeattachments - va", "yes"),
        ("get resource.k8s.io/resourceclaims a gpu", "yes"),
        ("get core/serviceaccounts a robot", "yes"),
        ("get core/serviceaccounts a default", unrelated),
        ("create core/serviceaccounts/token a robot", "yes"),
        ("create core/serviceaccounts/token a default", unrelated),
        ("create core/serviceaccounts a -", "can only create tokens for individual service accounts"),
    ] {
        assert_eq!(ask(question), expect, "{question}");
    }
}

#[test]
fn itself_its_pods_and_the_rest() {
    let pods = "can only list/watch pods with spec.nodeName field selector";
    for (question, expect) in [
        ("get core/nodes - n1", "yes"),
        ("get core/nodes - n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("list core/nodes - -", "node 'n1' cannot read all nodes, only its own Node object"),
        ("patch core/nodes/status - n2", "yes"),
        ("delete core/nodes - n1", ""),
        ("get core/pods a web", "yes"),
        ("get core/pods a other", "no relationship found between node 'n1' and this object"),
        ("list core/pods - - spec.nodeName=n1", "yes"),
        ("list core/pods - - spec.nodeName=n2", pods),
        ("watch core/pods - -", pods),
        ("create core/pods/eviction a web", "yes"),
        ("update core/pods a web", ""),
        ("get coordination.k8s.io/leases kube-node-lease n1", "yes"),
        ("create coordination.k8s.io/leases kube-node-lease -", "yes"),
        (
            "get coordination.k8s.io/leases kube-node-lease n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "get coordination.k8s.io/leases kube-system n1",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "list coordination.k8s.io/leases kube-node-lease -",
            "can only get, create, update, patch, or delete a node lease",
        ),
        ("update storage.k8s.io/csinodes - n1", "yes"),
        (
            "update storage.k8s.io/csinodes - n2",
            "can only access CSINode with the same name as the requesting node",
        ),
        ("list resource.k8s.io/resourceslices - - spec.nodeName=n1", "yes"),
        (
            "list resource.k8s.io/resourceslices - -",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("list core/services - -", "yes"),
        ("delete core/services a x", ""),
        ("create core/events a -", "yes"),
    ] {
        assert_eq!(ask(question), expect, "{question}");
    }
}

#[test]
fn who_is_a_node() {
    let node = |name: &str, groups: &[&str]| node_name(&UserInfo::component(name, groups)).map(str::to_owned);
    assert_eq!(node("system:node:n1", &["system:nodes"]).as_deref(), Some("n1"));
    assert_eq!(node("system:node:n1", &[]), None);
    assert_eq!(node("jane", &["system:nodes"]), None);
    let nobody = UserInfo::component("system:node:", &["system:nodes"]);
    let reason = decide(&graph(), &nobody, &Attributes::default()).reason;
    assert_eq!(reason, "unknown node for user \"system:node:\"");
}
