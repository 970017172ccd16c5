//! Rows of `networking.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::networking::{Ingress, IngressClass, IpAddress, NetworkPolicy, ServiceCidr};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("networking.k8s.io", "v1", kind, plural, scope);
    vec![
        row("Ingress", "ingresses", Scope::Namespaced)
            .rules(Ingress)
            .short(&["ing"])
            .status()
            .printed(columns::ingress()),
        row("IngressClass", "ingressclasses", Scope::Cluster)
            .rules(IngressClass)
            .printed(columns::ingress_class()),
        row("IPAddress", "ipaddresses", Scope::Cluster)
            .rules(IpAddress)
            .short(&["ip"])
            .printed(columns::ip_address()),
        row("NetworkPolicy", "networkpolicies", Scope::Namespaced)
            .rules(NetworkPolicy)
            .short(&["netpol"])
            .printed(columns::network_policy()),
        row("ServiceCIDR", "servicecidrs", Scope::Cluster)
            .rules(ServiceCidr)
            .status()
            .printed(columns::service_cidr()),
    ]
}
