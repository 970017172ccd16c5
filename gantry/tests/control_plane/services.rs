//! Services lead to the pods that are ready, and to no others.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use serde_json::json;

use crate::cluster::{Cluster, NAMESPACE, is_ready, web};
use crate::waiting::{Objects, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_follow_readiness() {
    let cluster = Cluster::start().await;
    let service = json!({
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    let service: Service = serde_json::from_value(service).expect("a service");
    let service = cluster.api::<Service>().create(&PostParams::default(), &service).await.expect("created");
    assert!(service.spec.and_then(|spec| spec.cluster_ip).is_some_and(|ip| ip.starts_with("10.43.")));

    let mut deployment = web(3, &json!({}));
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1});
    cluster.deploy(&deployment).await;
    let pods = cluster.until_ready(3).await;
    let wanted: BTreeSet<String> = pods.values().map(address).collect();
    assert_eq!(wanted.len(), 3, "every pod has its own address");
    until(&cluster.api::<EndpointSlice>(), "all three serve", |all| serving(all) == wanted).await;
    until(&cluster.api::<Endpoints>(), "the older kind agrees", |all| {
        let subsets = all.get("web").and_then(|endpoints| endpoints.subsets.as_ref());
        let addresses = subsets.into_iter().flatten().flat_map(|subset| subset.addresses.iter().flatten());
        addresses.map(|address| address.ip.clone()).collect::<BTreeSet<_>>() == wanted
    })
    .await;

    cluster.runtime.program_exits("check", 1);
    until(&cluster.api::<Pod>(), "no pod is ready", |all| !all.values().any(is_ready)).await;
    until(&cluster.api::<EndpointSlice>(), "nobody serves", |all| serving(all).is_empty()).await;
    cluster.runtime.program_exits("check", 0);
    until(&cluster.api::<EndpointSlice>(), "all three serve again", |all| serving(all) == wanted).await;

    cluster.change(json!({"spec": {"replicas": 1}})).await;
    let left: BTreeSet<String> = cluster.until_ready(1).await.values().map(address).collect();
    until(&cluster.api::<EndpointSlice>(), "only the last one serves", |all| serving(all) == left).await;
}

fn address(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default()
}

fn serving(slices: &Objects<EndpointSlice>) -> BTreeSet<String> {
    let of_web = slices.values().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get("kubernetes.io/service-name")).is_some_and(|name| name == "web")
    });
    let endpoints = of_web.flat_map(|slice| slice.endpoints.iter().flatten());
    let ready =
        endpoints.filter(|e| e.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true));
    ready.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
}
