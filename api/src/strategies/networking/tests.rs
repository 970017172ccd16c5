//! What is refused, by kind.

use serde_json::json;

use crate::strategies::trial::Trial;
use crate::strategy::Strategy as _;

fn ingress() -> Trial {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    Trial::of(
        "ing",
        json!({"metadata": {"name": "x", "namespace": "a"}, "spec": {"rules": [{"host": "a.example", "http": {"paths": paths}}]}}),
    )
}

fn with_path(path: serde_json::Value) -> serde_json::Value {
    json!({"spec": {"rules": [{"http": {"paths": [path]}}]}})
}

#[test]
fn ingresses() {
    let trial = ingress();
    assert_eq!(trial.created(json!({}))["status"], json!({"loadBalancer": {}}));
    trial.refuses(
        json!({"spec": {"rules": null}}),
        &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    );
    trial.refuses(
        json!({"spec": {"rules": [{"host": "10.0.0.1"}, {"host": "a.*.b"}]}}),
        &[
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            "spec.rules[1].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    let service = |port| json!({"service": {"name": "web", "port": port}});
    trial.refuses(
        with_path(json!({"path": "a//b", "pathType": "Exact", "backend": {}})),
        &[
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
            "spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
        ],
    );
    trial.refuses(
        with_path(json!({"path": "/", "backend": service(json!({"number": 80}))})),
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
    trial.refuses(
        with_path(json!({"path": "/", "pathType": "Fast", "backend": service(json!({}))})),
        &[
            "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Fast\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
        ],
    );
    trial.refuses(
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}, "spec": {"ingressClassName": "b"}}),
        &[
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
        ],
    );
    trial.refuses_status(
        json!({}),
        json!({"loadBalancer": {"ingress": [{"ip": "x"}]}}),
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
}

#[test]
fn ingress_classes() {
    let trial = Trial::of(
        "ingressclass",
        json!({"metadata": {"name": "x"}, "spec": {"controller": "k8s.io/x", "parameters": {"kind": "C", "name": "c"}}}),
    );
    assert_eq!(trial.created(json!({}))["spec"]["parameters"]["scope"], "Cluster");
    trial.refuses(json!({"spec": {"controller": null}}), &["spec.controller: Required value"]);
    trial.refuses(
        json!({"spec": {"controller": "x"}}),
        &["spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
    );
    trial.refuses(
        json!({"spec": {"parameters": {"kind": null, "namespace": "a"}}}),
        &[
            "spec.parameters.kind: Required value: kind is required",
            "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ],
    );
    trial.refuses_update(
        json!({"spec": {"controller": "k8s.io/y"}}),
        &["spec.controller: Invalid value: \"k8s.io/y\": field is immutable"],
    );
}

#[test]
fn network_policies() {
    let trial = Trial::of(
        "netpol",
        json!({"metadata": {"name": "x", "namespace": "a"}, "spec": {"podSelector": {}}}),
    );
    assert_eq!(trial.created(json!({}))["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(
        trial.created(json!({"spec": {"egress": [{}]}}))["spec"]["policyTypes"],
        json!(["Ingress", "Egress"])
    );
    trial.refuses(
        json!({"spec": {"ingress": [{"ports": [{"port": 90, "endPort": 80}, {"port": "http", "endPort": 80}, {"endPort": 80}],
            "from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "x"]}}]}]}}),
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 90: must be greater than or equal to `port`",
            "spec.ingress[0].ports[1].endPort: Invalid value: 80: may not be specified when `port` is non-numeric",
            "spec.ingress[0].ports[2].endPort: Invalid value: 80: may not be specified when `port` is not specified",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
        ],
    );
    trial.refuses(
        json!({"spec": {"policyTypes": ["Sideways"]}}),
        &["spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\""],
    );
}

#[test]
fn addresses_and_ranges() {
    let parent = json!({"resource": "services", "namespace": "a", "name": "s"});
    let trial =
        Trial::of("ipaddress", json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}}));
    trial.refuses(json!({"spec": {"parentRef": null}}), &["spec.parentRef: Required value"]);
    trial.refuses(json!({"spec": {"parentRef": {"name": null}}}), &["spec.parentRef.name: Required value"]);
    for (name, expect) in [
        ("::1", ""),
        ("x", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("0::1", "must be in canonical form (\"::1\")"),
        ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
    ] {
        assert_eq!(super::IpAddress.name_errors(name).join(";"), expect, "{name}");
    }
    let trial =
        Trial::of("servicecidr", json!({"metadata": {"name": "x"}, "spec": {"cidrs": ["10.0.0.0/8"]}}));
    trial
        .refuses(json!({"spec": {"cidrs": []}}), &["spec.cidrs: Required value: at least one CIDR required"]);
    trial.refuses(
        json!({"spec": {"cidrs": ["10.0.0.0/8", "11.0.0.0/8"]}}),
        &[
            "spec.cidrs: Invalid value: {\"cidrs\":[\"10.0.0.0/8\",\"11.0.0.0/8\"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ],
    );
    trial.refuses(
        json!({"spec": {"cidrs": ["10.0.0.1/8", "FD00::/112"]}}),
        &[
            "spec.cidrs[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
            "spec.cidrs[1]: Invalid value: \"FD00::/112\": must be in canonical form (\"fd00::/112\")",
        ],
    );
    trial.refuses_update(
        json!({"spec": {"cidrs": ["11.0.0.0/8"]}}),
        &["spec.cidrs: Invalid value: [\"11.0.0.0/8\"]: field is immutable"],
    );
}
