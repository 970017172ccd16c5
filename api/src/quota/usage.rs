//! What an object of each kind costs, under which names.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::scopes::Scope;
use crate::object;
use crate::pod_resources::{self, Resources};
use crate::quantity::Quantity;

/// What a quota counts of pods besides their number in the store; huge pages and extended resources, too.
const POD_RESOURCES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// If a quota counts one of these, containers have to say it. Upstream calls that a mistake, and keeps it.
const HAVE_TO_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const SERVICE_RESOURCES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];
const CLAIM_RESOURCES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// Between a storage class and what is counted of it.
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// After a device class.
const DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// As many devices a claim can be given (`AllocationResultsMaxSize`): the worst case of "all".
const MOST_DEVICES: i64 = 32;
/// Kinds that were counted under their plain names before there was `count/`.
const PLAIN_NAMES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// Knows what objects of one kind cost.
pub struct Evaluator<'a> {
    group: &'a str,
    plural: &'a str,
}

impl<'a> Evaluator<'a> {
    /// For the kind of a group and plural.
    pub fn of(group: &'a str, plural: &'a str) -> Self {
        Self { group, plural }
    }

    fn kind(&self) -> &str {
        match (self.group, self.plural) {
            ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims") => {
                self.plural
            }
            _ => "",
        }
    }

    /// `count/PLURAL.GROUP`.
    fn count_name(&self) -> String {
        match self.group {
            "" => format!("count/{}", self.plural),
            group => format!("count/{}.{group}", self.plural),
        }
    }

    /// Whether a write may cost something: an update or a creation, of an object or of a part of it.
    pub fn handles(&self, update: bool, subresource: &str) -> bool {
        match (self.kind(), subresource) {
            ("pods", "resize") => update,
            ("pods", _) => !update && subresource.is_empty(),
            ("services", _) | ("persistentvolumeclaims" | "resourceclaims", "") => true,
            ("persistentvolumeclaims", "status") => update,
            (_, "") => !update,
            _ => false,
        }
    }

    /// Whether a name in a quota is about objects of this kind.
    pub fn counts(&self, name: &str) -> bool {
        let by_kind = match self.kind() {
            "pods" => {
                let pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
                POD_RESOURCES.contains(&name) || pages || is_extended_request(name)
            }
            "services" => SERVICE_RESOURCES.contains(&name),
            "persistentvolumeclaims" => CLAIM_RESOURCES.iter().any(|resource| {
                name == *resource || name.strip_suffix(resource).is_some_and(|of| of.ends_with(STORAGE_CLASS))
            }),
            "resourceclaims" => name.ends_with(DEVICE_CLASS),
            _ => self.group.is_empty() && PLAIN_NAMES.contains(&self.plural) && name == self.plural,
        };
        by_kind || name == self.count_name()
    }

    /// Whether an object is in a scope. Kinds without scopes are in none.
    pub(super) fn is_in_scope(&self, scope: &Scope, object: &Value) -> bool {
        match self.kind() {
            "pods" => scope.holds_pod(object),
            "persistentvolumeclaims" => scope.holds_claim(object),
            _ => false,
        }
    }

    /// What an object must say when these names are counted.
    pub(super) fn constraints(&self, counted: &BTreeSet<&str>, object: &Value) -> Result<(), String> {
        if self.kind() != "pods" {
            return Ok(());
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for section in ["containers", "initContainers"] {
            for container in object["spec"][section].as_array().into_iter().flatten() {
                let resources = &container["resources"];
                let said = computed(
                    &pod_resources::list(&resources["requests"]),
                    &pod_resources::list(&resources["limits"]),
                );
                let silent =
                    counted.iter().filter(|n| HAVE_TO_BE_SAID.contains(n) && !said.contains_key(**n));
                for name in silent {
                    let containers = missing.entry(name).or_default();
                    containers.insert(container["name"].as_str().unwrap_or_default());
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let each = missing.into_iter().map(|(name, containers)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        });
        Err(format!("must specify {}", each.collect::<Vec<_>>().join("; ")))
    }

    /// What an object costs.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Resources {
        let mut usage = match self.kind() {
            "pods" if is_counted(object, now) => {
                computed(&pod_resources::requests(object), &pod_resources::limits(object))
            }
            "services" => of_service(object),
            "persistentvolumeclaims" => of_volume_claim(object),
            "resourceclaims" => of_device_claim(object),
            _ => Resources::new(),
        };
        usage.insert(self.count_name(), Quantity::from_units(1));
        if self.group.is_empty() && PLAIN_NAMES.contains(&self.plural) {
            usage.insert(self.plural.to_owned(), Quantity::from_units(1));
        }
        usage
    }
}

/// `requests.example.com/thing`: a resource that Kubernetes itself does not know.
fn is_extended_request(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    name.starts_with("requests.") && !native
}

/// Whether a resource in a container's list is an extended one.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// A pod that is over, or whose grace is, costs nothing but its place in the store.
fn is_counted(pod: &Value, now: Timestamp) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if ["Failed", "Succeeded"].contains(&phase) {
        return false;
    }
    let deleted: Option<Timestamp> = object::meta_str(pod, "deletionTimestamp").parse().ok();
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => {
            let end = deleted.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(deleted);
            now <= end
        }
        _ => true,
    }
}

