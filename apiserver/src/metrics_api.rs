//! `metrics.k8s.io`: what pods and nodes use, asked from the node agents at the moment of the request.
//!
//! Agents answer `GET /metrics/usage` with their cgroup figures; nothing is stored. A node that does not
//! answer is left out of lists, as with metrics-server.

use std::sync::Arc;
use std::time::Duration;

use api::selector::LabelSelector;
use api::{Status, object};
use axum::body::Body;
use futures::future::join_all;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use crate::call::{Call, parse, store_status};
use crate::negotiation::negotiate;
use crate::node_proxy::Target;
use crate::output;

/// A node that takes longer is left out.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// Figures of a few hundred pods; more than this is not an answer.
const MAX_USAGE_BYTES: usize = 8 * 1024 * 1024;

/// Answers `nodes` and `pods` of `metrics.k8s.io/v1beta1`.
pub(crate) async fn respond(call: &Arc<Call>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let verb = call.info.verb;
    if !["get", "list"].contains(&verb) || !call.info.subresource.is_empty() {
        return Err(crate::chain::method_not_allowed());
    }
    let labels = LabelSelector::parse(&call.options.label_selector)?;
    let mut items =
        if call.kind.namespaced() { pods(call, &labels).await? } else { nodes(call, &labels).await? };
    if verb == "get" {
        let found = items.into_iter().find(|item| object::name(item) == call.info.name);
        let found = found.ok_or_else(|| call.not_found(&call.info.name))?;
        return output::computed(call, headers, found);
    }
    items.sort_by_key(key);
    output::list(call, call.pretty(negotiate(&call.kind, headers)?), json!({}), items)
}

fn key(item: &Value) -> (String, String) {
    (object::namespace(item).to_owned(), object::name(item).to_owned())
}

async fn nodes(call: &Arc<Call>, labels: &LabelSelector) -> Result<Vec<Value>, Status> {
    let nodes = objects(call, "nodes", None).await?;
    let wanted: Vec<Value> = nodes.into_iter().filter(|node| wanted(call, node, labels)).collect();
    let usages = join_all(wanted.iter().map(|node| usage(call, node))).await;
    Ok(wanted.iter().zip(usages).filter_map(|(node, usage)| node_metrics(node, &usage?)).collect())
}

async fn pods(call: &Arc<Call>, labels: &LabelSelector) -> Result<Vec<Value>, Status> {
    let pods = objects(call, "pods", call.info.namespace()).await?;
    let wanted: Vec<Value> = pods.into_iter().filter(|pod| wanted(call, pod, labels)).collect();
    let nodes = objects(call, "nodes", None).await?;
    let hosts: Vec<Value> = nodes
        .into_iter()
        .filter(|node| wanted.iter().any(|pod| pod["spec"]["nodeName"] == node["metadata"]["name"]))
        .collect();
    let usages = join_all(hosts.iter().map(|node| usage(call, node))).await;
    let usages: Vec<Value> = usages.into_iter().flatten().collect();
    Ok(wanted.iter().filter_map(|pod| pod_metrics(pod, &usages)).collect())
}

fn wanted(call: &Call, item: &Value, labels: &LabelSelector) -> bool {
    labels.matches_object(item) && (call.info.name.is_empty() || object::name(item) == call.info.name)
}

async fn objects(call: &Call, plural: &str, namespace: Option<&str>) -> Result<Vec<Value>, Status> {
    let prefix = api::names::storage_prefix("", plural, namespace);
    let page = call.server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    page.entries.iter().map(|entry| parse(&entry.bytes)).collect()
}

/// What a node measured, `None` if it does not say.
async fn usage(call: &Call, node: &Value) -> Option<Value> {
    let target = Target::of_node(node).ok()?;
    let ask = async {
        let headers = HeaderMap::new();
        let answer =
            call.server.nodes.send(&target, Method::GET, "/metrics/usage", &headers, Body::empty()).await;
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        let body = Limited::new(answer.into_body(), MAX_USAGE_BYTES).collect().await.ok()?;
        serde_json::from_slice(&body.to_bytes()).ok()
    };
    tokio::select! {
        usage = ask => usage,
        () = call.server.clock.sleep(NODE_TIMEOUT) => None,
    }
}

fn node_metrics(node: &Value, usage: &Value) -> Option<Value> {
    let own = &usage["node"];
    let mut metrics = json!({
        "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": object::name(node), "creationTimestamp": own["timestamp"]},
        "timestamp": own["timestamp"], "window": window(own), "usage": resources(own)?,
    });
    copy_labels(&mut metrics, node);
    Some(metrics)
}

fn pod_metrics(pod: &Value, usages: &[Value]) -> Option<Value> {
    let uid = object::uid(pod);
    let (usage, found) = usages.iter().find_map(|usage| {
        let pods = usage["pods"].as_array()?;
        Some((usage, pods.iter().find(|p| p["uid"] == uid)?))
    })?;
    let containers: Vec<Value> = found["containers"]
        .as_array()?
        .iter()
        .filter_map(|c| Some(json!({"name": c["name"], "usage": resources(c)?})))
        .collect();
    let at = &usage["node"];
    let mut metrics = json!({
        "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": object::name(pod), "namespace": object::namespace(pod),
                     "creationTimestamp": at["timestamp"]},
        "timestamp": at["timestamp"], "window": window(at), "containers": containers,
    });
    copy_labels(&mut metrics, pod);
    (!containers_empty(&metrics)).then_some(metrics)
}

fn containers_empty(metrics: &Value) -> bool {
    metrics["containers"].as_array().is_none_or(Vec::is_empty)
}

fn copy_labels(metrics: &mut Value, of: &Value) {
    if let Some(labels) = of["metadata"].get("labels") {
        metrics["metadata"]["labels"] = labels.clone();
    }
}

fn window(usage: &Value) -> String {
    format!("{}s", usage["windowSeconds"].as_f64().unwrap_or_default())
}

/// Quantities in the units metrics-server uses: nanocores and kibibytes.
fn resources(usage: &Value) -> Option<Value> {
    let cpu = usage["cpuNanoCores"].as_u64()?;
    let memory = usage["memoryWorkingSetBytes"].as_u64()?;
    Some(json!({"cpu": format!("{cpu}n"), "memory": format!("{}Ki", memory / 1024)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_metrics() {
        let usage = json!({
            "node": {"timestamp": "2026-01-01T00:00:00Z", "windowSeconds": 15, "cpuNanoCores": 5, "memoryWorkingSetBytes": 4096},
            "pods": [{"uid": "u", "containers": [
                {"name": "a", "cpuNanoCores": 1_000_000, "memoryWorkingSetBytes": 2048}]}],
        });
        let node = node_metrics(&json!({"metadata": {"name": "n", "labels": {"x": "y"}}}), &usage);
        let node = node.expect("metrics");
        assert_eq!(node["usage"], json!({"cpu": "5n", "memory": "4Ki"}));
        assert_eq!(node["window"], "15s");
        assert_eq!(node["metadata"]["labels"], json!({"x": "y"}));
        let pod = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}});
        let pod = pod_metrics(&pod, &[usage]).expect("metrics");
        assert_eq!(pod["containers"], json!([{"name": "a", "usage": {"cpu": "1000000n", "memory": "2Ki"}}]));
    }
}
