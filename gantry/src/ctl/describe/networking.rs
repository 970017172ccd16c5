//! Services, their endpoints, ingresses and network policies.

use serde_json::Value;

use super::Row::{self, Annotations, Events, If, Labels, Or, Part, Text};
use super::related::Related;
use super::sheet::{Sheet, format_selector, items, number, pairs, text};

const NAME: Row = Text("Name", "/metadata/name");
const NAMESPACE: Row = Text("Namespace", "/metadata/namespace");
const LABELS: Row = Labels("Labels", "/metadata/labels");

fn joined(value: &Value, separator: &str) -> String {
    let all: Vec<String> = items(value).iter().map(text).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(separator) }
}

/// `Service`.
pub const SERVICE: &[Row] = &[
    NAME,
    NAMESPACE,
    LABELS,
    Annotations,
    Part(|s, o, _| s.field(0, "Selector", pairs(&o["spec"]["selector"]))),
    Text("Type", "/spec/type"),
    If("IP Family Policy", "/spec/ipFamilyPolicy"),
    Or("IP Families", "/spec/ipFamilies", "<none>"),
    Text("IP", "/spec/clusterIP"),
    Or("IPs", "/spec/clusterIPs", "<none>"),
    If("External IPs", "/spec/externalIPs"),
    If("Desired LoadBalancer IP", "/spec/loadBalancerIP"),
    If("External Name", "/spec/externalName"),
    Part(balancer),
    Part(ports),
    Text("Session Affinity", "/spec/sessionAffinity"),
    If("External Traffic Policy", "/spec/externalTrafficPolicy"),
    If("Internal Traffic Policy", "/spec/internalTrafficPolicy"),
    If("HealthCheck NodePort", "/spec/healthCheckNodePort"),
    If("LoadBalancer Source Ranges", "/spec/loadBalancerSourceRanges"),
    If("Traffic Distribution", "/spec/trafficDistribution"),
    Events,
];

fn balancer(sheet: &mut Sheet, service: &Value, _: &Related) {
    let all: Vec<String> = items(&service["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|ingress| match (text(&ingress["ip"]), text(&ingress["ipMode"])) {
            (ip, _) if ip.is_empty() => text(&ingress["hostname"]),
            (ip, mode) if mode.is_empty() => ip,
            (ip, mode) => format!("{ip} ({mode})"),
        })
        .collect();
    if !all.is_empty() {
        sheet.field(0, "LoadBalancer Ingress", all.join(", "));
    }
}

fn ports(sheet: &mut Sheet, service: &Value, related: &Related) {
    for port in items(&service["spec"]["ports"]) {
        let (name, protocol) = (text(&port["name"]), text(&port["protocol"]));
        let shown = if name.is_empty() { "<unset>" } else { &name };
        sheet.line(0, format!("Port:\t{shown}\t{}/{protocol}", number(&port["port"])));
        sheet.field(0, "TargetPort", format!("{}/{protocol}", text(&port["targetPort"])));
        sheet.field_if(0, "AppProtocol", &port["appProtocol"]);
        if number(&port["nodePort"]) != 0 {
            sheet.line(0, format!("NodePort:\t{shown}\t{}/{protocol}", number(&port["nodePort"])));
        }
        sheet.field(0, "Endpoints", ready(&related.others, &name));
    }
}

