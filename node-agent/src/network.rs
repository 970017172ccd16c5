//! Gives each pod its network: an address, a link to the host, routes. Entry points: [`PodNetwork`] and its
//! implementation [`RoutedNetwork`].
//!
//! Pods are named by uid. What was handed out is on disk and can also be read back from the kernel, so it
//! survives the agent. Every link and packet rule carries the cluster's own names: two clusters on one
//! machine do not meet. There is no bridge: each pod has a link of its own and the host routes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use parking_lot::Mutex;
use rtnetlink::packet_core::NetlinkPayload;
use serde::{Deserialize, Serialize};

use address_pool::AddressPool;
use host_ports::PacketRules;
pub use host_ports::{HostPort, Protocol};
use link::Netlink;

pub mod address_pool;
pub mod host_ports;
pub mod link;
pub mod namespace;
pub mod routes;

/// Room for the prefix of link names: 15 characters less 8 of a hash.
const LINK_PREFIX_MAX: usize = 7;
/// Used when neither the configuration nor a default route tells.
const DEFAULT_MTU: u32 = 1500;
/// The record of addresses in the state directory.
const RECORD_FILE: &str = "addresses.json";

/// Why a pod's network could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Every address of the node's range is in use or resting.
    #[error("no free address in {0}")]
    Exhausted(String),
    /// The configuration cannot work, such as a range without room for pods.
    #[error("pod network configuration: {0}")]
    Config(String),
    /// The record of addresses could not be read or written.
    #[error("{act} {path}: {source}")]
    State {
        /// What was being done.
        act: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a step.
    #[error("{act}: {reason}")]
    Kernel {
        /// What was being done, such as `create link gantry1234`.
        act: String,
        /// The cause, for people.
        reason: String,
    },
}

/// Connects pods to the network.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Gives the pod an address and connects the namespace named by `netns`. Idempotent: a pod that
    /// already has its network gets the same answer.
    async fn attach(&self, uid: &str, netns: &Path) -> Result<Vec<IpAddr>, NetworkError>;

    /// Takes the pod's network away; call it after the namespace is gone (or about to be). The address
    /// becomes free once the host's end of the link is gone. Idempotent.
    async fn detach(&self, uid: &str) -> Result<(), NetworkError>;

    /// The pod's addresses, the primary one first; empty when it has none.
    fn addresses(&self, uid: &str) -> Vec<IpAddr>;

    /// After a restart: keeps what the `live` pods (uid, namespace path) have, repairs what they lack,
    /// frees everything else.
    async fn recover(&self, live: &[(String, PathBuf)]) -> Result<(), NetworkError>;

    /// Lets ports of the host lead to an attached pod, in place of those it had. They end with `detach` and
    /// survive a restart.
    async fn publish(&self, uid: &str, ports: &[HostPort]) -> Result<(), NetworkError>;
}

/// An IPv4 network such as `10.42.3.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Range {
    network: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Range {
    /// The range's first address.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// How many leading bits are fixed, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address is in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.network)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Ipv4Range {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError::Config(format!("{text} is not an IPv4 network"));
        let (network, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let network: Ipv4Addr = network.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(invalid)?;
        Ok(Self { network: Ipv4Addr::from(u32::from(network) & mask(prefix)), prefix })
    }
}

impl TryFrom<String> for Ipv4Range {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Ipv4Range> for String {
    fn from(range: Ipv4Range) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix)
    }
}

/// What a [`RoutedNetwork`] needs to know.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// This node's share, `spec.podCIDR`, at least eight addresses.
    pub node_range: Ipv4Range,
    /// All pods of the cluster; traffic among them keeps its addresses.
    pub cluster_range: Ipv4Range,
    /// Source address of the host's own traffic to pods; `None` lets the kernel choose.
    pub node_address: Option<Ipv4Addr>,
    /// Directory of the record, made if absent.
    pub state_directory: PathBuf,
    /// Start of the names of all links, at most 7 characters and no other cluster's.
    pub link_prefix: String,
    /// nf_tables table, no other cluster's.
    pub table: String,
    /// MTU of pods' links; `None` takes that of the default route's link.
    pub mtu: Option<u32>,
}

/// Pods on links of their own, with routes on the host.
#[derive(Debug)]
pub struct RoutedNetwork {
    inner: Arc<Inner>,
    /// Ends with the network.
    _watch: tokio::task::JoinSet<()>,
}

#[derive(Debug)]
struct Inner {
    config: NetworkConfig,
    host: Netlink,
    pool: Mutex<AddressPool>,
    rules: Mutex<PacketRules>,
    /// Asked once: finding the default route means reading all routes, one per pod.
    mtu: tokio::sync::OnceCell<u32>,
}

