//! An operator's view: a kind derived from Rust types is defined, used, collected and taken away again.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]
#![allow(dead_code, reason = "the fixture serves several tests")]

#[path = "cluster/fixture.rs"]
mod fixture;

use fixture::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{CustomResource, CustomResourceExt as _, Resource as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A plural that no rule gives.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "farm.example.com",
    version = "v1",
    kind = "Ox",
    plural = "oxen",
    shortname = "ox",
    namespaced
)]
#[kube(status = "OxStatus")]
#[kube(scale(spec_replicas_path = ".spec.herd", status_replicas_path = ".status.herd"))]
struct OxSpec {
    #[schemars(range(min = 1))]
    herd: i32,
    #[serde(default = "brown")]
    color: String,
    tags: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct OxStatus {
    herd: i32,
}

fn brown() -> String {
    "brown".to_owned()
}

fn ox(name: &str, herd: i32) -> Ox {
    Ox::new(name, OxSpec { herd, color: "red".to_owned(), tags: None })
}

async fn define(cluster: &Cluster) -> Api<CustomResourceDefinition> {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    definitions.create(&PostParams::default(), &Ox::crd()).await.expect("defined");
    await_condition(definitions.clone(), Ox::crd_name(), conditions::is_crd_established())
        .await
        .expect("established");
    definitions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_kind_is_used_like_any_other() {
    let cluster = Cluster::start().await;
    let definitions = define(&cluster).await;
    let oxen: Api<Ox> = Api::namespaced(cluster.client.clone(), "default");
    let made = oxen.create(&PostParams::default(), &ox("berta", 3)).await.expect("created");
    assert_eq!((made.spec.herd, made.metadata.generation), (3, Some(1)));
    let refused = oxen.create(&PostParams::default(), &ox("none", 0)).await.expect_err("refused");
    assert!(
        refused.to_string().contains("spec.herd in body should be greater than or equal to 1"),
        "{refused}"
    );
    let status = json!({"status": {"herd": 2}});
    oxen.patch_status("berta", &PatchParams::default(), &Patch::Merge(status)).await.expect("reported");
    let scale = oxen.get_scale("berta").await.expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));

    // What it owns goes with it.
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("owned".to_owned());
    map.metadata.owner_references = Some(vec![made.controller_owner_ref(&()).expect("a reference")]);
    let owned = maps.create(&PostParams::default(), &map).await.expect("created");
    let gone =
        await_condition(maps, "owned", conditions::is_deleted(owned.metadata.uid.as_deref().expect("a uid")));
    oxen.delete("berta", &DeleteParams::background()).await.expect("deleted");
    gone.await.expect("collected");

    // A definition goes after its objects.
    oxen.create(&PostParams::default(), &ox("last", 1)).await.expect("created");
    let uid = definitions.get(Ox::crd_name()).await.expect("there").metadata.uid.expect("a uid");
    definitions.delete(Ox::crd_name(), &DeleteParams::default()).await.expect("deleted");
    await_condition(definitions, Ox::crd_name(), conditions::is_deleted(&uid)).await.expect("gone");
    // What is served follows the definition, a moment later.
    while oxen.list(&kube::api::ListParams::default()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_custom_objects_along() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mut farm = Namespace::default();
    farm.metadata.name = Some("farm".to_owned());
    let farm = namespaces.create(&PostParams::default(), &farm).await.expect("created");
    let oxen: Api<Ox> = Api::namespaced(cluster.client.clone(), "farm");
    let mut held = ox("held", 1);
    held.metadata.finalizers = Some(vec!["farm.example.com/hold".to_owned()]);
    oxen.create(&PostParams::default(), &held).await.expect("created");
    oxen.create(&PostParams::default(), &ox("free", 1)).await.expect("created");
    namespaces.delete("farm", &DeleteParams::default()).await.expect("deleted");
    let going = |ox: Option<&Ox>| ox.is_some_and(|ox| ox.meta().deletion_timestamp.is_some());
    await_condition(oxen.clone(), "held", going).await.expect("deleted with its namespace");
    let free = json!({"metadata": {"finalizers": null}});
    oxen.patch("held", &PatchParams::default(), &Patch::Merge(free)).await.expect("freed");
    let uid = farm.metadata.uid.expect("a uid");
    await_condition(namespaces, "farm", conditions::is_deleted(&uid)).await.expect("gone");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_status_keeps_no_other_kind_from_being_followed() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut other = Ox::crd();
    other.metadata.name = Some("cows.farm.example.com".to_owned());
    other.spec.names.plural = "cows".to_owned();
    other.spec.names.kind = "Cow".to_owned();
    other.spec.names.list_kind = None;
    other.spec.names.singular = None;
    other.spec.names.short_names = None;
    definitions.create(&PostParams::default(), &other).await.expect("defined");
    let spoilt = json!({"status": {"conditions": [{"message": "patched"}]}});
    let patch = Patch::Merge(spoilt);
    definitions.patch_status("cows.farm.example.com", &PatchParams::default(), &patch).await.expect("spoilt");

    define(&cluster).await;
    let oxen: Api<Ox> = Api::namespaced(cluster.client.clone(), "default");
    let made = oxen.create(&PostParams::default(), &ox("berta", 3)).await.expect("created");
    let uid = made.metadata.uid.expect("a uid");
    // Foreground deletion ends only when the collector has seen the object.
    oxen.delete("berta", &DeleteParams::foreground()).await.expect("deleted");
    await_condition(oxen, "berta", conditions::is_deleted(&uid)).await.expect("collected");
    cluster.stop().await;
}
