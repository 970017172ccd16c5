//! Everything but the store and the containers ends and starts again: the cluster goes on, nothing is redone.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::{Cluster, image, image_of, web};
use crate::waiting::Objects;

/// A pod's uid, and its containers' ids and restarts.
type Identity = (Option<String>, Vec<(Option<String>, i32)>);

fn identities(pods: &Objects<Pod>) -> BTreeMap<String, Identity> {
    let of = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let containers = statuses.map(|c| (c.container_id.clone(), c.restart_count)).collect();
        (pod.metadata.uid.clone(), containers)
    };
    pods.iter().map(|(name, pod)| (name.clone(), of(pod))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recreated() {
    let mut cluster = Cluster::start().await;
    cluster.deploy(&web(3, &json!({}))).await;
    let before = cluster.until_ready(3).await;
    let sets = cluster.api::<ReplicaSet>().list(&ListParams::default()).await.expect("a list");
    let started = starts(&cluster);

    cluster.restart().await;
    // Work that needs every part shows that all of them have caught up.
    cluster.change(json!({"spec": {"replicas": 4}})).await;
    let mut after = cluster.until_ready(4).await;
    after.retain(|name, _| before.contains_key(name));
    assert_eq!(identities(&after), identities(&before), "the pods are the ones from before");
    let sets_after = cluster.api::<ReplicaSet>().list(&ListParams::default()).await.expect("a list");
    let uids = |list: kube::core::ObjectList<ReplicaSet>| -> Vec<_> {
        list.items.into_iter().map(|set| set.metadata.uid).collect()
    };
    assert_eq!(uids(sets_after), uids(sets), "the replica set is the one from before");
    assert_eq!(starts(&cluster) - started, 2, "only the new pod's two containers were started");
}

fn starts(cluster: &Cluster) -> usize {
    cluster.runtime.calls().iter().filter(|call| call.starts_with("start_container")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_goes_on() {
    let mut cluster = Cluster::start().await;
    cluster.deploy(&web(4, &json!({"maxSurge": 1, "maxUnavailable": 0}))).await;
    cluster.until_ready(4).await;
    cluster.change(image("web:2")).await;
    cluster.restart().await;
    let pods = crate::waiting::until(&cluster.api::<Pod>(), "the rollout ends", |all| {
        all.len() == 4 && all.values().all(|pod| image_of(pod) == "web:2")
    })
    .await;
    assert_eq!(pods.len(), 4);
    cluster.until_ready(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_left_while_away_is_done() {
    let mut cluster = Cluster::start().await;
    cluster.deploy(&web(2, &json!({}))).await;
    let pods = cluster.until_ready(2).await;
    let (name, _) = pods.first_key_value().expect("a pod");
    // The last thing before the end, with nobody left to act on it.
    let params = kube::api::DeleteParams::background();
    let _deleted = cluster.api::<Deployment>().delete("web", &params).await.expect("deleted");
    let _deleted = cluster.api::<Pod>().delete(name, &params).await.expect("deleted");
    cluster.restart().await;
    cluster.until_no_pods_and_replica_sets().await;
    assert!(cluster.runtime.pods().is_empty(), "no sandbox is left");
}