impl RoutedNetwork {
    /// Starts in the calling thread's network namespace, inside a tokio runtime: kernel settings, packet rules,
    /// the watch for links that go away. Call [`PodNetwork::recover`] next.
    pub fn new(config: NetworkConfig) -> Result<Self, NetworkError> {
        if config.link_prefix.is_empty() || config.link_prefix.len() > LINK_PREFIX_MAX {
            return Err(NetworkError::Config(format!(
                "link prefix {:?} is not 1 to {LINK_PREFIX_MAX} characters long",
                config.link_prefix
            )));
        }
        std::fs::create_dir_all(&config.state_directory).map_err(|source| NetworkError::State {
            act: "create",
            path: config.state_directory.clone(),
            source,
        })?;
        routes::enable_forwarding()?;
        let pool = AddressPool::load(&config.state_directory.join(RECORD_FILE), config.node_range)?;
        let rules = PacketRules::new(&config.table, config.cluster_range)?;
        let host = Netlink::here()?;
        let inner = Arc::new(Inner {
            config,
            host,
            pool: Mutex::new(pool),
            rules: Mutex::new(rules),
            mtu: tokio::sync::OnceCell::new(),
        });
        inner.replace_rules()?;
        let mut watch = tokio::task::JoinSet::new();
        watch_links(&inner, &mut watch)?;
        Ok(Self { inner, _watch: watch })
    }
}

/// Frees addresses as the kernel reports links gone.
fn watch_links(inner: &Arc<Inner>, tasks: &mut tokio::task::JoinSet<()>) -> Result<(), NetworkError> {
    let groups = [rtnetlink::MulticastGroup::Link];
    let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|error| NetworkError::Kernel { act: "watch links".to_owned(), reason: error.to_string() })?;
    tasks.spawn(connection);
    let inner = Arc::clone(inner);
    tasks.spawn(async move {
        while let Some((message, _)) = messages.next().await {
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    if let Some(name) = link::name_of(&link) {
                        inner.link_gone(name);
                    }
                }
                // Messages were lost.
                NetlinkPayload::Overrun(_) => inner.free_leaving().await,
                _ => {}
            }
        }
    });
    Ok(())
}

impl Inner {
    fn link_name(&self, uid: &str) -> String {
        link::name(&self.config.link_prefix, uid)
    }

    fn save(&self, pool: &AddressPool) -> Result<(), NetworkError> {
        pool.save(&self.config.state_directory.join(RECORD_FILE))
    }

    fn replace_rules(&self) -> Result<(), NetworkError> {
        let pool = self.pool.lock();
        self.rules.lock().replace(&published(&pool))
    }

    fn publish(&self, uid: &str, ports: &[HostPort]) -> Result<(), NetworkError> {
        let mut pool = self.pool.lock();
        match pool.lease_mut(uid) {
            Some(lease) if lease.host_ports != ports => lease.host_ports = ports.to_vec(),
            _ => return Ok(()),
        }
        self.rules.lock().update(&published(&pool))?;
        self.save(&pool)
    }

    /// A link with this name left the kernel.
    fn link_gone(&self, name: &str) {
        if !name.starts_with(&self.config.link_prefix) {
            return;
        }
        let mut pool = self.pool.lock();
        let leaving = |(uid, lease): (&String, &address_pool::Lease)| {
            (lease.leaving && self.link_name(uid) == name).then(|| uid.clone())
        };
        let Some(uid) = pool.leases().iter().find_map(leaving) else { return };
        pool.release(&uid);
        if let Err(error) = self.save(&pool) {
            tracing::warn!(%error, uid, "address freed but not recorded");
        }
    }

