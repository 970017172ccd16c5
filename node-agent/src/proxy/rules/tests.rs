//! Services and slices in, elements out, as lines.

use serde_json::json;

use super::*;

fn line((set, key): &Place, target: &Target) -> String {
    let frontend = |f: &Frontend| {
        let address = f.address.map_or("*".to_owned(), |address| address.to_string());
        format!("{address}:{}/{}", f.port, format!("{:?}", f.protocol).to_lowercase())
    };
    let endpoint = |e: &Endpoint| format!("{}:{}", e.address, e.port);
    let key = match key {
        Key::Frontend(f) => frontend(f),
        Key::Index(f, index) => format!("{} #{index}", frontend(f)),
        Key::Backend(f, e) => format!("{} {}", frontend(f), endpoint(e)),
        Key::Address(address) | Key::Twice(address) => address.to_string(),
    };
    let target = match target {
        Target::Member => String::new(),
        Target::Drop => " -> drop".to_owned(),
        Target::Chain(chain) => format!(" -> {chain}"),
        Target::Endpoint(e) => format!(" -> {}", endpoint(e)),
    };
    format!("{} {key}{target}", set.name())
}

/// `spec` and `endpoints` in YAML; the node is `here`.
fn check(spec: &str, endpoints: &str, expect: &str) {
    let service = format!("metadata: {{name: web, namespace: default}}\nspec: {spec}");
    let slice = format!(
        "metadata: {{name: web-1, namespace: default}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 8080, protocol: TCP}}, {{name: dns, port: 5353, protocol: UDP}}]\n\
         endpoints: {endpoints}"
    );
    let service: Service = serde_yaml::from_str(&service).expect("service");
    let slice: EndpointSlice = serde_yaml::from_str(&slice).expect("slice");
    let mut lines: Vec<String> = service_elements(&service, std::iter::once(&slice), "here")
        .iter()
        .map(|(place, target)| line(place, target))
        .filter(|line| !line.starts_with("cluster-addresses"))
        .collect();
    lines.sort();
    let mut expected: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "spec {spec}, endpoints {endpoints}");
}

const TWO: &str = "[{addresses: [10.42.0.2], nodeName: here}, {addresses: [10.42.1.3], nodeName: there}]";
const THERE: &str = "[{addresses: [10.42.1.3], nodeName: there}]";
const NONE: &str = "[]";

#[test]
fn cluster_address() {
    check(
        "{clusterIP: 10.43.0.9, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}",
        TWO,
        "services 10.43.0.9:80/tcp -> service-2
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.0.2:8080
         service-endpoints 10.43.0.9:80/tcp #1 -> 10.42.1.3:8080
         services 10.43.0.9:53/udp -> service-2
         service-endpoints 10.43.0.9:53/udp #0 -> 10.42.0.2:5353
         service-endpoints 10.43.0.9:53/udp #1 -> 10.42.1.3:5353
         hairpin 10.42.0.2
         hairpin 10.42.0.2",
    );
    check("{clusterIP: 10.43.0.9, ports: [{name: http, port: 80}]}", NONE, "no-endpoints 10.43.0.9:80/tcp");
    check("{clusterIP: None, ports: [{name: http, port: 80}]}", TWO, "");
    check("{type: ExternalName, externalName: example.com}", TWO, "");
}

#[test]
fn labels_take_services_away() {
    for (label, ours) in [("proxy", true), ("service-proxy-name", false), ("headless", false)] {
        let service = json!({"metadata": {"name": "web", "labels": {format!("service.kubernetes.io/{label}"): ""}},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80}]}});
        let service: Service = serde_json::from_value(service).expect("service");
        assert_eq!(!service_elements(&service, std::iter::empty(), "here").is_empty(), ours, "{label}");
    }
}

#[test]
fn conditions() {
    let port = "{clusterIP: 10.43.0.9, ports: [{name: http, port: 80}]}";
    let ends = "conditions: {ready: false, serving: true, terminating: true}";
    check(
        port,
        &format!(
            "[{{addresses: [10.42.1.2], conditions: {{ready: true}}}}, {{addresses: [10.42.1.3], {ends}}}]"
        ),
        "services 10.43.0.9:80/tcp -> service-1
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.1.2:8080",
    );
    check(
        port,
        &format!(
            "[{{addresses: [10.42.1.2], conditions: {{ready: false}}}}, {{addresses: [10.42.1.3], {ends}}}]"
        ),
        "services 10.43.0.9:80/tcp -> service-1
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.1.3:8080",
    );
    check(
        port,
        "[{addresses: [10.42.1.2], conditions: {ready: false, serving: false, terminating: true}}]",
        "no-endpoints 10.43.0.9:80/tcp",
    );
}

#[test]
fn local_policies() {
    let internal = "{clusterIP: 10.43.0.9, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}";
    check(
        internal,
        TWO,
        "services 10.43.0.9:80/tcp -> service-1
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.0.2:8080
         hairpin 10.42.0.2",
    );
    check(internal, THERE, "services 10.43.0.9:80/tcp -> drop");
    check(internal, NONE, "no-endpoints 10.43.0.9:80/tcp");
    let external = "{clusterIP: 10.43.0.9, type: NodePort, externalTrafficPolicy: Local, \
                    externalIPs: [203.0.113.7], ports: [{name: http, port: 80, nodePort: 30080}]}";
    check(
        external,
        THERE,
        "services 10.43.0.9:80/tcp -> service-1
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.1.3:8080
         services 203.0.113.7:80/tcp -> service-1
         service-endpoints 203.0.113.7:80/tcp #0 -> 10.42.1.3:8080
         services-external 203.0.113.7:80/tcp -> drop
         node-ports *:30080/tcp -> node-port-1
         node-port-endpoints *:30080/tcp #0 -> 10.42.1.3:8080
         node-ports-external *:30080/tcp -> drop",
    );
    check(
        external,
        NONE,
        "no-endpoints 10.43.0.9:80/tcp
         no-endpoints 203.0.113.7:80/tcp
         no-endpoints-node-ports *:30080/tcp",
    );
}

#[test]
fn affinity() {
    check(
        "{clusterIP: 10.43.0.9, sessionAffinity: ClientIP, ports: [{name: http, port: 80}]}",
        THERE,
        "services 10.43.0.9:80/tcp -> service-1-sticky-10800
         service-endpoints 10.43.0.9:80/tcp #0 -> 10.42.1.3:8080
         service-allowed 10.43.0.9:80/tcp 10.42.1.3:8080",
    );
}

#[test]
fn bytes() {
    let frontend = Frontend { address: Some(Ipv4Addr::new(10, 43, 0, 9)), protocol: Protocol::Udp, port: 53 };
    let endpoint = Endpoint { address: Ipv4Addr::new(10, 42, 1, 3), port: 5353 };
    let element = raw(&Key::Index(frontend, 1), &Target::Endpoint(endpoint));
    let index = 1_u32.to_ne_bytes();
    assert_eq!(element.key, [[10, 43, 0, 9], [17, 0, 0, 0], [0, 53, 0, 0], index].concat());
    assert_eq!(element.data, ElementData::Value(vec![10, 42, 1, 3, 0x14, 0xe9, 0, 0]));
}
