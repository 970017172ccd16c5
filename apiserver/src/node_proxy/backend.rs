//! Where `proxy` requests go: a pod, a ready endpoint of a service, or a node.
//!
//! Entry point: [`find`]. Names may be `name`, `name:port` or `scheme:name:port`, as upstream's
//! `SplitSchemeNamePort` reads them.

use std::net::IpAddr;

use api::{Status, object};
use serde_json::Value;

use super::dial::{Backend, Wire};
use super::target::Target;
use crate::call::{Call, parse, store_status};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The parts of `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Place<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        (!name.is_empty() && ["", "http", "https"].contains(&scheme)).then_some(Self { scheme, name, port })
    }

    fn wire(&self) -> Wire {
        if self.scheme == "https" { Wire::Unverified } else { Wire::Plain }
    }

    /// The port as a number, the scheme's own if there is none.
    fn number(&self, port: &str) -> Result<u16, Status> {
        if port.is_empty() {
            return Ok(if self.scheme == "https" { 443 } else { 80 });
        }
        port.parse().map_err(|_| {
            Status::unavailable(format!(
                "error trying to reach service: dial tcp: lookup tcp/{port}: unknown port"
            ))
        })
    }
}

/// Where the request of this call goes.
///
/// # Errors
/// 400 for a name of another form, 404 when there is no such object, 503 when nothing is ready.
pub(super) async fn find(call: &Call) -> Result<Backend, Status> {
    let what = call.kind.singular.as_ref();
    let id = call.info.name.as_str();
    let place =
        Place::parse(id).ok_or_else(|| Status::bad_request(format!("invalid {what} request {id:?}")))?;
    let found = parse(&call.entry(place.name).await?.bytes)?;
    match call.kind.plural.as_ref() {
        "pods" => of_pod(&place, &found),
        "services" => of_service(call, &place, &found, id).await,
        _ => of_node(&place, &found),
    }
}

fn of_pod(place: &Place<'_>, pod: &Value) -> Result<Backend, Status> {
    let containers = pod["spec"]["containers"].as_array();
    let first = containers.into_iter().flatten().find_map(|c| c["ports"][0]["containerPort"].as_u64());
    let port = match (place.port, first) {
        ("", Some(port)) => port.to_string(),
        (port, _) => port.to_owned(),
    };
    let ip = pod["status"]["podIPs"][0]["ip"].as_str().unwrap_or_default();
    Ok(Backend { host: allowed(ip)?, port: place.number(&port)?, wire: place.wire() })
}

/// Loopback and its like lead to the API server's own machine (upstream's `IsGlobalUnicast`).
fn allowed(ip: &str) -> Result<String, Status> {
    let global = |address: &IpAddr| {
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        !local && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
    };
    let address: Option<IpAddr> = ip.parse().ok().filter(global);
    address.map(|a| a.to_string()).ok_or_else(|| Status::bad_request("address not allowed"))
}

fn of_node(place: &Place<'_>, node: &Value) -> Result<Backend, Status> {
    let target = Target::of_node(node)?;
    if place.port.is_empty() || place.port == target.port.to_string() {
        return Ok(target.backend());
    }
    Ok(Backend { host: allowed(&target.address)?, port: place.number(place.port)?, wire: place.wire() })
}

async fn of_service(call: &Call, place: &Place<'_>, service: &Value, id: &str) -> Result<Backend, Status> {
    let port = port_name(place, service)?;
    let namespace = call.info.namespace();
    let prefix = api::names::storage_prefix("discovery.k8s.io", "endpointslices", namespace);
    let page = call.server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let slices = page.entries.iter().map(|entry| parse(&entry.bytes)).collect::<Result<Vec<_>, _>>()?;
    let own = |slice: &&Value| slice["metadata"]["labels"][SERVICE_LABEL] == place.name;
    let places: Vec<(String, u16)> = slices.iter().filter(own).flat_map(|s| ready(s, &port)).collect();
    let count = u64::try_from(places.len()).unwrap_or_default();
    let at = if count > 0 { usize::try_from(call.server.rng.below(count)).unwrap_or_default() } else { 0 };
    let (ip, port) = places
        .get(at)
        .ok_or_else(|| Status::unavailable(format!("no endpoints available for service {id:?}")))?;
    Ok(Backend { host: allowed(ip)?, port: *port, wire: place.wire() })
}

/// The name of the port meant: numbers are looked up among the service's own.
fn port_name(place: &Place<'_>, service: &Value) -> Result<String, Status> {
    let Ok(number) = place.port.parse::<i64>() else { return Ok(place.port.to_owned()) };
    let ports = service["spec"]["ports"].as_array();
    let found = ports.into_iter().flatten().find(|port| port["port"] == number);
    let name = found.map(|port| port["name"].as_str().unwrap_or_default().to_owned());
    name.ok_or_else(|| {
        let name = object::name(service);
        Status::unavailable(format!("no service port {number} found for service {name:?}"))
    })
}

/// Ready addresses of a slice that has the port. Only pods are called: an address somebody wrote into a
/// slice by hand could be anything the API server can reach.
fn ready(slice: &Value, port: &str) -> Vec<(String, u16)> {
    let ports = slice["ports"].as_array();
    let named = ports.into_iter().flatten().find(|p| p["name"].as_str().unwrap_or_default() == port);
    let number = named.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok());
    let Some(number) = number else { return Vec::new() };
    let usable = |endpoint: &&Value| {
        endpoint["conditions"]["ready"] != false && endpoint["targetRef"]["kind"] == "Pod"
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten().filter(usable);
    endpoints.filter_map(|e| e["addresses"][0].as_str()).map(|ip| (ip.to_owned(), number)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(backend: Result<Backend, Status>) -> String {
        match backend {
            Ok(backend) => format!("{:?} {}:{}", backend.wire, backend.host, backend.port),
            Err(status) => status.message,
        }
    }

    #[test]
    fn pods_by_scheme_name_and_port() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"ports": [{"containerPort": 8080}]}]},
                         "status": {"podIPs": [{"ip": "10.42.0.7"}]}});
        let at = |id: &str| shown(of_pod(&Place::parse(id).expect("a place"), &pod));
        assert_eq!(at("web"), "Plain 10.42.0.7:8080");
        assert_eq!(at("web:90"), "Plain 10.42.0.7:90");
        assert_eq!(at("https:web:"), "Unverified 10.42.0.7:8080");
        assert_eq!(at("http:web:81"), "Plain 10.42.0.7:81");
        assert_eq!(at("web:x"), "error trying to reach service: dial tcp: lookup tcp/x: unknown port");
        assert_eq!(
            (Place::parse("ftp:web:1"), Place::parse("a:b:c:d"), Place::parse(":1")),
            (None, None, None)
        );
        let portless = json!({"status": {"podIPs": [{"ip": "10.42.0.7"}]}});
        assert_eq!(
            shown(of_pod(&Place::parse("https:a:").expect("a place"), &portless)),
            "Unverified 10.42.0.7:443"
        );
        for ip in ["", "127.0.0.1", "169.254.169.254", "::1", "0.0.0.0"] {
            let pod = json!({"status": {"podIPs": [{"ip": ip}]}});
            assert_eq!(shown(of_pod(&Place::parse("a").expect("a place"), &pod)), "address not allowed");
        }
    }

    #[test]
    fn services_by_ready_pods_of_the_port() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}]}});
        let name = |id: &str| port_name(&Place::parse(id).expect("a place"), &service);
        assert_eq!(name("s:80").ok().as_deref(), Some("web"));
        assert_eq!(name("s:web").ok().as_deref(), Some("web"));
        assert_eq!(name("s:81").expect_err("none").message, "no service port 81 found for service \"s\"");
        let pod = json!({"kind": "Pod"});
        let slice = json!({"ports": [{"name": "web", "port": 8080}], "endpoints": [
            {"addresses": ["10.42.0.1"], "conditions": {"ready": false}, "targetRef": pod},
            {"addresses": ["10.42.0.2"], "targetRef": pod},
            {"addresses": ["10.42.0.3"], "conditions": {"ready": true}},
        ]});
        assert_eq!(ready(&slice, "web"), [("10.42.0.2".to_owned(), 8080)]);
        assert_eq!(ready(&slice, "other"), []);
    }
}
