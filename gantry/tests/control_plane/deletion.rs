//! What goes when its owner or its namespace goes.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use serde_json::json;

use crate::cluster::{Cluster, is_ready, web};
use crate::waiting::{Objects, until};

async fn with_pods() -> (Cluster, Objects<Pod>) {
    let cluster = Cluster::start().await;
    cluster.deploy(&web(2, &json!({}))).await;
    let pods = cluster.until_ready(2).await;
    (cluster, pods)
}

async fn delete(cluster: &Cluster, policy: PropagationPolicy) {
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    let _status = cluster.api::<Deployment>().delete("web", &params).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background() {
    let (cluster, _) = with_pods().await;
    delete(&cluster, PropagationPolicy::Background).await;
    let deployments = cluster.api::<Deployment>();
    assert!(deployments.get_opt("web").await.expect("an answer").is_none(), "the owner goes first");
    cluster.until_no_pods_and_replica_sets().await;
    assert!(cluster.runtime.pods().is_empty(), "no sandbox is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground() {
    let (cluster, _) = with_pods().await;
    delete(&cluster, PropagationPolicy::Foreground).await;
    until(&cluster.api::<Deployment>(), "the owner goes last", Objects::is_empty).await;
    let pods = cluster.api::<Pod>().list(&kube::api::ListParams::default()).await.expect("a list");
    let sets = cluster.api::<ReplicaSet>().list(&kube::api::ListParams::default()).await.expect("a list");
    assert!(pods.items.is_empty() && sets.items.is_empty(), "what it owned went before it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_and_adoption() {
    let (cluster, pods) = with_pods().await;
    delete(&cluster, PropagationPolicy::Orphan).await;
    until(&cluster.api::<Deployment>(), "the owner is gone", Objects::is_empty).await;
    let sets = until(&cluster.api::<ReplicaSet>(), "the set has no owner", |all| {
        all.values().all(|set| set.metadata.owner_references.as_ref().is_none_or(Vec::is_empty))
    })
    .await;
    assert_eq!(sets.len(), 1, "the replica set stays");
    // The same Deployment again takes over the set and its pods.
    cluster.deploy(&web(2, &json!({}))).await;
    let after = cluster.until_ready(2).await;
    assert!(after.keys().eq(pods.keys()), "the pods were adopted, not replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_everything_along() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).expect("a namespace");
    let _created = namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "shop");
    until(&maps, "the authority is published", |all| all.contains_key("kube-root-ca.crt")).await;
    let mut deployment = web(2, &json!({}));
    deployment["metadata"]["namespace"] = json!("shop");
    let deployment: Deployment = serde_json::from_value(deployment).expect("a deployment");
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "shop");
    let _created = deployments.create(&PostParams::default(), &deployment).await.expect("created");
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    until(&pods, "two pods ready", |all| all.len() == 2 && all.values().all(is_ready)).await;

    let _status = namespaces.delete("shop", &DeleteParams::default()).await.expect("deleted");
    until(&namespaces, "the namespace is gone", |all| !all.contains_key("shop")).await;
    let left = pods.list(&kube::api::ListParams::default()).await.expect("a list").items.len();
    let maps = maps.list(&kube::api::ListParams::default()).await.expect("a list").items.len();
    assert_eq!((left, maps), (0, 0), "nothing is left in it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_namespace_says_so_once() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "held"}})).expect("a namespace");
    let _created = namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "held");
    let map = json!({"metadata": {"name": "keep", "finalizers": ["example.com/keep"]}});
    let map = serde_json::from_value(map).expect("a map");
    let _created = maps.create(&PostParams::default(), &map).await.expect("created");
    let _status = namespaces.delete("held", &DeleteParams::default()).await.expect("deleted");
    let only_map = "Some resources are remaining: configmaps. has 1 resource instances";
    let settled = until(&namespaces, "only the held object is left", |all| {
        let status = all.get("held").and_then(|namespace| namespace.status.as_ref());
        let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.message.as_deref() == Some(only_map))
    })
    .await;
    // While all this happens elsewhere, nothing happens here.
    cluster.deploy(&web(2, &json!({}))).await;
    cluster.until_ready(2).await;
    let held = namespaces.get("held").await.expect("the namespace");
    assert_eq!(held.metadata.resource_version, settled["held"].metadata.resource_version, "written once");

    let free = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let _freed = maps.patch("keep", &kube::api::PatchParams::default(), &free).await.expect("patched");
    until(&namespaces, "the namespace is gone", |all| !all.contains_key("held")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_leave_a_namespace_first() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "ordered"}})).expect("a namespace");
    let _created = namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "ordered");
    until(&maps, "the authority is published", |all| all.contains_key("kube-root-ca.crt")).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "ordered");
    let pod = json!({"metadata": {"name": "keep", "finalizers": ["example.com/keep"]},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let pod = serde_json::from_value(pod).expect("a pod");
    let _created = pods.create(&PostParams::default(), &pod).await.expect("created");
    let _status = namespaces.delete("ordered", &DeleteParams::default()).await.expect("deleted");
    let pods_held =
        "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances";
    until(&namespaces, "the pod holds it", |all| {
        let status = all.get("ordered").and_then(|namespace| namespace.status.as_ref());
        let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.message.as_deref() == Some(pods_held))
    })
    .await;
    let map = maps.get("kube-root-ca.crt").await.expect("it stays as long as there are pods");
    assert!(map.metadata.deletion_timestamp.is_none(), "it stays as long as there are pods");

    let free = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let _freed = pods.patch("keep", &kube::api::PatchParams::default(), &free).await.expect("patched");
    until(&namespaces, "the namespace is gone", |all| !all.contains_key("ordered")).await;
}
