//! This node in the API: the Node object, its conditions, its Lease.
//!
//! Entry point: [`Reporter::run`]. The Lease is renewed every 10 s; the status is written when it changes and
//! every 5 minutes (KEP-589).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::clock::rfc3339_micros;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node as NodeObject, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::machine;
use crate::node::Node;

/// Between renewals of the Lease.
const RENEW: Duration = Duration::from_secs(10);
/// How long others trust an unrenewed Lease.
const LEASE_SECONDS: i32 = 40;
/// Status is written at least this often.
const REPORT: Duration = Duration::from_secs(300);
/// Wait before trying again what the API refused.
const RETRY: Duration = Duration::from_millis(200);
/// Upstream's eviction threshold; below it the node takes no new pods.
const LEAST_MEMORY_BYTES: u64 = 100 << 20;
/// A disk is under pressure with less than a tenth free, unless a tenth is more than this.
const ENOUGH_STORAGE_BYTES: u64 = 2 << 30;
/// Namespace of node Leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What this node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk.
    pub disk: bool,
    /// Process ids.
    pub pids: bool,
}

/// Kubelet version shown by `kubectl get nodes`.
pub fn version() -> String {
    format!("v1.36.0+gantry.{}", env!("CARGO_PKG_VERSION"))
}

fn resources(config: &crate::Config, machine: &machine::Machine, memory: u64) -> BTreeMap<String, Quantity> {
    let list = [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", memory / 1_024)),
        ("ephemeral-storage", format!("{}Ki", machine.storage_bytes / 1_024)),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
        ("pods", config.max_pods.to_string()),
    ];
    list.into_iter().map(|(name, text)| (name.to_owned(), Quantity(text))).collect()
}

/// The four conditions; transition times are kept from `previous` where the status is the same.
pub fn conditions(pressure: Pressure, previous: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let rows = [
        (
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        (
            "DiskPressure",
            pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            "PIDPressure",
            pressure.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ("Ready", true, ("KubeletReady", "kubelet is posting ready status"), ("", "")),
    ];
    rows.into_iter()
        .map(|(name, holds, yes, no)| {
            let status = if holds { "True" } else { "False" };
            let (reason, message) = if holds { yes } else { no };
            let old = previous.iter().find(|old| old.type_ == name && old.status == status);
            NodeCondition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: old
                    .and_then(|old| old.last_transition_time.clone())
                    .or(Some(Time(now))),
            }
        })
        .collect()
}

/// The Node object as this machine describes itself.
pub fn describe(
    config: &crate::Config,
    machine: &machine::Machine,
    conditions: Vec<NodeCondition>,
) -> NodeObject {
    let name = &config.node_name;
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), machine.architecture.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), machine.architecture.to_owned()),
    ]);
    labels.extend(config.labels.clone());
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let mut addresses: Vec<NodeAddress> =
        config.node_ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(address("Hostname", name.clone()));
    NodeObject {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec {
            pod_cidr: config.pod_cidr.clone(),
            pod_cidrs: config.pod_cidr.clone().map(|range| vec![range]),
            provider_id: None,
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            addresses: Some(addresses),
            capacity: Some(resources(config, machine, machine.memory_bytes)),
            allocatable: Some(resources(config, machine, machine.allocatable_memory_bytes())),
            conditions: Some(conditions),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
            }),
            node_info: Some(NodeSystemInfo {
                architecture: machine.architecture.to_owned(),
                boot_id: machine.boot_id.clone(),
                container_runtime_version: "libcontainer://0.7".to_owned(),
                kernel_version: machine.kernel_version.clone(),
                kube_proxy_version: String::new(),
                kubelet_version: version(),
                machine_id: machine.machine_id.clone(),
                operating_system: "linux".to_owned(),
                os_image: machine.os_image.clone(),
                system_uuid: machine.system_uuid.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }),
    }
}

/// Keeps the Node and its Lease current.
pub struct Reporter {
    node: Arc<Node>,
    ready: watch::Sender<bool>,
    uid: Option<String>,
    conditions: Vec<NodeCondition>,
    pressure: Pressure,
    reported_at: Duration,
}

impl Reporter {
    /// `ready` turns true once the API shows the node as Ready.
    pub fn new(node: Arc<Node>, ready: watch::Sender<bool>) -> Self {
        Self {
            node,
            ready,
            uid: None,
            conditions: Vec::new(),
            pressure: Pressure::default(),
            reported_at: Duration::ZERO,
        }
    }

