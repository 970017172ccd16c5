//! What pods and volumes refer to.
//!
//! Entry points: [`pod_references`] and [`claimed_secrets`]. Source: upstream's `VisitPodSecretNames` and
//! its like in `pkg/api/pod` and `pkg/api/persistentvolume`.

use serde_json::Value;

use super::graph::{Vertex, VertexKind};

/// A pod made from a file of its node says what it likes; that grants the node nothing.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Where a volume of a pod names a secret.
const POD_VOLUME_SECRETS: [&str; 10] = [
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/secret/secretName",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

/// Where a persistent volume refers to a secret that nodes read.
const VOLUME_SECRETS: [&str; 10] = [
    "/cephfs/secretRef",
    "/cinder/secretRef",
    "/flexVolume/secretRef",
    "/rbd/secretRef",
    "/scaleIO/secretRef",
    "/iscsi/secretRef",
    "/storageos/secretRef",
    "/csi/nodePublishSecretRef",
    "/csi/nodeStageSecretRef",
    "/csi/nodeExpandSecretRef",
];

fn items<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object[key].as_array().into_iter().flatten()
}

/// Everything in its namespace that a pod needs, and its node may read.
pub(crate) fn pod_references(pod: &Value) -> Vec<Vertex> {
    let mirror = !pod["metadata"]["annotations"][MIRROR].is_null();
    if mirror { Vec::new() } else { pod_mentions(pod) }
}

/// Everything in its namespace that a pod names.
pub(crate) fn pod_mentions(pod: &Value) -> Vec<Vertex> {
    let mut found = Found { namespace: api::object::namespace(pod).to_owned(), vertices: Vec::new() };
    let spec = &pod["spec"];
    found.add(VertexKind::ServiceAccount, &spec["serviceAccountName"]);
    items(spec, "imagePullSecrets").for_each(|secret| found.add(VertexKind::Secret, &secret["name"]));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        items(spec, list).for_each(|container| found.container(container));
    }
    items(spec, "volumes").for_each(|volume| found.volume(volume, api::object::name(pod)));
    items(spec, "resourceClaims")
        .for_each(|claim| found.add(VertexKind::ResourceClaim, &claim["resourceClaimName"]));
    items(&pod["status"], "resourceClaimStatuses")
        .for_each(|claim| found.add(VertexKind::ResourceClaim, &claim["resourceClaimName"]));
    let extended = &pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"];
    found.add(VertexKind::ResourceClaim, extended);
    found.vertices.sort();
    found.vertices.dedup();
    found.vertices
}

struct Found {
    namespace: String,
    vertices: Vec<Vertex>,
}

impl Found {
    fn add(&mut self, kind: VertexKind, name: &Value) {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            self.vertices.push((kind, self.namespace.clone(), name.to_owned()));
        }
    }

    fn container(&mut self, container: &Value) {
        for source in items(container, "envFrom") {
            self.add(VertexKind::Secret, &source["secretRef"]["name"]);
            self.add(VertexKind::ConfigMap, &source["configMapRef"]["name"]);
        }
        for variable in items(container, "env") {
            self.add(VertexKind::Secret, &variable["valueFrom"]["secretKeyRef"]["name"]);
            self.add(VertexKind::ConfigMap, &variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
    }

    fn volume(&mut self, volume: &Value, pod: &str) {
        for path in POD_VOLUME_SECRETS {
            self.add(VertexKind::Secret, volume.pointer(path).unwrap_or(&Value::Null));
        }
        self.add(VertexKind::ConfigMap, &volume["configMap"]["name"]);
        for source in items(&volume["projected"], "sources") {
            self.add(VertexKind::Secret, &source["secret"]["name"]);
            self.add(VertexKind::ConfigMap, &source["configMap"]["name"]);
        }
        self.add(VertexKind::PersistentVolumeClaim, &volume["persistentVolumeClaim"]["claimName"]);
        if volume["ephemeral"].is_object() {
            let name = format!("{pod}-{}", volume["name"].as_str().unwrap_or_default());
            self.add(VertexKind::PersistentVolumeClaim, &name.into());
        }
    }
}

/// The secrets a bound volume refers to; those without a namespace are in that of the claim.
pub(crate) fn claimed_secrets<'a>(
    volume: &'a Value,
    claim_namespace: &'a str,
) -> impl Iterator<Item = Vertex> + 'a {
    let spec = &volume["spec"];
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let azure = &spec["azureFile"];
    let azure = (text(azure, "secretNamespace"), text(azure, "secretName"));
    let others = VOLUME_SECRETS.iter().filter_map(|path| spec.pointer(path));
    let others = others.map(move |reference| (text(reference, "namespace"), text(reference, "name")));
    others.chain([azure]).filter(|(_, name)| !name.is_empty()).map(move |(namespace, name)| {
        let namespace = if namespace.is_empty() { claim_namespace.to_owned() } else { namespace };
        (VertexKind::Secret, namespace, name)
    })
}