/// The first three ready endpoints of a port, and how many more there are.
fn ready(slices: &[Value], port: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for slice in slices {
        let fits = items(&slice["ports"]).iter().filter(|p| text(&p["name"]) == port);
        for number in fits.map(|p| text(&p["port"])) {
            let ready = items(&slice["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false);
            all.extend(ready.map(|e| match text(&e["addresses"][0]) {
                address if address.contains(':') => format!("[{address}]:{number}"),
                address => format!("{address}:{number}"),
            }));
        }
    }
    let text = all.iter().take(3).cloned().collect::<Vec<_>>().join(",");
    match all.len().checked_sub(3) {
        Some(more @ 1..) => format!("{text} + {more} more..."),
        _ => text,
    }
}

/// `Endpoints`.
pub const ENDPOINTS: &[Row] = &[
    NAME,
    NAMESPACE,
    LABELS,
    Annotations,
    Part(|s, o, _| {
        s.line(0, "Subsets:");
        for subset in items(&o["subsets"]) {
            for (title, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
                let ips: Vec<String> = items(&subset[field]).iter().map(|a| text(&a["ip"])).collect();
                s.field(1, title, if ips.is_empty() { "<none>".to_owned() } else { ips.join(",") });
            }
            if !items(&subset["ports"]).is_empty() {
                s.table(2, "Ports", &["Name", "Port", "Protocol"], &port_rows(&subset["ports"]));
            }
            s.line(0, "");
        }
    }),
    Events,
];

fn port_rows(ports: &Value) -> Vec<Vec<String>> {
    let shown = |value: &Value| match text(value) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => text,
    };
    items(ports).iter().map(|p| vec![shown(&p["name"]), shown(&p["port"]), text(&p["protocol"])]).collect()
}

/// `EndpointSlice`.
pub const ENDPOINT_SLICE: &[Row] = &[
    NAME,
    NAMESPACE,
    LABELS,
    Annotations,
    Text("AddressType", "/addressType"),
    Part(|s, o, _| match items(&o["ports"]) {
        [] => s.line(0, "Ports: <unset>"),
        _ => s.table(1, "Ports", &["Name", "Port", "Protocol"], &port_rows(&o["ports"])),
    }),
    Part(|s, o, _| {
        if items(&o["endpoints"]).is_empty() {
            s.line(0, "Endpoints: <none>");
            return;
        }
        s.line(0, "Endpoints:");
        for endpoint in items(&o["endpoints"]) {
            let or_unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { text(value) };
            s.field(1, "- Addresses", joined(&endpoint["addresses"], ", "));
            s.line(2, "Conditions:");
            s.field(3, "Ready", or_unset(&endpoint["conditions"]["ready"]));
            s.field(2, "Hostname", or_unset(&endpoint["hostname"]));
            let target = &endpoint["targetRef"];
            if target.is_object() {
                s.field(2, "TargetRef", format!("{}/{}", text(&target["kind"]), text(&target["name"])));
            }
            s.field(2, "NodeName", or_unset(&endpoint["nodeName"]));
            s.field(2, "Zone", or_unset(&endpoint["zone"]));
        }
    }),
    Events,
];

/// `Ingress`.
pub const INGRESS: &[Row] = &[
    NAME,
    LABELS,
    NAMESPACE,
    Part(|s, o, _| {
        let all = items(&o["status"]["loadBalancer"]["ingress"]).iter();
        let mut shown: Vec<String> = all
            .map(|i| match text(&i["ip"]) {
                ip if ip.is_empty() => text(&i["hostname"]),
                ip => ip,
            })
            .collect();
        shown.sort();
        s.field(0, "Address", shown.join(","));
    }),
    Or("Ingress Class", "/spec/ingressClassName", "<none>"),
    Part(rules),
    Annotations,
    Events,
];

fn backend(backend: &Value) -> String {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    if resource.is_object() {
        let group = text(&resource["apiGroup"]);
        let group = if group.is_empty() { "<none>" } else { &group };
        return format!(
            "APIGroup: {group}, Kind: {}, Name: {}",
            text(&resource["kind"]),
            text(&resource["name"])
        );
    }
    let port = match text(&service["port"]["number"]) {
        number if number.is_empty() => text(&service["port"]["name"]),
        number => number,
    };
    format!("{}:{port}", text(&service["name"]))
}

/// A backend and, in brackets, its service's endpoints.
fn with_endpoints(found: &Value, related: &Related) -> String {
    let name = backend(found);
    match text(&found["service"]["name"]) {
        service if service.is_empty() => name,
        service => match related.backends.get(&service) {
            Some(Ok((ports, slices))) => {
                let wanted = &found["service"]["port"];
                let fits = |port: &&Value| {
                    !wanted["number"].is_null() && port["port"] == wanted["number"]
                        || !wanted["name"].is_null() && port["name"] == wanted["name"]
                };
                let port = ports.iter().find(fits).map(|port| text(&port["name"])).unwrap_or_default();
                format!("{name} ({})", ready(slices, &port))
            }
            Some(Err(error)) => format!("{name} (<error: {error}>)"),
            None => name,
        },
    }
}

fn rules(sheet: &mut Sheet, ingress: &Value, related: &Related) {
    let spec = &ingress["spec"];
    let default = match &spec["defaultBackend"] {
        Value::Null => "<default>".to_owned(),
        found => with_endpoints(found, related),
    };
    sheet.field(0, "Default backend", &default);
    if !items(&spec["tls"]).is_empty() {
        sheet.line(0, "TLS:");
        for tls in items(&spec["tls"]) {
            let hosts = items(&tls["hosts"]).iter().map(text).collect::<Vec<_>>().join(",");
            match text(&tls["secretName"]) {
                name if name.is_empty() => sheet.line(1, format!("SNI routes {hosts}")),
                name => sheet.line(1, format!("{name} terminates {hosts}")),
            }
        }
    }
    sheet.table(1, "Rules", &["Host", "Path", "Backends"], &[]);
    let mut any = false;
    for rule in items(&spec["rules"]).iter().filter(|rule| rule["http"].is_object()) {
        any = true;
        let host = text(&rule["host"]);
        sheet.line(1, format!("{}\t", if host.is_empty() { "*" } else { &host }));
        for path in items(&rule["http"]["paths"]) {
            sheet.line(
                2,
                format!("\t{} \t{}", text(&path["path"]), with_endpoints(&path["backend"], related)),
            );
        }
    }
    if !any {
        sheet.line(1, format!("*\t*\t{default}"));
    }
}

/// `IngressClass`.
pub const INGRESS_CLASS: &[Row] = &[
    NAME,
    LABELS,
    Annotations,
    Text("Controller", "/spec/controller"),
    Part(|s, o, _| {
        let parameters = &o["spec"]["parameters"];
        if parameters.is_object() {
            s.line(0, "Parameters:");
            s.field_if(1, "APIGroup", &parameters["apiGroup"]);
            s.field(1, "Kind", text(&parameters["kind"]));
            s.field(1, "Name", text(&parameters["name"]));
        }
    }),
    Events,
];

/// `NetworkPolicy`.
pub const NETWORK_POLICY: &[Row] = &[
    NAME,
    NAMESPACE,
    Part(|s, o, _| {
        let created = api::time::read(&o["metadata"]["creationTimestamp"]);
        let zoned = created.map(|at| at.to_zoned(jiff::tz::TimeZone::system()));
        s.field(
            0,
            "Created on",
            zoned.map(|at| at.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()).unwrap_or_default(),
        );
    }),
    LABELS,
    Annotations,
    Part(policy),
];

fn policy(sheet: &mut Sheet, object: &Value, _: &Related) {
    let spec = &object["spec"];
    sheet.line(0, "Spec:");
    let everything = "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned();
    let selector = match format_selector(&spec["podSelector"]) {
        text if text == "<none>" => everything,
        text => text,
    };
    sheet.line(1, format!("PodSelector:     {selector}"));
    let types: Vec<String> = items(&spec["policyTypes"]).iter().map(text).collect();
    for (kind, word, field, peer, isolated) in
        [("Ingress", "ingress", "from", "From", "ingress"), ("Egress", "egress", "to", "To", "egress")]
    {
        if !types.iter().any(|t| t == kind) {
            sheet.line(1, format!("Not affecting {word} traffic"));
            continue;
        }
        sheet.line(1, format!("Allowing {word} traffic:"));
        let rules = items(&spec[word]);
        if rules.is_empty() {
            sheet.line(2, format!("<none> (Selected pods are isolated for {isolated} connectivity)"));
        }
        for (at, rule) in rules.iter().enumerate() {
            if at > 0 {
                sheet.line(2, "----------");
            }
            policy_ports(sheet, &rule["ports"]);
            peers(sheet, &rule[field], peer, if kind == "Ingress" { "source" } else { "destination" });
        }
    }
    sheet.line(1, format!("Policy Types: {}", types.join(", ")));
}

fn policy_ports(sheet: &mut Sheet, ports: &Value) {
    if items(ports).is_empty() {
        sheet.line(2, "To Port: <any> (traffic allowed to all ports)");
    }
    for port in items(ports) {
        let protocol = match text(&port["protocol"]) {
            protocol if protocol.is_empty() => "TCP".to_owned(),
            protocol => protocol,
        };
        let number = match &port["port"] {
            Value::Null => "<nil>".to_owned(),
            port => text(port),
        };
        match port["endPort"].as_i64() {
            Some(end) => sheet.line(2, format!("To Port Range: {number}-{end}/{protocol}")),
            None => sheet.line(2, format!("To Port: {number}/{protocol}")),
        }
    }
}

fn peers(sheet: &mut Sheet, peers: &Value, word: &str, what: &str) {
    if items(peers).is_empty() {
        sheet.line(2, format!("{word}: <any> (traffic not restricted by {what})"));
    }
    for peer in items(peers) {
        sheet.line(2, format!("{word}:"));
        for (title, field) in [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")] {
            if peer[field].is_object() {
                sheet.line(3, format!("{title}: {}", format_selector(&peer[field])));
            }
        }
        if peer["ipBlock"].is_object() {
            sheet.line(3, "IPBlock:");
            sheet.line(4, format!("CIDR: {}", text(&peer["ipBlock"]["cidr"])));
            let except: Vec<String> = items(&peer["ipBlock"]["except"]).iter().map(text).collect();
            sheet.line(4, format!("Except: {}", except.join(", ")));
        }
    }
}
