//! The cluster as one decision sees it: nodes in columns, with the pods on them, assumed ones included.
//!
//! Entry points: [`Snapshot::set_node`], [`Snapshot::place`], [`Snapshot::remove_pod`]. It is updated in
//! place, change by change, by the one task that also decides, so a decision never sees half a change
//! and nothing is copied. A node's numbers are in [`Row`], apart from the rest, so that a pass over all
//! nodes reads little memory. A place of a removed node is used again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node as ApiNode, Taint};

use crate::pod::{HostPort, Pod};
use crate::resources::{self, Amounts};
use crate::terms::Labels;

/// A node's numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What pods may take together.
    pub allocatable: Amounts,
    /// How many pods may be there.
    pub allowed_pods: i64,
    /// What the pods there ask for.
    pub used: Amounts,
    /// CPU and memory that the pods there count for in scores.
    pub scored: (i64, i64),
}

/// The rest of a node.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the node exists; pods may be known before their node is, and outlive it.
    pub known: bool,
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable` (cordoned).
    pub unschedulable: bool,
    /// Images there, by each of their names, and their sizes in bytes.
    pub images: BTreeMap<String, i64>,
    /// Pods there.
    pub pods: Vec<Arc<Pod>>,
}

impl Node {
    /// Whether a port is taken.
    pub fn takes(&self, port: &HostPort) -> bool {
        self.pods.iter().flat_map(|pod| &pod.needs.ports).any(|other| other.conflicts(port))
    }
}

/// Where a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: usize,
    assumed: bool,
}

/// The view. See the module's text.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Numbers by slot.
    pub rows: Vec<Row>,
    /// The rest by slot.
    pub nodes: Vec<Node>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    by_name: BTreeMap<Arc<str>, usize>,
    free: Vec<usize>,
    known: usize,
    places: BTreeMap<Arc<str>, Place>,
    /// How many nodes have an image.
    images: BTreeMap<String, usize>,
    /// Slots of nodes with pods that care which other pods are near.
    affine: BTreeSet<usize>,
}

impl Snapshot {
    /// Slots of existing nodes.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|slot| self.nodes[*slot].known)
    }

    /// How many nodes exist.
    pub fn known_nodes(&self) -> usize {
        self.known
    }

    /// Slots of existing nodes with pods that have pod (anti-)affinity.
    pub fn affine_slots(&self) -> impl Iterator<Item = usize> {
        self.affine.iter().copied().filter(|slot| self.nodes[*slot].known)
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or_default()
    }

    /// The slot of an existing node.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied().filter(|slot| self.nodes[*slot].known)
    }

    /// Whether a pod is here on an assumption that is not confirmed yet.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.places.get(uid).is_some_and(|place| place.assumed)
    }

    /// Adds or updates a node; tells the slot if anything changed that placement depends on.
    pub fn set_node(&mut self, node: &ApiNode) -> Option<usize> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let slot = self.slot_for(name);
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        let mut images = BTreeMap::new();
        for image in status.and_then(|status| status.images.as_deref()).unwrap_or_default() {
            for name in image.names.iter().flatten() {
                images.insert(name.clone(), image.size_bytes.unwrap_or_default());
            }
        }
        self.count_images(slot, images);
        let row = &mut self.rows[slot];
        let amounts = allocatable.map(Amounts::from_list).unwrap_or_default();
        let allowed = allocatable.map_or(0, resources::allowed_pods);
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
        let known = &mut self.nodes[slot];
        let same = known.known
            && (&row.allocatable, row.allowed_pods) == (&amounts, allowed)
            && (&known.labels, &known.taints, known.unschedulable) == (&labels, &taints, unschedulable);
        self.known += usize::from(!known.known);
        (row.allocatable, row.allowed_pods) = (amounts, allowed);
        (known.labels, known.taints, known.unschedulable, known.known) =
            (labels, taints, unschedulable, true);
        (!same).then_some(slot)
    }

    /// Forgets a node; its pods stay counted until they are removed.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slot(name) else { return };
        self.count_images(slot, BTreeMap::new());
        self.nodes[slot].known = false;
        self.known -= 1;
        self.release(slot);
    }

    /// Puts a pod on a node, or updates it there; `assumed` until the API says the same.
    pub fn place(&mut self, pod: Arc<Pod>, node: &str, assumed: bool) -> usize {
        self.remove_pod(&pod.uid);
        let slot = self.slot_for(node);
        self.places.insert(Arc::clone(&pod.uid), Place { slot, assumed });
        let row = &mut self.rows[slot];
        row.used.add(&pod.needs.requests);
        row.scored.0 += pod.needs.scored.0;
        row.scored.1 += pod.needs.scored.1;
        if pod.has_pod_affinity() {
            self.affine.insert(slot);
        }
        self.nodes[slot].pods.push(pod);
        slot
    }

    /// Takes a pod off its node; tells from where.
    pub fn remove_pod(&mut self, uid: &str) -> Option<(usize, Arc<Pod>)> {
        let slot = self.places.remove(uid)?.slot;
        let node = &mut self.nodes[slot];
        let at = node.pods.iter().position(|pod| &*pod.uid == uid)?;
        let pod = node.pods.swap_remove(at);
        if !node.pods.iter().any(|pod| pod.has_pod_affinity()) {
            self.affine.remove(&slot);
        }
        let row = &mut self.rows[slot];
        row.used.subtract(&pod.needs.requests);
        row.scored.0 -= pod.needs.scored.0;
        row.scored.1 -= pod.needs.scored.1;
        self.release(slot);
        Some((slot, pod))
    }

    /// The pod as it is known here.
    pub fn pod(&self, uid: &str) -> Option<&Arc<Pod>> {
        let place = self.places.get(uid)?;
        self.nodes[place.slot].pods.iter().find(|pod| &*pod.uid == uid)
    }

    fn slot_for(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row::default());
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), slot);
        (self.rows[slot], self.nodes[slot]) = (Row::default(), Node { name, ..Node::default() });
        slot
    }

    /// Gives a slot back once neither node nor pods need it.
    fn release(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if !node.known && node.pods.is_empty() {
            self.by_name.remove(&node.name);
            self.free.push(slot);
        }
    }

    fn count_images(&mut self, slot: usize, images: BTreeMap<String, i64>) {
        for name in self.nodes[slot].images.keys() {
            if let Some(count) = self.images.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(name);
                }
            }
        }
        for name in images.keys() {
            *self.images.entry(name.clone()).or_default() += 1;
        }
        self.nodes[slot].images = images;
    }
}
