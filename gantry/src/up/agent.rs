//! Starts the node agent of this process: runtime, pod network, images, service proxy, node API.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use component_base::tls::Pki;
use node_agent::container_runtime::ContainerRuntime;
use node_agent::container_runtime::shim_client::ShimClient;
use node_agent::network::{Ipv4Range, RoutedNetwork};
use node_agent::proxy::{self, ProxyConfig};
use node_agent::server::{self, NodeApi, NodeServer};
use node_agent::{Config as AgentConfig, Dependencies, Running, images};
use tokio::net::TcpListener;

use super::{Base, CLUSTER_DOMAIN, NODE_CIDR_MASK};
use crate::config::Config;
use crate::names::{Names, image_dir, node_dir};

/// The port node APIs have on every Kubernetes node.
const NODE_API_PORT: u16 = 10_250;

/// Starts everything a node needs and waits until the node is Ready. `client` is the node's, `proxy_client`
/// that of its service proxy: a node may not read the endpoints of all services.
///
/// # Errors
/// When the machine lacks something; the text says what.
pub async fn start(
    config: &Config,
    base: &Base,
    pki: &Pki,
    client: kube::Client,
    proxy_client: kube::Client,
) -> Result<()> {
    let names = Names::of(&config.data_dir);
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let shims = ShimClient::new(binary, node_dir(&config.data_dir), Arc::clone(&base.clock))?;
    let runtime: Arc<dyn ContainerRuntime> = Arc::new(shims);
    let node_cidr = first_node_cidr(&config.pod_cidr)?;
    let network = RoutedNetwork::new(names.network(&config.data_dir, &node_cidr, &config.pod_cidr)?)?;
    let images = Arc::new(images::Store::open(&image_dir(&config.data_dir), Arc::clone(&base.clock))?);
    let changes = images.changed()?;
    let listener = server::listen(SocketAddr::new(config.advertise, NODE_API_PORT))
        .await
        .with_context(|| format!("cannot listen on {} for the node API", config.advertise))?;
    let agent_config = AgentConfig {
        node_name: config.node_name.clone(),
        data_dir: config.data_dir.clone(),
        cgroup_root: names.cgroup.clone(),
        node_ips: vec![config.advertise],
        port: listener.local_addr()?.port(),
        pod_cidr: Some(node_cidr),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        ..AgentConfig::default()
    };
    let informers = base.informers(client.clone());
    let dependencies = Dependencies {
        clock: Arc::clone(&base.clock),
        rng: base.rng.clone(),
        runtime: Arc::clone(&runtime),
        network: Arc::new(network),
        images,
        informers,
    };
    let mut agent = node_agent::run(agent_config, client, dependencies, base.shutdown.clone()).await?;
    start_proxy(config, base, &names, base.informers(proxy_client))?;
    start_server(config, base, pki, listener, runtime, &agent)?;
    agent.until_ready().await;
    base.shutdown.spawn_until(follow_images(changes, agent));
    Ok(())
}

/// The service proxy; a node whose services do not work says so and stops.
fn start_proxy(
    config: &Config,
    base: &Base,
    names: &Names,
    informers: client::informer::Informers,
) -> Result<()> {
    let settings = ProxyConfig {
        table: names.service_table.clone(),
        node: config.node_name.clone(),
        cluster_range: config.pod_cidr.parse::<Ipv4Range>()?,
    };
    let (clock, shutdown) = (Arc::clone(&base.clock), base.shutdown.clone());
    base.shutdown.spawn(async move {
        if let Err(error) = proxy::run(settings, &informers, clock, shutdown.clone()).await {
            tracing::error!(%error, "the service proxy cannot go on");
            shutdown.trigger();
        }
    });
    Ok(())
}

/// The node API, for the API server alone.
fn start_server(
    config: &Config,
    base: &Base,
    pki: &Pki,
    listener: TcpListener,
    runtime: Arc<dyn ContainerRuntime>,
    agent: &Running,
) -> Result<()> {
    let addresses = [config.advertise, IpAddr::from([127, 0, 0, 1])];
    pki.node_identity(&config.node_name, &addresses, base.clock.now())?;
    let api = NodeApi {
        runtime,
        lookup: agent.pods.clone(),
        stats: Arc::clone(&agent.stats),
        clock: Arc::clone(&base.clock),
        shutdown: base.shutdown.clone(),
    };
    let server = NodeServer::new(listener, pki.node_server_config(&config.node_name)?, api);
    base.shutdown.spawn(server.run());
    Ok(())
}

/// Wakes containers that wait for an image whenever one is loaded, by whichever process.
async fn follow_images(mut changes: images::Changes, agent: Running) {
    loop {
        match changes.next().await {
            Ok(()) => agent.images_changed(),
            Err(error) => {
                tracing::error!(%error, "new images are not noticed any more");
                return;
            }
        }
    }
}

/// The part of the pod addresses this first node of a cluster gets.
fn first_node_cidr(pod_cidr: &str) -> Result<String> {
    let range: Ipv4Range = pod_cidr.parse()?;
    Ok(format!("{}/{}", range.network(), range.prefix().max(NODE_CIDR_MASK)))
}