    /// Registers, then reports until dropped.
    pub async fn run(mut self) {
        while let Err(error) = self.register().await {
            tracing::debug!(%error, "node not registered yet");
            self.node.clock.sleep(RETRY).await;
        }
        self.ready.send_replace(true);
        tracing::info!(node = self.node.config.node_name, "node is ready");
        loop {
            let pause = match self.renew().await {
                Ok(()) => RENEW,
                Err(error) => {
                    tracing::debug!(%error, "lease not renewed");
                    RETRY
                }
            };
            self.node.clock.sleep(pause).await;
            let due = self.node.clock.monotonic().saturating_sub(self.reported_at) >= REPORT;
            if (due || self.pressure() != self.pressure)
                && let Err(error) = self.report().await
            {
                tracing::warn!(%error, "node status not written");
            }
        }
    }

    fn pressure(&self) -> Pressure {
        let (size, free) = machine::storage(&self.node.config.data_dir);
        Pressure {
            memory: machine::memory("MemAvailable") < LEAST_MEMORY_BYTES,
            disk: size > 0 && free < size / 10 && free < ENOUGH_STORAGE_BYTES,
            pids: machine::pids_exhausted(),
        }
    }

    async fn register(&mut self) -> Result<(), kube::Error> {
        let nodes: Api<NodeObject> = Api::all(self.node.client.clone());
        let object = describe(&self.node.config, &self.node.machine, Vec::new());
        match nodes.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let name = &self.node.config.node_name;
                let existing = nodes.get(name).await?;
                self.conditions = existing.status.and_then(|status| status.conditions).unwrap_or_default();
                let labels = json!({ "metadata": { "labels": object.metadata.labels } });
                nodes.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await?;
            }
            Err(error) => return Err(error),
        }
        self.report().await
    }

    /// Writes the whole status.
    async fn report(&mut self) -> Result<(), kube::Error> {
        let pressure = self.pressure();
        let conditions = conditions(pressure, &self.conditions, self.node.clock.now());
        let object = describe(&self.node.config, &self.node.machine, conditions.clone());
        let nodes: Api<NodeObject> = Api::all(self.node.client.clone());
        let patch = json!({ "status": object.status });
        let name = &self.node.config.node_name;
        let answer = nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        self.uid = answer.metadata.uid;
        self.conditions = conditions;
        self.pressure = pressure;
        self.reported_at = self.node.clock.monotonic();
        Ok(())
    }

    async fn renew(&self) -> Result<(), kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.node.client.clone(), LEASE_NAMESPACE);
        let name = &self.node.config.node_name;
        let spec = json!({
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": rfc3339_micros(self.node.clock.now()),
        });
        let patch = json!({ "spec": spec });
        match leases.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => self.create_lease(&leases, spec).await,
            result => result.map(drop),
        }
    }

    async fn create_lease(&self, leases: &Api<Lease>, spec: Value) -> Result<(), kube::Error> {
        let name = &self.node.config.node_name;
        let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": self.uid });
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner] },
            "spec": spec,
        });
        let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
        leases.create(&PostParams::default(), &lease).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_times_are_kept() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let first = conditions(Pressure::default(), &[], at(1));
        let second = conditions(Pressure { disk: true, ..Pressure::default() }, &first, at(2));
        let times: Vec<i64> = second
            .iter()
            .filter_map(|condition| condition.last_transition_time.as_ref().map(|time| time.0.as_second()))
            .collect();
        assert_eq!(times, [1, 2, 1, 1]);
        assert_eq!(second[1].reason.as_deref(), Some("KubeletHasDiskPressure"));
        assert_eq!(second[3].type_, "Ready");
    }

    #[test]
    fn a_node_describes_itself() {
        let config = crate::Config {
            node_name: "n1".to_owned(),
            node_ips: vec!["192.0.2.1".parse().expect("ip")],
            ..crate::Config::default()
        };
        let node = describe(&config, &machine::Machine { cpus: 2, ..Default::default() }, Vec::new());
        let status = node.status.expect("status");
        assert_eq!(status.capacity.expect("capacity")["pods"].0, "110");
        let kinds: Vec<String> =
            status.addresses.into_iter().flatten().map(|address| address.type_).collect();
        assert_eq!(kinds, ["InternalIP", "Hostname"]);
    }
}