    /// Frees leases of leaving pods whose links are gone.
    async fn free_leaving(&self) {
        let present = match self.host.links_with_prefix(&self.config.link_prefix).await {
            Ok(present) => present,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which links are gone");
                return;
            }
        };
        let names: Vec<String> = {
            let pool = self.pool.lock();
            let leaving = pool.leases().iter().filter(|(_, lease)| lease.leaving);
            leaving.map(|(uid, _)| self.link_name(uid)).filter(|name| !present.contains_key(name)).collect()
        };
        for name in names {
            self.link_gone(&name);
        }
    }

    async fn attach(&self, uid: &str, netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        let address = {
            let mut pool = self.pool.lock();
            let address = pool.allocate(uid)?;
            self.save(&pool)?;
            address
        };
        let name = self.link_name(uid);
        let namespace = namespace::open(netns)?;
        let pod = Netlink::inside(namespace::open(netns)?).await?;
        let mut index = self.host.index(&name).await?;
        if let Some(stale) = index
            && pod.index(link::POD_INTERFACE).await?.is_none()
        {
            // The other end is in a namespace that is no longer this pod's.
            self.host.delete(stale).await?;
            index = None;
        }
        if index.is_none() {
            link::create(&self.host, &namespace, &name, address, self.mtu().await?).await?;
            index = self.host.index(&name).await?;
        }
        let index = index.ok_or_else(|| NetworkError::Kernel {
            act: format!("configure link {name}"),
            reason: "it vanished".to_owned(),
        })?;
        routes::pod_end(&pod, address).await?;
        routes::host_end(&self.host, &name, index, address, self.config.node_address).await?;
        Ok(vec![IpAddr::V4(address)])
    }

    async fn mtu(&self) -> Result<u32, NetworkError> {
        match self.config.mtu {
            Some(mtu) => Ok(mtu),
            None => {
                let find = || async {
                    routes::default_route_mtu(&self.host).await.map(|mtu| mtu.unwrap_or(DEFAULT_MTU))
                };
                self.mtu.get_or_try_init(find).await.copied()
            }
        }
    }

    async fn detach(&self, uid: &str) -> Result<(), NetworkError> {
        let had_ports = {
            let mut pool = self.pool.lock();
            let Some(lease) = pool.lease_mut(uid) else { return Ok(()) };
            lease.leaving = true;
            let had_ports = !std::mem::take(&mut lease.host_ports).is_empty();
            self.save(&pool)?;
            if had_ports {
                self.rules.lock().update(&published(&pool))?;
            }
            had_ports
        };
        tracing::debug!(uid, had_ports, "pod leaves the network");
        let name = self.link_name(uid);
        // Asked after the lease was marked, so a link that goes in between is not missed.
        if self.host.index(&name).await?.is_none() {
            self.link_gone(&name);
        }
        Ok(())
    }

    async fn recover(&self, live: &[(String, PathBuf)]) -> Result<(), NetworkError> {
        let links = self.host.links_with_prefix(&self.config.link_prefix).await?;
        let routes = routes::host_routes(&self.host).await?;
        let mut wanted = BTreeSet::new();
        for (uid, netns) in live {
            let name = self.link_name(uid);
            let kernel = links.get(&name).and_then(|index| routes.iter().find(|(link, _)| link == index));
            let complete = self.adopt(uid, kernel.map(|(_, address)| *address));
            // One pod that cannot be repaired must not keep the node down; its next sync tells.
            if !complete && let Err(error) = self.attach(uid, netns).await {
                tracing::warn!(%error, uid, "pod network not repaired");
            }
            wanted.insert(name);
        }
        for (name, index) in links.iter().filter(|(name, _)| !wanted.contains(*name)) {
            tracing::info!(link = %name, "removing the link of a pod that is gone");
            self.host.delete(*index).await?;
        }
        {
            let mut pool = self.pool.lock();
            let gone = |uid: &&String| !live.iter().any(|(other, _)| other == *uid);
            let stale: Vec<String> = pool.leases().keys().filter(gone).cloned().collect();
            for uid in stale {
                pool.release(&uid);
            }
            self.save(&pool)?;
        }
        self.replace_rules()
    }

    /// Takes over what the kernel has for a pod; `false` if something is missing.
    fn adopt(&self, uid: &str, kernel: Option<Ipv4Addr>) -> bool {
        let mut pool = self.pool.lock();
        match (kernel, pool.lease(uid).map(|lease| lease.address)) {
            (None, _) => false,
            (Some(kernel), Some(recorded)) if kernel == recorded => pool.allocate(uid).is_ok(),
            (Some(kernel), _) => pool.adopt(uid, kernel),
        }
    }
}

/// Host ports of all pods, with the pods' addresses.
fn published(pool: &AddressPool) -> Vec<(Ipv4Addr, &HostPort)> {
    let ports = |lease| {
        let lease: &address_pool::Lease = lease;
        lease.host_ports.iter().map(|port| (lease.address, port)).collect::<Vec<_>>()
    };
    pool.leases().values().flat_map(ports).collect()
}

#[async_trait]
impl PodNetwork for RoutedNetwork {
    async fn attach(&self, uid: &str, netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        self.inner.attach(uid, netns).await
    }

    async fn detach(&self, uid: &str) -> Result<(), NetworkError> {
        self.inner.detach(uid).await
    }

    fn addresses(&self, uid: &str) -> Vec<IpAddr> {
        let pool = self.inner.pool.lock();
        pool.lease(uid)
            .filter(|lease| !lease.leaving)
            .map(|lease| IpAddr::V4(lease.address))
            .into_iter()
            .collect()
    }

    async fn recover(&self, live: &[(String, PathBuf)]) -> Result<(), NetworkError> {
        self.inner.recover(live).await
    }

    async fn publish(&self, uid: &str, ports: &[HostPort]) -> Result<(), NetworkError> {
        self.inner.publish(uid, ports)
    }
}

/// Removes every link and packet rule of this cluster's node and the record, whether or not pods live.
pub async fn teardown(config: &NetworkConfig) -> Result<(), NetworkError> {
    let host = Netlink::here()?;
    for index in host.links_with_prefix(&config.link_prefix).await?.into_values() {
        host.delete(index).await?;
    }
    PacketRules::new(&config.table, config.cluster_range)?.remove()?;
    let path = config.state_directory.join(RECORD_FILE);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(NetworkError::State { act: "remove", path, source })
        }
        _ => Ok(()),
    }
}
