//! Services and their endpoints.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Column, NONE, age, few, items, label_text, name, or, str, text};

/// Entries shown before "more".
const MAX: usize = 3;

pub(in crate::kinds) fn service() -> Vec<Column> {
    vec![
        name(),
        text("Type", "How it can be reached.", |service| str(service, "/spec/type").to_owned()),
        text("Cluster-IP", "Address inside the cluster.", |service| {
            let first = items(service, "/spec/clusterIPs").first().and_then(Value::as_str);
            or(first.unwrap_or(str(service, "/spec/clusterIP")), NONE)
        }),
        text("External-IP", "Addresses outside the cluster.", external),
        text("Port(s)", "Ports, with node ports after the colon.", |service| {
            let ports: Vec<String> = items(service, "/spec/ports").iter().map(port).collect();
            or(&ports.join(","), NONE)
        }),
        age(),
        text("Selector", "Which pods back it.", |service| label_text(&service["spec"]["selector"])).wide(),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (port["port"].as_i64().unwrap_or_default(), str(port, "/protocol"));
    match port["nodePort"].as_i64() {
        Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

fn external(service: &Value) -> String {
    let listed = || -> Vec<String> {
        items(service, "/spec/externalIPs").iter().filter_map(|ip| ip.as_str().map(str::to_owned)).collect()
    };
    match str(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or(&listed().join(","), NONE),
        "LoadBalancer" => {
            let given: BTreeSet<String> = items(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| or(str(ingress, "/ip"), str(ingress, "/hostname")))
                .filter(|address| !address.is_empty())
                .collect();
            let all: Vec<String> = given.into_iter().chain(listed()).collect();
            or(&all.join(","), "<pending>")
        }
        "ExternalName" => str(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

pub(in crate::kinds) fn endpoints() -> Vec<Column> {
    vec![name(), text("Endpoints", "Addresses with ports.", endpoint_list), age()]
}

fn endpoint_list(object: &Value) -> String {
    let subsets = items(object, "/subsets");
    if subsets.is_empty() {
        return NONE.to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let ports = items(subset, "/ports");
        let addresses = || items(subset, "/addresses").iter().map(|address| str(address, "/ip"));
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let number = port["port"].as_i64().unwrap_or_default();
            all.extend(addresses().map(|ip| {
                if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") }
            }));
        }
    }
    few(&all, MAX)
}

pub(in crate::kinds) fn endpoint_slice() -> Vec<Column> {
    vec![
        name(),
        text("AddressType", "Family of the addresses.", |slice| str(slice, "/addressType").to_owned()),
        text("Ports", "Ports of every endpoint.", |slice| {
            let ports: Vec<String> = items(slice, "/ports")
                .iter()
                .map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
                    (Some(number), _) => number.to_string(),
                    (None, Some(name)) => name.to_owned(),
                    (None, None) => "*".to_owned(),
                })
                .collect();
            or(&few(&ports, MAX), "<unset>")
        }),
        text("Endpoints", "Addresses.", |slice| {
            let all: Vec<String> = items(slice, "/endpoints")
                .iter()
                .flat_map(|endpoint| items(endpoint, "/addresses"))
                .filter_map(|address| address.as_str().map(str::to_owned))
                .collect();
            or(&few(&all, MAX), "<unset>")
        }),
        age(),
    ]
}
