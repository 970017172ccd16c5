//! What a description shows of other objects. What cannot be read is left out, as kubectl does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::sheet::{format_selector, items, text};
use crate::ctl::connection::{Connection, query};
use crate::ctl::selection::Target;

/// A service's ports and endpoint slices, or why they cannot be read.
pub type Backend = Result<(Vec<Value>, Vec<Value>), String>;

/// The other objects.
pub struct Related {
    /// About the object, oldest first; `None` when they are not wanted or cannot be read.
    pub events: Option<Vec<Value>>,
    /// Those a workload controls, or that run on a node.
    pub pods: Vec<Value>,
    /// Those of a Deployment.
    pub replica_sets: Vec<Value>,
    /// The slices of a Service, the lease of a Node.
    pub others: Vec<Value>,
    /// Services an Ingress leads to: their ports and slices, or why they cannot be read.
    pub backends: BTreeMap<String, Backend>,
    /// The quotas of a Namespace; `None` when they cannot be read.
    pub quotas: Option<Vec<Value>>,
    /// The limit ranges of a Namespace; `None` when they cannot be read.
    pub limits: Option<Vec<Value>>,
    /// When the description is made.
    pub now: Timestamp,
}

impl Default for Related {
    fn default() -> Self {
        let now = component_base::clock::RealClock::shared().now();
        Self {
            events: None,
            pods: vec![],
            replica_sets: vec![],
            others: vec![],
            backends: BTreeMap::new(),
            quotas: None,
            limits: None,
            now,
        }
    }
}

async fn list(connection: &Connection, path: &str, pairs: &[(&str, &str)]) -> Vec<Value> {
    let answer = connection.get(&format!("{path}{}", query(pairs))).await.unwrap_or_default();
    items(&answer["items"]).to_vec()
}

/// Reads what the object's kind shows.
pub async fn read(connection: &Connection, target: &Target, show_events: bool) -> Related {
    let mut related = Related::default();
    let (object, namespace) = (&target.object, target.namespace.as_str());
    let inside = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
    match target.resource.kind.as_str() {
        "Deployment" => {
            let selector = format_selector(&object["spec"]["selector"]);
            let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
            related.replica_sets = list(connection, &path, &[("labelSelector", &selector)]).await;
            related.replica_sets.retain(|set| is_owned(set, object));
        }
        "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            let selector = format_selector(&object["spec"]["selector"]);
            related.pods = list(connection, &inside("pods"), &[("labelSelector", &selector)]).await;
            related.pods.retain(|pod| is_owned(pod, object));
        }
        "ReplicationController" => {
            let selector = super::sheet::pairs(&object["spec"]["selector"]);
            related.pods = list(connection, &inside("pods"), &[("labelSelector", &selector)]).await;
            related.pods.retain(|pod| is_owned(pod, object));
        }
        "Service" => {
            let selector = format!("kubernetes.io/service-name={}", target.name);
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
            related.others = list(connection, &path, &[("labelSelector", &selector)]).await;
        }
        "Ingress" => {
            let rules = items(&object["spec"]["rules"]).iter().flat_map(|rule| items(&rule["http"]["paths"]));
            let backends = rules.map(|path| &path["backend"]).chain([&object["spec"]["defaultBackend"]]);
            for name in backends.map(|b| text(&b["service"]["name"])).filter(|name| !name.is_empty()) {
                let found = backend(connection, namespace, &name).await;
                related.backends.insert(name, found);
            }
        }
        "PersistentVolumeClaim" => {
            let pods = list(connection, &inside("pods"), &[]).await;
            let uses = |pod: &Value| {
                let volumes = items(&pod["spec"]["volumes"]).iter();
                volumes.into_iter().any(|v| v["persistentVolumeClaim"]["claimName"] == target.name.as_str())
            };
            related.pods = pods.into_iter().filter(uses).collect();
        }
        "Node" => {
            let on_node =
                format!("spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed", target.name);
            related.pods = list(connection, "/api/v1/pods", &[("fieldSelector", &on_node)]).await;
            let lease =
                format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", target.name);
            related.others.extend(connection.get(&lease).await.ok());
        }
        "Namespace" => {
            let inside = |plural: &str| format!("/api/v1/namespaces/{}/{plural}", target.name);
            let all = async |plural: &str| {
                let answer = connection.get(&inside(plural)).await.ok()?;
                Some(items(&answer["items"]).to_vec())
            };
            (related.quotas, related.limits) = (all("resourcequotas").await, all("limitranges").await);
        }
        _ => {}
    }
    if show_events {
        related.events = events(connection, target).await;
    }
    related
}

async fn backend(connection: &Connection, namespace: &str, name: &str) -> Backend {
    let service = connection.get(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await;
    let service = service.map_err(|failure| match failure {
        crate::ctl::Failure::Server(status) => status.message,
        other => other.to_string(),
    })?;
    let selector = format!("kubernetes.io/service-name={name}");
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slices = list(connection, &path, &[("labelSelector", &selector)]).await;
    Ok((items(&service["spec"]["ports"]).to_vec(), slices))
}

fn is_owned(object: &Value, owner: &Value) -> bool {
    items(&object["metadata"]["ownerReferences"])
        .iter()
        .any(|o| o["controller"] == true && o["uid"] == owner["metadata"]["uid"])
}

async fn events(connection: &Connection, target: &Target) -> Option<Vec<Value>> {
    let mut terms = vec![
        format!("involvedObject.name={}", target.name),
        format!("involvedObject.namespace={}", target.namespace),
    ];
    match target.resource.kind.as_str() {
        // A node's events name it by its name, not by its uid.
        "Node" => terms.push("involvedObject.kind=Node".to_owned()),
        _ => terms.push(format!("involvedObject.uid={}", api::object::uid(&target.object))),
    }
    let path = match target.namespace.as_str() {
        "" => "/api/v1/events".to_owned(),
        namespace => format!("/api/v1/namespaces/{namespace}/events"),
    };
    let answer =
        connection.get(&format!("{path}{}", query(&[("fieldSelector", &terms.join(","))]))).await.ok()?;
    let mut events = items(&answer["items"]).to_vec();
    events.sort_by_key(|event| text(&event["lastTimestamp"]));
    Some(events)
}
