//! Rows of the core group.

use crate::strategies::core::{
    ConfigMap, Endpoints, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, PodTemplate,
    ReplicationController, ResourceQuota, Secret, ServiceAccount,
};
use crate::strategies::{pod::Pod, service::Service};

use super::{Kind, READ_WRITE, SAME, Scope, Storage, columns, plain};

/// Verbs of the connect subresources that stream.
const STREAM: &[&str] = &["create", "get"];
/// Verbs of the HTTP proxies.
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

pub(super) fn rows() -> Vec<Kind> {
    use Scope::{Cluster, Namespaced};
    let mut rows = vec![
        virtual_row("Binding", "bindings", Namespaced).verbs(&["create"]),
        virtual_row("ComponentStatus", "componentstatuses", Cluster)
            .short(&["cs"])
            .verbs(&["get", "list"])
            .printed(columns::component_status()),
        plain("", "v1", "ConfigMap", "configmaps", Namespaced)
            .short(&["cm"])
            .rules(ConfigMap)
            .printed(columns::config_map()),
        plain("", "v1", "Endpoints", "endpoints", Namespaced)
            .short(&["ep"])
            .rules(Endpoints)
            .printed(columns::endpoints()),
        super::events::core_row(),
        plain("", "v1", "LimitRange", "limitranges", Namespaced)
            .short(&["limits"])
            .rules(LimitRange)
            .printed(columns::name_and_creation()),
        plain("", "v1", "Namespace", "namespaces", Cluster)
            .short(&["ns"])
            .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
            .sub("finalize", SAME, &["update"])
            .status()
            .fields(&["status.phase"])
            .aliases(&[("name", "metadata.name")])
            .rules(Namespace)
            .printed(columns::namespace()),
        plain("", "v1", "Node", "nodes", Cluster)
            .short(&["no"])
            .sub("proxy", ("", "v1", "NodeProxyOptions"), PROXY)
            .status()
            .fields(&["spec.unschedulable"])
            .rules(Node)
            .printed(columns::node()),
        pod(),
        plain("", "v1", "PodTemplate", "podtemplates", Namespaced)
            .rules(PodTemplate)
            .printed(columns::pod_template()),
        plain("", "v1", "ReplicationController", "replicationcontrollers", Namespaced)
            .short(&["rc"])
            .in_all()
            .scale()
            .status()
            .fields(&["status.replicas"])
            .rules(ReplicationController)
            .printed(columns::replication_controller()),
        plain("", "v1", "ResourceQuota", "resourcequotas", Namespaced)
            .short(&["quota"])
            .status()
            .rules(ResourceQuota)
            .printed(columns::resource_quota()),
        plain("", "v1", "Secret", "secrets", Namespaced)
            .fields(&["type"])
            .rules(Secret)
            .printed(columns::secret()),
        plain("", "v1", "Service", "services", Namespaced)
            .short(&["svc"])
            .in_all()
            .sub("proxy", ("", "v1", "ServiceProxyOptions"), PROXY)
            .status()
            .fields(&["spec.clusterIP", "spec.type"])
            .rules(Service)
            .printed(columns::service()),
        plain("", "v1", "ServiceAccount", "serviceaccounts", Namespaced)
            .short(&["sa"])
            .rules(ServiceAccount)
            .printed(columns::service_account())
            .sub("token", ("authentication.k8s.io", "v1", "TokenRequest"), &["create"]),
    ];
    rows.extend(volumes());
    rows
}

/// A kind whose objects are computed, or only sent.
fn virtual_row(kind: &'static str, plural: &'static str, scope: Scope) -> Kind {
    let mut row = plain("", "v1", kind, plural, scope);
    row.storage = Storage::Virtual;
    row
}

fn volumes() -> [Kind; 2] {
    [
        plain("", "v1", "PersistentVolume", "persistentvolumes", Scope::Cluster)
            .short(&["pv"])
            .status()
            .rules(PersistentVolume)
            .printed(columns::persistent_volume()),
        plain("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", Scope::Namespaced)
            .short(&["pvc"])
            .status()
            .rules(PersistentVolumeClaim)
            .printed(columns::persistent_volume_claim()),
    ]
}

fn pod() -> Kind {
    plain("", "v1", "Pod", "pods", Scope::Namespaced)
        .short(&["po"])
        .in_all()
        .sub("attach", ("", "v1", "PodAttachOptions"), STREAM)
        .sub("binding", ("", "v1", "Binding"), &["create"])
        .sub("ephemeralcontainers", SAME, READ_WRITE)
        .sub("eviction", ("policy", "v1", "Eviction"), &["create"])
        .sub("exec", ("", "v1", "PodExecOptions"), STREAM)
        .sub("log", SAME, &["get"])
        .sub("portforward", ("", "v1", "PodPortForwardOptions"), STREAM)
        .sub("proxy", ("", "v1", "PodProxyOptions"), PROXY)
        .sub("resize", SAME, READ_WRITE)
        .status()
        .fields(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ])
        .aliases(&[("spec.host", "spec.nodeName")])
        .rules(Pod)
        .printed(columns::pod())
        .printed_from(columns::POD_FIELDS)
}