/// Requests and limits under the names quotas have for them.
fn computed(requests: &Resources, limits: &Resources) -> Resources {
    let mut usage = Resources::from([("pods".to_owned(), Quantity::from_units(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            usage.insert(name.to_owned(), *request);
            usage.insert(format!("requests.{name}"), *request);
        }
        if let Some(limit) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *limit);
        }
    }
    for (name, request) in requests {
        let pages = name.starts_with("hugepages-");
        if pages {
            usage.insert(name.clone(), *request);
        }
        if pages || is_extended(name) {
            usage.insert(format!("requests.{name}"), *request);
        }
    }
    usage
}

fn of_service(service: &Value) -> Resources {
    let ports = service["spec"]["ports"].as_array().map_or(0, Vec::len);
    let ports = i64::try_from(ports).unwrap_or(i64::MAX);
    let (node_ports, balancers) = match service["spec"]["type"].as_str().unwrap_or_default() {
        "NodePort" => (ports, 0),
        "LoadBalancer" => (ports, 1),
        _ => (0, 0),
    };
    SERVICE_RESOURCES
        .iter()
        .zip([1, node_ports, balancers])
        .map(|(name, count)| ((*name).to_owned(), Quantity::from_units(count)))
        .collect()
}

fn of_volume_claim(claim: &Value) -> Resources {
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let storage = |value: &Value| Quantity::from_json(&value["storage"]).ok();
    let mut usage = Resources::from([(CLAIM_RESOURCES[0].to_owned(), Quantity::from_units(1))]);
    if let Some(wanted) = storage(&claim["spec"]["resources"]["requests"]) {
        let given = storage(&claim["status"]["allocatedResources"]).unwrap_or(wanted);
        usage.insert(CLAIM_RESOURCES[1].to_owned(), wanted.max(given));
    }
    if !class.is_empty() {
        let by_class = usage.iter().map(|(name, value)| (format!("{class}{STORAGE_CLASS}{name}"), *value));
        let by_class: Resources = by_class.collect();
        usage.extend(by_class);
    }
    usage
}

fn of_device_claim(claim: &Value) -> Resources {
    let count = |request: &Value| {
        let devices = match request["allocationMode"].as_str().unwrap_or("ExactCount") {
            "ExactCount" => request["count"].as_i64().unwrap_or(1),
            "All" => MOST_DEVICES,
            _ => 0,
        };
        let class = request["deviceClassName"].as_str().unwrap_or_default();
        (format!("{class}{DEVICE_CLASS}"), Quantity::from_units(devices))
    };
    let mut usage = Resources::new();
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let mut most = Resources::new();
        // Of alternatives the dearest counts, class by class.
        let alternatives = request["firstAvailable"].as_array().filter(|list| !list.is_empty());
        let one = [request["exactly"].clone()];
        for (name, devices) in alternatives.map_or(&one[..], Vec::as_slice).iter().map(count) {
            let known = most.entry(name).or_insert(Quantity::ZERO);
            *known = devices.max(*known);
        }
        pod_resources::add(&mut usage, &most);
    }
    usage
}
