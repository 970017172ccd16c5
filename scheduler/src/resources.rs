//! Amounts of resources: what nodes offer and what pods ask for.
//!
//! Entry points: [`Amounts`], [`pod_requests`] and [`pod_scored_requests`]. Counting follows upstream's
//! `component-helpers/resource` (KEP-753 sidecars, KEP-2837 pod-level resources, KEP-1287 resize).

use std::collections::BTreeMap;

use api::quantity::Quantity as Exact;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodSpec, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// CPU that a container without a request counts as when nodes are scored, so that such pods spread.
const SCORED_MILLI_CPU: i64 = 100;
/// Memory that a container without a request counts as when nodes are scored.
const SCORED_MEMORY: i64 = 200 << 20;

/// A bundle of resources. Only `others` may lack an entry, which means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Huge pages and extended resources.
    pub others: BTreeMap<String, i64>,
}

type List = BTreeMap<String, Quantity>;

impl Amounts {
    /// Reads a resource list; `pods` is counted apart and what is no quantity counts as none.
    pub fn from_list(list: &List) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list {
            let Ok(quantity) = quantity.0.parse::<Exact>() else { continue };
            match name.as_str() {
                "cpu" => amounts.milli_cpu = quantity.milli_value(),
                "memory" => amounts.memory = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_storage = quantity.value(),
                "pods" => {}
                _ => {
                    amounts.others.insert(name.clone(), quantity.value());
                }
            }
        }
        amounts
    }

    /// Adds another bundle.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes another bundle away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Becomes the larger of both in each resource.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            let mine = self.others.entry(name.clone()).or_default();
            *mine = with(*mine, *amount);
        }
    }

    /// Each resource's name and amount, in the order upstream checks them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let others = self.others.iter().map(|(name, amount)| (name.as_str(), *amount));
        [("cpu", self.milli_cpu), ("memory", self.memory), ("ephemeral-storage", self.ephemeral_storage)]
            .into_iter()
            .chain(others)
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            other => self.others.get(other).copied().unwrap_or_default(),
        }
    }
}

/// How many pods a node takes, from its allocatable list.
pub fn allowed_pods(list: &List) -> i64 {
    list.get("pods").and_then(|quantity| quantity.0.parse::<Exact>().ok()).map_or(0, Exact::value)
}

fn requests_of(resources: Option<&ResourceRequirements>) -> Amounts {
    resources.and_then(|resources| resources.requests.as_ref()).map(Amounts::from_list).unwrap_or_default()
}

/// What a pod needs of a node: the larger of what its containers need together and what each init
/// container needs beside the sidecars started before it, plus overhead.
pub fn pod_requests(spec: &PodSpec, status: Option<&PodStatus>) -> Amounts {
    let statuses = |container: &Container| -> Option<&ContainerStatus> {
        let status = status?;
        [&status.container_statuses, &status.init_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .find(|status| status.name == container.name)
    };
    let mut total = sum(spec, |container| {
        let mut requests = requests_of(container.resources.as_ref());
        // While a resize is in progress the container may hold more than its spec says.
        requests.raise_to(&requests_of(statuses(container).and_then(|status| status.resources.as_ref())));
        requests
    });
    apply_pod_level(spec, &mut total);
    add_overhead(spec, &mut total);
    total
}

/// CPU (thousandths of a core) and memory (bytes) that a pod counts for when nodes are scored.
pub fn pod_scored_requests(spec: &PodSpec) -> (i64, i64) {
    let mut total = sum(spec, |container| {
        let mut requests = requests_of(container.resources.as_ref());
        let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let lacks = |name| list.is_none_or(|list| !list.contains_key(name));
        if lacks("cpu") {
            requests.milli_cpu = SCORED_MILLI_CPU;
        }
        if lacks("memory") {
            requests.memory = SCORED_MEMORY;
        }
        requests
    });
    apply_pod_level(spec, &mut total);
    add_overhead(spec, &mut total);
    (total.milli_cpu, total.memory)
}

fn sum(spec: &PodSpec, requests: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut total = Amounts::default();
    for container in &spec.containers {
        total.add(&requests(container));
    }
    let (mut sidecars, mut highest) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let mut needs = requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&needs);
            sidecars.add(&needs);
            highest.raise_to(&sidecars);
        } else {
            needs.add(&sidecars);
            highest.raise_to(&needs);
        }
    }
    total.raise_to(&highest);
    total
}

/// Requests of the pod as a whole stand in place of its containers' sum.
fn apply_pod_level(spec: &PodSpec, total: &mut Amounts) {
    let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) else {
        return;
    };
    let level = Amounts::from_list(list);
    for name in list.keys() {
        match name.as_str() {
            "cpu" => total.milli_cpu = level.milli_cpu,
            "memory" => total.memory = level.memory,
            pages if pages.starts_with("hugepages-") => {
                total.others.insert(pages.to_owned(), level.get(pages));
            }
            _ => {}
        }
    }
}

fn add_overhead(spec: &PodSpec, total: &mut Amounts) {
    if let Some(overhead) = &spec.overhead {
        total.add(&Amounts::from_list(overhead));
    }
}
