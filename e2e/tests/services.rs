//! A Service's address, from the host and from pods, while its pods come and go.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::cluster::{Cluster, SOON, name};
use e2e::eventually::eventually;
use e2e::http;

const SELECTOR: &str = "app=guestbook";

fn service_address(cluster: &Cluster) -> Result<String> {
    let service = cluster.get(&["service", "guestbook"])?;
    let ip = service["spec"]["clusterIP"].as_str().context("a cluster IP")?;
    Ok(format!("{ip}:80"))
}

fn pod_of(answer: &str) -> String {
    answer.split("pod=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn the_cluster_address_spreads_over_ready_pods() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    let address = service_address(&cluster)?;
    eventually("the service answers from the host", SOON, || http::get(&address, "/"))?;
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        *answers.entry(pod_of(&http::get(&address, "/")?)).or_default() += 1;
    }
    ensure!(answers.len() == 3 && answers.values().all(|n| *n > 60), "300 requests spread as {answers:?}");
    let mut from_pod = BTreeMap::new();
    let loop_of_gets = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do wget -q -O - http://{address}/; done"
    );
    let text = cluster
        .kubectl(&["exec", name(&pods[0]), "-c", "sidecar", "--", "sh", "-c", &loop_of_gets])?
        .success()?;
    for line in text.lines() {
        *from_pod.entry(pod_of(line)).or_insert(0) += 1;
    }
    ensure!(from_pod.len() >= 2, "20 requests from a pod went to {from_pod:?}");
    // A pod that is not ready gets no requests; one that is again, does.
    let ip = pods[0]["status"]["podIP"].as_str().context("a pod IP")?;
    http::get(&format!("{ip}:8080"), "/fail/ready")?;
    eventually("the failing pod leaves the service", SOON, || {
        let endpoints = cluster
            .kubectl(&["get", "endpoints", "guestbook", "-o", "jsonpath={.subsets[*].addresses[*].ip}"])?
            .success()?;
        ensure!(!endpoints.contains(ip) && !endpoints.is_empty(), "{endpoints}");
        for _ in 0..30 {
            let answer = http::get(&address, "/")?;
            ensure!(pod_of(&answer) != name(&pods[0]), "{answer}");
        }
        Ok(())
    })?;
    http::get(&format!("{ip}:8080"), "/heal/ready")?;
    cluster.ready_pods(SELECTOR, 3).map(drop)
}

#[test]
fn a_deleted_pod_is_replaced_and_leaves_the_service() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    let address = service_address(&cluster)?;
    let gone = name(&pods[0]);
    cluster.kubectl(&["delete", "pod", gone])?.success()?;
    let now = cluster.ready_pods(SELECTOR, 3)?;
    ensure!(now.iter().all(|pod| name(pod) != gone), "the pod is still there");
    eventually("only the new pods answer", SOON, || {
        for _ in 0..50 {
            let answer = http::get(&address, "/")?;
            ensure!(pod_of(&answer) != gone, "{answer}");
        }
        Ok(())
    })
}

#[test]
fn replicas_go_up_and_down() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    for replicas in ["1", "6", "0", "2"] {
        cluster
            .kubectl(&["scale", "deployment", "guestbook", &format!("--replicas={replicas}")])?
            .success()?;
        cluster.ready_pods(SELECTOR, replicas.parse()?)?;
    }
    let address = service_address(&cluster)?;
    eventually("the service answers after scaling from zero", SOON, || http::get(&address, "/"))?;
    cluster.kubectl(&["scale", "deployment", "guestbook", "--replicas=0"])?.success()?;
    eventually("a service without pods refuses at once", SOON, || match http::get(&address, "/") {
        Err(error) if format!("{error:#}").contains("refused") => Ok(()),
        other => bail!("{other:?}"),
    })
}
