//! An operator written with kube-rs: its own kind, a controller with server-side apply, status and a finalizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::cluster::{Cluster, SOON};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt as _, Resource as _, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A kind with a default, a rule, a status and a scale.
#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "e2e.gantry.dev",
    version = "v1",
    kind = "Greeter",
    namespaced,
    status = "GreeterStatus",
    shortname = "gr",
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".spec.message"}"#
)]
#[serde(rename_all = "camelCase")]
struct GreeterSpec {
    message: String,
    #[serde(default = "one")]
    times: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct GreeterStatus {
    said: String,
}

const MANAGER: &str = "greeter-operator";

async fn reconcile(greeter: Arc<Greeter>, client: Arc<Client>) -> Result<Action, Failure> {
    let namespace = greeter.namespace().unwrap_or_default();
    let greeters: Api<Greeter> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    let outcome = finalizer(&greeters, "e2e.gantry.dev/greeter", greeter, |event| async {
        match event {
            Event::Apply(greeter) => greet(&greeter, &greeters, &maps).await,
            Event::Cleanup(greeter) => {
                let name = format!("{}-farewell", greeter.name_any());
                let farewell = ConfigMap { metadata: named(&name), ..ConfigMap::default() };
                maps.create(&PostParams::default(), &farewell).await?;
                Ok(Action::await_change())
            }
        }
    });
    outcome.await.map_err(|error| Failure(error.to_string()))
}

fn named(name: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta { name: Some(name.to_owned()), ..kube::core::ObjectMeta::default() }
}

async fn greet(greeter: &Greeter, greeters: &Api<Greeter>, maps: &Api<ConfigMap>) -> kube::Result<Action> {
    let said = vec![greeter.spec.message.clone(); greeter.spec.times as usize].join(" ");
    let mut map = ConfigMap { metadata: named(&greeter.name_any()), ..ConfigMap::default() };
    map.metadata.owner_references = greeter.controller_owner_ref(&()).map(|owner| vec![owner]);
    map.data = Some(BTreeMap::from([("greeting".to_owned(), said.clone())]));
    let apply = PatchParams::apply(MANAGER);
    maps.patch(&greeter.name_any(), &apply, &Patch::Apply(&map)).await?;
    let status = json!({"apiVersion": Greeter::api_version(&()), "kind": Greeter::kind(&()), "status": {"said": said}});
    greeters.patch_status(&greeter.name_any(), &apply, &Patch::Apply(&status)).await?;
    Ok(Action::await_change())
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

async fn client(cluster: &Cluster) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// A condition of an object that must come true soon.
async fn soon<T>(
    what: &str,
    wait: impl Future<Output = Result<T, impl std::error::Error + Send + Sync + 'static>>,
) -> Result<T> {
    tokio::time::timeout(SOON, wait)
        .await
        .with_context(|| format!("{what}: not in time"))?
        .with_context(|| what.to_owned())
}

async fn story(client: Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Greeter::crd_name();
    definitions.create(&PostParams::default(), &Greeter::crd()).await?;
    soon("established", await_condition(definitions.clone(), name, conditions::is_crd_established())).await?;

    let greeters: Api<Greeter> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let controller = Controller::new(greeters.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        .for_each(|_| std::future::ready(()));
    let running = tokio::spawn(controller);

    let greeter = json!({"apiVersion": "e2e.gantry.dev/v1", "kind": "Greeter", "metadata": {"name": "g"}, "spec": {"message": "hello"}});
    greeters.create(&PostParams::default(), &serde_json::from_value(greeter)?).await?;
    let greeting = |text: &'static str| {
        move |map: Option<&ConfigMap>| {
            map.and_then(|map| map.data.as_ref()?.get("greeting")).is_some_and(|greeting| greeting == text)
        }
    };
    soon("the first greeting", await_condition(maps.clone(), "g", greeting("hello"))).await?;
    let change = json!({"spec": {"times": 2}});
    greeters.patch("g", &PatchParams::default(), &Patch::Merge(&change)).await?;
    soon("the second greeting", await_condition(maps.clone(), "g", greeting("hello hello"))).await?;
    let said = |greeter: Option<&Greeter>| {
        greeter.and_then(|greeter| greeter.status.as_ref()).is_some_and(|status| status.said == "hello hello")
    };
    soon("the status", await_condition(greeters.clone(), "g", said)).await?;

    // What it owns comes back when somebody takes it away, and goes with its owner.
    maps.delete("g", &DeleteParams::default()).await?;
    soon("the greeting again", await_condition(maps.clone(), "g", greeting("hello hello"))).await?;
    greeters.delete("g", &DeleteParams::default()).await?;
    let exists = |map: Option<&ConfigMap>| map.is_some();
    soon("the farewell", await_condition(maps.clone(), "g-farewell", exists)).await?;
    let gone = |map: Option<&ConfigMap>| map.is_none();
    soon("the greeting's end", await_condition(maps.clone(), "g", gone)).await?;
    definitions.delete(name, &DeleteParams::default()).await?;
    let gone = |definition: Option<&CustomResourceDefinition>| definition.is_none();
    soon("the kind's end", await_condition(definitions, name, gone)).await?;
    running.abort();
    Ok(())
}

#[test]
fn an_operator_with_its_own_kind() -> Result<()> {
    let cluster = Cluster::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { story(client(&cluster).await?).await }).with_context(|| cluster.log())
}
