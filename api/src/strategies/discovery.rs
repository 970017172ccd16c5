//! Rules of `discovery.k8s.io`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::names;
use crate::status::Cause;
use crate::strategy::Strategy;

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;

/// Some of the endpoints of a service.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::one_of(&mut causes, "addressType", &object["addressType"], &["FQDN", "IPv4", "IPv6"]);
        let endpoints = list(object, "endpoints");
        too_many(&mut causes, "endpoints", endpoints.len(), MAX_ENDPOINTS);
        for (at, endpoint) in endpoints.iter().enumerate() {
            addresses(
                &mut causes,
                &format!("endpoints[{at}].addresses"),
                endpoint,
                text(object, "addressType"),
            );
            let hostname = format!("endpoints[{at}].hostname");
            check::optional(&mut causes, &hostname, &endpoint["hostname"], names::dns1123_label);
            let node = format!("endpoints[{at}].nodeName");
            check::optional(&mut causes, &node, &endpoint["nodeName"], names::dns1123_subdomain);
        }
        ports(&mut causes, list(object, "ports"));
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "addressType", &object["addressType"], &old["addressType"]);
        causes
    }
}

fn addresses(causes: &mut Vec<Cause>, field: &str, endpoint: &Value, family: &str) {
    let addresses = list(endpoint, "addresses");
    if addresses.is_empty() {
        causes.push(Cause::required(field, "must contain at least 1 address"));
    }
    too_many(causes, field, addresses.len(), MAX_ADDRESSES);
    for (at, address) in addresses.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let value = address.as_str().unwrap_or_default();
        match family {
            "IPv4" if value.parse::<std::net::Ipv4Addr>().is_err() => {
                check::ip(causes, &field, address);
                if value.parse::<std::net::Ipv6Addr>().is_ok() {
                    causes.push(Cause::invalid(field, address, "must be an IPv4 address"));
                }
            }
            "IPv6" if value.parse::<std::net::Ipv6Addr>().is_err() => {
                check::ip(causes, &field, address);
                if value.parse::<std::net::Ipv4Addr>().is_ok() {
                    causes.push(Cause::invalid(field, address, "must be an IPv6 address"));
                }
            }
            "FQDN" => check::rules(causes, &field, address, names::dns1123_subdomain(value)),
            _ => {}
        }
    }
}

fn ports(causes: &mut Vec<Cause>, ports: &[Value]) {
    too_many(causes, "ports", ports.len(), MAX_PORTS);
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let name = text(port, "name");
        if !name.is_empty() {
            check::rules(causes, &format!("ports[{at}].name"), &port["name"], names::dns1123_label(name));
        }
        if !seen.insert(name) {
            causes.push(Cause::duplicate(format!("ports[{at}].name"), &json!(name)));
        }
        let protocol = format!("ports[{at}].protocol");
        check::one_of(causes, &protocol, &port["protocol"], &["SCTP", "TCP", "UDP"]);
        check::between(causes, &format!("ports[{at}].port"), &port["port"], 1, 65_535);
    }
}

fn too_many(causes: &mut Vec<Cause>, field: &str, got: usize, max: usize) {
    if got > max {
        causes.push(Cause::too_many(field, got, max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        let good = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}],
            "ports": [{"name": "", "protocol": "TCP", "port": 80}]});
        assert_eq!(EndpointSlice.validate(&good), []);
        let bad = json!({"addressType": "IPv4", "endpoints": [{"addresses": []}, {"addresses": ["::1"]}],
            "ports": [{"name": "a", "protocol": "X"}, {"name": "a", "protocol": "TCP"}]});
        let texts: Vec<_> = EndpointSlice.validate(&bad).iter().map(Cause::to_string).collect();
        assert_eq!(
            texts,
            [
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[1].name: Duplicate value: \"a\"",
            ]
        );
    }
}
