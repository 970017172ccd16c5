//! The controllers together, against a real API server.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

#[path = "cluster/credentials.rs"]
mod credentials;
#[path = "cluster/fixture.rs"]
mod fixture;

use std::sync::Arc;

use fixture::Cluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, ReplicationController, ResourceQuota, Service,
    ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::reflector::Lookup as _;
use serde_json::{Value, json};

fn deployment(version: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "version": version}},
                "spec": {"containers": [{"name": "c", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

fn is_complete(deployment: &Deployment, wanted: i32) -> bool {
    let (Some(status), meta) = (&deployment.status, &deployment.metadata) else { return false };
    let progressing = status.conditions.iter().flatten().find(|condition| condition.type_ == "Progressing");
    status.observed_generation == meta.generation
        && status.updated_replicas == Some(wanted)
        && status.replicas == Some(wanted)
        && status.available_replicas == Some(wanted)
        && progressing.is_some_and(|condition| condition.reason.as_deref() == Some("NewReplicaSetAvailable"))
}

fn revision(deployment: &Deployment) -> Option<&str> {
    deployment.metadata.annotations.as_ref()?.get("deployment.kubernetes.io/revision").map(String::as_str)
}

async fn complete(cluster: &Cluster, wanted: i32, at: &str) {
    let what = format!("{wanted} replicas at revision {at}");
    cluster
        .until::<Deployment>(&what, |all| {
            all.first().is_some_and(|web| is_complete(web, wanted) && revision(web) == Some(at))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_and_dies() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("1")).await;
    complete(&cluster, 3, "1").await;
    cluster.patch::<Deployment>("web", deployment("2")).await;
    complete(&cluster, 3, "2").await;
    cluster
        .until::<Pod>("three pods of version 2", |pods| {
            pods.len() == 3
                && pods.iter().all(|p| p.metadata.labels.as_ref().is_some_and(|l| l["version"] == "2"))
        })
        .await;
    // Going back takes the old set again, with a new number.
    cluster.patch::<Deployment>("web", deployment("1")).await;
    complete(&cluster, 3, "3").await;
    cluster.until::<ReplicaSet>("two sets", |sets| sets.len() == 2).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"replicas": 5}})).await;
    complete(&cluster, 5, "3").await;
    cluster
        .until::<Event>("the usual events", |events| {
            let has = |reason: &str, message: &str| {
                events.iter().any(|event| {
                    event.reason.as_deref() == Some(reason)
                        && event.message.as_deref().is_some_and(|text| text.starts_with(message))
                })
            };
            has("ScalingReplicaSet", "Scaled up replica set web-")
                && has("SuccessfulCreate", "Created pod: web-")
                && has("SuccessfulDelete", "Deleted pod: web-")
        })
        .await;
    cluster.delete::<Deployment>("web", DeleteParams::background()).await;
    cluster.until::<ReplicaSet>("no set", <[_]>::is_empty).await;
    cluster.until::<Pod>("no pod", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_go_first_or_stay() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("1")).await;
    complete(&cluster, 3, "1").await;
    cluster.delete::<Deployment>("web", DeleteParams::orphan()).await;
    cluster.until::<Deployment>("no deployment", <[_]>::is_empty).await;
    cluster
        .until::<ReplicaSet>("an orphan", |sets| {
            sets.len() == 1 && sets[0].metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        })
        .await;
    // The next deployment adopts it.
    cluster.create::<Deployment>(deployment("1")).await;
    complete(&cluster, 3, "1").await;
    cluster.until::<ReplicaSet>("one set", |sets| sets.len() == 1).await;
    cluster.delete::<Deployment>("web", DeleteParams::foreground()).await;
    cluster.until::<Deployment>("no deployment", <[_]>::is_empty).await;
    assert!(cluster.informers.of::<Pod>().in_namespace("default").is_empty(), "pods go before their owner");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replication_controller_keeps_its_pods() {
    let cluster = Cluster::start().await;
    let container = json!({"name": "c", "image": "web"});
    let orphan = json!({"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {"containers": [container]}});
    cluster.create::<Pod>(orphan).await;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let controller = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "template": template}});
    cluster.create::<ReplicationController>(controller).await;
    let has = |wanted: i32| {
        move |all: &[Arc<ReplicationController>]| {
            let status = all.first().and_then(|web| web.status.as_ref());
            status.is_some_and(|status| {
                status.replicas == wanted
                    && status.available_replicas.unwrap_or(0) == wanted
                    && status.observed_generation == all[0].metadata.generation
            })
        }
    };
    cluster.until::<ReplicationController>("three replicas", has(3)).await;
    let owned = |pod: &Arc<Pod>| {
        let owner = pod.metadata.owner_references.iter().flatten().next();
        owner.is_some_and(|owner| owner.kind == "ReplicationController" && owner.name == "web")
    };
    cluster
        .until::<Pod>("the orphan among them", |pods| {
            pods.len() == 3 && pods.iter().all(owned) && pods.iter().any(|pod| pod.name_any() == "orphan")
        })
        .await;
    cluster.patch::<ReplicationController>("web", json!({"spec": {"replicas": 1}})).await;
    cluster.until::<ReplicationController>("one replica", has(1)).await;
    cluster.delete::<ReplicationController>("web", DeleteParams::background()).await;
    cluster.until::<Pod>("no pod", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_find_their_pods() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    cluster.create::<Service>(service).await;
    let web = |slices: &[Arc<EndpointSlice>]| -> Vec<Arc<EndpointSlice>> {
        let of_web = slices.iter().filter(|slice| slice.name().is_some_and(|name| name.starts_with("web-")));
        of_web.cloned().collect()
    };
    cluster.until::<EndpointSlice>("an empty slice", |slices| web(slices).len() == 1).await;
    cluster.create::<Deployment>(deployment("1")).await;
    cluster
        .until::<EndpointSlice>("one slice with three ready endpoints on 8080", |slices| {
            let slices = web(slices);
            slices.len() == 1
                && slices[0].ports.iter().flatten().all(|port| port.port == Some(8080))
                && slices[0].endpoints.iter().flatten().count() == 3
                && slices[0]
                    .endpoints
                    .iter()
                    .flatten()
                    .all(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true)))
        })
        .await;
    cluster
        .until::<Endpoints>("three addresses", |all| {
            let web = all.iter().find(|endpoints| endpoints.metadata.name.as_deref() == Some("web"));
            web.is_some_and(|web| {
                let subsets = web.subsets.as_deref().unwrap_or_default();
                subsets.len() == 1 && subsets[0].addresses.as_ref().is_some_and(|a| a.len() == 3)
            })
        })
        .await;
    cluster.delete::<Service>("web", DeleteParams::default()).await;
    cluster.until::<EndpointSlice>("no slice", |slices| web(slices).is_empty()).await;
    let named = |all: &[Arc<Endpoints>]| all.iter().any(|e| e.metadata.name.as_deref() == Some("web"));
    cluster.until::<Endpoints>("no endpoints", |all| !named(all)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "short"}})).expect("a namespace");
    namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let accounts = cluster.informers.of::<ServiceAccount>();
    let mut changes = accounts.subscribe();
    while accounts.in_namespace("short").is_empty() {
        changes.recv().await.expect("a change");
    }
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "short");
    let published = cluster.informers.selected::<ConfigMap>("metadata.name=kube-root-ca.crt");
    let mut changes = published.subscribe();
    while published.in_namespace("short").is_empty() {
        changes.recv().await.expect("a change");
    }
    let map = maps.get("kube-root-ca.crt").await.expect("the authority");
    assert_eq!(
        map.data.as_ref().and_then(|data| data.get("ca.crt")).map(String::as_str),
        Some(cluster.pki.authority_pem().as_str())
    );
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "short");
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("created");
    namespaces.delete("short", &DeleteParams::default()).await.expect("deleting");
    cluster
        .until::<Namespace>("the namespace is gone", |all| {
            all.iter().all(|n| n.metadata.name.as_deref() != Some("short"))
        })
        .await;
    assert!(maps.list(&Default::default()).await.expect("a list").items.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_get_addresses() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for name in ["a", "b"] {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a node");
        nodes.create(&PostParams::default(), &node).await.expect("created");
    }
    cluster
        .until::<Node>("a part each", |nodes| {
            let parts: std::collections::BTreeSet<_> =
                nodes.iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect();
            parts == ["10.42.0.0/24".to_owned(), "10.42.1.0/24".to_owned()].into()
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_bounds_a_controller_and_is_given_back() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2", "count/replicationcontrollers": "9"}}});
    cluster.create::<ResourceQuota>(quota).await;
    let uses = |pods: &'static str, controllers: &'static str| {
        move |quotas: &[Arc<ResourceQuota>]| {
            let status = quotas.first().and_then(|quota| quota.status.as_ref());
            let used = status.and_then(|status| status.used.as_ref());
            let is = |name: &str, amount: &str| {
                used.is_some_and(|used| used.get(name).is_some_and(|q| q.0 == amount))
            };
            is("pods", pods) && is("count/replicationcontrollers", controllers)
        }
    };
    cluster.until("nothing used", uses("0", "0")).await;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}});
    let web = json!({"metadata": {"name": "web"},
        "spec": {"replicas": 4, "selector": {"app": "web"}, "template": template}});
    cluster.create::<ReplicationController>(web).await;
    cluster.until("two pods, and no more", uses("2", "1")).await;
    let fails = |controllers: &[Arc<ReplicationController>]| {
        let status = controllers.first().and_then(|web| web.status.as_ref());
        status.into_iter().flat_map(|status| status.conditions.iter().flatten()).any(|condition| {
            let message = condition.message.as_deref().unwrap_or_default();
            condition.type_ == "ReplicaFailure"
                && condition.status == "True"
                && message.contains("exceeded quota: few")
        })
    };
    cluster.until("the failure is told", fails).await;
    cluster.patch::<ReplicationController>("web", json!({"spec": {"replicas": 1}})).await;
    cluster.until("one given back", uses("1", "1")).await;
    cluster.until::<ReplicationController>("the failure is over", |all| !fails(all)).await;
    cluster.patch::<ResourceQuota>("few", json!({"spec": {"hard": {"pods": "1"}}})).await;
    cluster
        .until::<ResourceQuota>("the new bound", |quotas| {
            let status = quotas.first().and_then(|quota| quota.status.as_ref());
            status.and_then(|status| status.hard.as_ref()).is_some_and(|hard| hard["pods"].0 == "1")
        })
        .await;
    cluster.stop().await;
}
