//! A flood of lists must not keep a node from renewing its lease.

use apiserver::storage::memory::Memory;
use axum::body::Body;
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::{raw, scene};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noisy_lists_do_not_delay_a_lease() {
    let clock = RealClock::shared();
    let (mut config, _directory) = scene::config(None, clock.now());
    config.seats = Some(apiserver::SEATS);
    let running = apiserver::run(config, Memory::open(), clock.clone(), Rng::seeded(1), Shutdown::new())
        .await
        .expect("a server");
    let server = running.local;
    let lease = json!({"metadata": {"name": "one"}, "spec": {"holderIdentity": "one"}});
    assert_eq!(raw(&server, "POST", LEASES, JSON, &lease).await.0, 201);
    for number in 0..500 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"a": "x".repeat(500)}});
        assert_eq!(raw(&server, "POST", MAPS, JSON, &map).await.0, 201);
    }
    let noise: FuturesUnordered<_> = (0..500)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
                let mut list =
                    Request::get(MAPS).header("accept", table).body(Body::empty()).expect("a request");
                list.extensions_mut().insert(UserInfo::component("system:kube-controller-manager", &[]));
                let answer = server.answer(list).await;
                let code = answer.status().as_u16();
                let signed = answer.headers().contains_key("x-kubernetes-pf-flowschema-uid");
                answer.into_body().collect().await.expect("a body");
                (code, signed)
            })
        })
        .collect();
    let (mut worst, mut renewed) = (std::time::Duration::ZERO, 0);
    let lists = tokio::spawn(noise.collect::<Vec<_>>());
    while !lists.is_finished() || renewed == 0 {
        let began = clock.monotonic();
        let renewal =
            json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": renewed}});
        let mut request = Request::patch(format!("{LEASES}/one"))
            .header("content-type", "application/merge-patch+json")
            .body(Body::from(renewal.to_string()))
            .expect("a request");
        request.extensions_mut().insert(UserInfo::component("system:node:one", &["system:nodes"]));
        let code = server.answer(request).await.status().as_u16();
        assert_eq!(code, 200);
        worst = worst.max(clock.monotonic() - began);
        renewed += 1;
        tokio::task::yield_now().await;
    }
    let answers: Vec<(u16, bool)> =
        lists.await.expect("done").into_iter().map(|one| one.expect("an answer")).collect();
    println!("{renewed} renewals among 500 lists, the slowest took {worst:?}");
    assert!(answers.iter().all(|(code, signed)| [200, 429].contains(code) && *signed), "{answers:?}");
    assert!(answers.iter().filter(|(code, _)| *code == 200).count() >= 100);
    assert!(worst < std::time::Duration::from_secs(1), "{worst:?}");
}
