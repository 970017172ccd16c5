//! Deployments: up, down, replaced, rolled out, rolled back, stuck.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, image, image_of, is_ready, web};
use crate::waiting::{Objects, follow, until};

fn default_strategy() -> Value {
    json!({"maxSurge": "25%", "maxUnavailable": "25%"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scales_up_and_down_and_replaces() {
    let cluster = Cluster::start().await;
    cluster.deploy(&web(2, &default_strategy())).await;
    let first = cluster.until_ready(2).await;
    cluster.change(json!({"spec": {"replicas": 4}})).await;
    let more = cluster.until_ready(4).await;
    assert!(first.keys().all(|name| more.contains_key(name)), "scaling up leaves the pods alone");
    cluster.change(json!({"spec": {"replicas": 1}})).await;
    let left = cluster.until_ready(1).await;
    assert!(left.keys().all(|name| more.contains_key(name)), "scaling down keeps one of the pods");

    let (name, _) = left.first_key_value().expect("a pod");
    let pods = cluster.api::<Pod>();
    let _deleted = pods.delete(name, &DeleteParams::default()).await.expect("deleted");
    until(&pods, "another pod took over", |all| {
        all.len() == 1 && all.iter().all(|(other, pod)| other != name && is_ready(pod))
    })
    .await;
}

/// Follows the pods until the rollout to `wanted_image` is over; answers with the fewest that were ready.
async fn fewest_ready(cluster: &Cluster, count: usize, wanted_image: &str) -> usize {
    let mut fewest = usize::MAX;
    follow(&cluster.api::<Pod>(), "the rollout ends", |all: &Objects<Pod>| {
        fewest = fewest.min(all.values().filter(|pod| is_ready(pod)).count());
        let done =
            all.len() == count && all.values().all(|pod| is_ready(pod) && image_of(pod) == wanted_image);
        done.then_some(())
    })
    .await;
    fewest
}

async fn roll(strategy: Value, least: usize) {
    let cluster = Cluster::start().await;
    cluster.deploy(&web(4, &strategy)).await;
    cluster.until_ready(4).await;
    let ((), fewest) = tokio::join!(cluster.change(image("web:2")), fewest_ready(&cluster, 4, "web:2"));
    assert!(fewest >= least, "{fewest} ready, at least {least} promised");
    cluster.until_ready(4).await;
    // Undo, as kubectl does it: the template of the old replica set.
    let ((), fewest) = tokio::join!(cluster.change(image("web:1")), fewest_ready(&cluster, 4, "web:1"));
    assert!(fewest >= least, "{fewest} ready on the way back, at least {least} promised");
    let sets = until(&cluster.api::<ReplicaSet>(), "one set has all", |all| {
        let counts: Vec<_> =
            all.values().map(|set| set.status.as_ref().map(|status| status.replicas)).collect();
        counts.len() == 2 && counts.contains(&Some(4)) && counts.contains(&Some(0))
    })
    .await;
    let revisions: Vec<_> = sets.values().map(|set| revision(&set.metadata)).collect();
    assert!(revisions.contains(&"3") && revisions.contains(&"2"), "going back is revision 3: {revisions:?}");
}

fn revision(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> &str {
    let annotations = meta.annotations.as_ref();
    annotations.and_then(|all| all.get("deployment.kubernetes.io/revision")).map_or("", String::as_str)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_by_surge() {
    roll(json!({"maxSurge": 1, "maxUnavailable": 0}), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_by_shortage() {
    roll(json!({"maxSurge": 0, "maxUnavailable": 2}), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_image_leaves_the_old_pods() {
    let cluster = Cluster::start().await;
    let mut deployment = web(3, &json!({"maxSurge": 1, "maxUnavailable": 0}));
    deployment["spec"]["progressDeadlineSeconds"] = json!(1);
    cluster.deploy(&deployment).await;
    let old = cluster.until_ready(3).await;
    cluster.change(image("broken:1")).await;
    let mut fewest = usize::MAX;
    follow(&cluster.api::<Pod>(), "the new pod says why it does not start", |all| {
        fewest = fewest.min(all.values().filter(|pod| is_ready(pod)).count());
        all.values().any(|pod| ["ErrImagePull", "ImagePullBackOff"].contains(&waiting(pod))).then_some(())
    })
    .await;
    until(&cluster.api::<Deployment>(), "the rollout is late", |all| {
        let status = all.get("web").and_then(|web| web.status.as_ref());
        status.into_iter().flat_map(|s| s.conditions.iter().flatten()).any(|condition| {
            condition.reason.as_deref() == Some("ProgressDeadlineExceeded") && condition.status == "False"
        })
    })
    .await;
    assert_eq!(fewest, 3, "the old pods stayed ready");
    cluster.change(image("web:1")).await;
    let after = cluster.until_ready(3).await;
    assert!(after.keys().eq(old.keys()), "the pods from before the mistake are still there");
}

fn waiting(pod: &Pod) -> &str {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut reasons = statuses.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    reasons.find(|reason| *reason != "ContainerCreating").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_rollout_waits() {
    let cluster = Cluster::start().await;
    cluster.deploy(&web(2, &default_strategy())).await;
    cluster.until_ready(2).await;
    let deployments = cluster.api::<Deployment>();
    let pause = Patch::Merge(json!({"spec": {"paused": true}}));
    let _paused = deployments.patch("web", &PatchParams::default(), &pause).await.expect("patched");
    cluster.change(image("web:2")).await;
    until(&deployments, "the change is seen", |all| {
        all.get("web").is_some_and(|web| {
            let seen = web.status.as_ref().and_then(|status| status.observed_generation);
            seen == web.metadata.generation && seen == Some(3)
        })
    })
    .await;
    let sets = cluster.api::<ReplicaSet>().list(&kube::api::ListParams::default()).await.expect("a list");
    assert_eq!(sets.items.len(), 1, "no new replica set while paused");
    cluster.change(json!({"spec": {"paused": false}})).await;
    fewest_ready(&cluster, 2, "web:2").await;
}
