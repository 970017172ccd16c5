//! Which objects have to do with which nodes: through pods bound to them, through the claims of those
//! pods, and through the volumes of those claims.
//!
//! Entry points: the [`crate::followed::Index`] that keeps it, and [`Graph::relates`]. Source: upstream's
//! `plugin/pkg/auth/authorizer/node/{graph,graph_populator}.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::references::{claimed_secrets, pod_references};
use crate::followed::Index;
use crate::storage::Entry;

/// The kinds the graph is made of.
pub(crate) const KINDS: [(&str, &str); 4] = [
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
];

/// Kinds whose objects may have to do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VertexKind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    PersistentVolumeClaim,
    PersistentVolume,
    VolumeAttachment,
    ResourceClaim,
    ResourceSlice,
}

/// An object: kind, namespace (empty if cluster-wide), name.
pub(super) type Vertex = (VertexKind, String, String);

/// What one stored object says.
#[derive(Default)]
struct Links {
    /// These have to do with this node.
    node: String,
    on_node: Vec<Vertex>,
    /// The first has to do with whatever the second has to do with.
    via: Vec<(Vertex, Vertex)>,
}

/// Relations, counted, because several objects may say the same.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<Vertex, BTreeMap<String, usize>>,
    /// Secret to volume, volume to claim; never in a circle.
    via: BTreeMap<Vertex, BTreeMap<Vertex, usize>>,
    /// By storage key.
    links: BTreeMap<String, Links>,
}

impl Graph {
    /// Whether an object has to do with a node.
    pub(crate) fn relates(&self, kind: VertexKind, namespace: &str, name: &str, node: &str) -> bool {
        self.reaches(&(kind, namespace.to_owned(), name.to_owned()), node)
    }

    fn reaches(&self, vertex: &Vertex, node: &str) -> bool {
        let direct = self.nodes.get(vertex).is_some_and(|nodes| nodes.contains_key(node));
        direct
            || self.via.get(vertex).into_iter().flat_map(BTreeMap::keys).any(|next| self.reaches(next, node))
    }

    fn enter(&mut self, key: &str, links: Links) {
        self.leave(key);
        for vertex in &links.on_node {
            count(&mut self.nodes, vertex, &links.node);
        }
        for (from, to) in &links.via {
            count(&mut self.via, from, to);
        }
        self.links.insert(key.to_owned(), links);
    }

    fn leave(&mut self, key: &str) {
        let Some(links) = self.links.remove(key) else { return };
        for vertex in &links.on_node {
            uncount(&mut self.nodes, vertex, &links.node);
        }
        for (from, to) in &links.via {
            uncount(&mut self.via, from, to);
        }
    }
}

fn count<T: Ord + Clone>(map: &mut BTreeMap<Vertex, BTreeMap<T, usize>>, from: &Vertex, to: &T) {
    *map.entry(from.clone()).or_default().entry(to.clone()).or_default() += 1;
}

fn uncount<T: Ord>(map: &mut BTreeMap<Vertex, BTreeMap<T, usize>>, from: &Vertex, to: &T) {
    let Some(counts) = map.get_mut(from) else { return };
    if let Some(times) = counts.get_mut(to) {
        *times -= 1;
        if *times == 0 {
            counts.remove(to);
        }
    }
    if counts.is_empty() {
        map.remove(from);
    }
}

impl Index for Graph {
    fn put(&mut self, entry: &Entry) {
        match serde_json::from_slice::<Value>(&entry.bytes) {
            Ok(object) => self.enter(&entry.key, links(&entry.key, &object)),
            Err(error) => tracing::error!(%error, key = %entry.key, "a stored object is not JSON"),
        }
    }

    fn remove(&mut self, key: &str) {
        self.leave(key);
    }
}

fn links(key: &str, object: &Value) -> Links {
    let (namespace, name) = (api::object::namespace(object), api::object::name(object));
    let spec = &object["spec"];
    let on_node = |node: &Value, kind: VertexKind| {
        let node = node.as_str().unwrap_or_default().to_owned();
        let vertex = (kind, namespace.to_owned(), name.to_owned());
        let on_node = if node.is_empty() { Vec::new() } else { vec![vertex] };
        Links { node, on_node, via: Vec::new() }
    };
    match key.split('/').nth(3) {
        Some("pods") => {
            let mut links = on_node(&spec["nodeName"], VertexKind::Pod);
            if !links.node.is_empty() {
                links.on_node.extend(pod_references(object));
            }
            links
        }
        Some("persistentvolumes") => volume(object),
        Some("volumeattachments") => on_node(&spec["nodeName"], VertexKind::VolumeAttachment),
        Some("resourceslices") => on_node(&spec["nodeName"], VertexKind::ResourceSlice),
        _ => Links::default(),
    }
}

/// A volume that is bound goes where its claim goes, and takes the secrets along that nodes need for it.
fn volume(object: &Value) -> Links {
    let claim = &object["spec"]["claimRef"];
    let text = |key: &str| claim[key].as_str().unwrap_or_default().to_owned();
    if !claim.is_object() {
        return Links::default();
    }
    let own = (VertexKind::PersistentVolume, String::new(), api::object::name(object).to_owned());
    let namespace = text("namespace");
    let secrets = claimed_secrets(object, &namespace);
    let mut via: Vec<(Vertex, Vertex)> = secrets.map(|secret| (secret, own.clone())).collect();
    via.push((own, (VertexKind::PersistentVolumeClaim, namespace, text("name"))));
    Links { via, ..Links::default() }
}

#[cfg(test)]
pub(crate) fn of_objects(objects: &[(&str, Value)]) -> Graph {
    let mut graph = Graph::default();
    for (key, object) in objects {
        graph.enter(key, links(key, object));
    }
    graph
}
