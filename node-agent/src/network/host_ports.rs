//! Packet rules of the pod network: pods reach the outside under the node's address, and ports of the host
//! lead to pods. Entry point: [`PacketRules`].
//!
//! One table, replaced as a whole at start and changed element by element afterwards.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Ipv4Range, NetworkError};
use crate::proxy::expressions::{End, Rule};
use crate::proxy::nfnetlink::{
    Batch, ElementData, FieldType, Hook, NetfilterError, NetfilterSocket, RawElement, SetData, SetDefinition,
    Verdict,
};

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Stream.
    Tcp,
    /// Datagram.
    Udp,
    /// Stream control.
    Sctp,
}

impl Protocol {
    /// As Kubernetes writes it; absent means TCP.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// IANA's number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// `spec.containers[].ports[]` with a `hostPort`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// Only this address of the host; `None` is all.
    pub host_ip: Option<Ipv4Addr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
}

const ENDPOINT: SetData = SetData::Fields(&[FieldType::Ipv4, FieldType::Port]);
const ON_ADDRESS: SetDefinition = SetDefinition {
    name: "host_ports_on_address",
    key: &[FieldType::Ipv4, FieldType::Protocol, FieldType::Port],
    data: ENDPOINT,
    dynamic: false,
};
const ON_ANY: SetDefinition = SetDefinition {
    name: "host_ports",
    key: &[FieldType::Protocol, FieldType::Port],
    data: ENDPOINT,
    dynamic: false,
};
/// Pods that may reach themselves by way of a host port.
const HAIRPIN: SetDefinition = SetDefinition {
    name: "hairpin",
    key: &[FieldType::Ipv4, FieldType::Ipv4],
    data: SetData::Absent,
    dynamic: false,
};
const SETS: [SetDefinition; 3] = [ON_ADDRESS, ON_ANY, HAIRPIN];

const LOCALHOST: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);
/// `NF_IP_PRI_NAT_DST` and friends.
const BEFORE_CONNECTION_TRACKING: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;

type Elements = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// The table as it is in the kernel.
#[derive(Debug)]
pub struct PacketRules {
    socket: NetfilterSocket,
    table: String,
    pods: Ipv4Range,
    applied: Elements,
}

impl PacketRules {
    /// Opens the socket in the calling thread's namespace; nothing is changed yet. `pods` holds all pods of the
    /// cluster: traffic among them keeps its addresses.
    pub fn new(table: &str, pods: Ipv4Range) -> Result<Self, NetworkError> {
        let socket = NetfilterSocket::open().map_err(filter_error)?;
        Ok(Self { socket, table: table.to_owned(), pods, applied: Elements::new() })
    }

    /// Replaces the table in one step, whatever an earlier process left in it.
    pub fn replace(&mut self, ports: &[(Ipv4Addr, &HostPort)]) -> Result<(), NetworkError> {
        let mut batch = Batch::new(&self.table);
        batch.add_table();
        batch.delete_table();
        batch.add_table();
        for set in &SETS {
            batch.add_set(set);
        }
        self.add_rules(&mut batch);
        let wanted = elements(ports);
        add_difference(&mut batch, &Elements::new(), &wanted);
        self.socket.apply(batch).map_err(filter_error)?;
        self.applied = wanted;
        Ok(())
    }

    /// Brings host ports to `ports`.
    pub fn update(&mut self, ports: &[(Ipv4Addr, &HostPort)]) -> Result<(), NetworkError> {
        let wanted = elements(ports);
        let mut batch = Batch::new(&self.table);
        add_difference(&mut batch, &self.applied, &wanted);
        self.socket.apply(batch).map_err(filter_error)?;
        self.applied = wanted;
        Ok(())
    }

    /// Removes the table.
    pub fn remove(&mut self) -> Result<(), NetworkError> {
        let mut batch = Batch::new(&self.table);
        batch.add_table();
        batch.delete_table();
        self.socket.apply(batch).map_err(filter_error)?;
        self.applied.clear();
        Ok(())
    }

    fn add_rules(&self, batch: &mut Batch) {
        let nat = |number, priority| Some(Hook { kind: "nat", number, priority });
        let (localhost, bits) = LOCALHOST;
        batch.add_chain("host-ports", None);
        batch.add_rule(
            "host-ports",
            &Rule::new()
                .load_address(End::Destination, 1)
                .load_protocol(2)
                .load_destination_port(3)
                .load_from_map(ON_ADDRESS.name, 1, 4)
                .rewrite_destination(4, 5),
        );
        batch.add_rule(
            "host-ports",
            &Rule::new()
                .if_local(End::Destination, true)
                .load_protocol(2)
                .load_destination_port(3)
                .load_from_map(ON_ANY.name, 2, 4)
                .rewrite_destination(4, 5),
        );
        let jump = Rule::new().verdict(&Verdict::Jump("host-ports".to_owned()));
        batch.add_chain("prerouting", nat(libc::NF_INET_PRE_ROUTING, DESTINATION_NAT));
        batch.add_rule("prerouting", &jump);
        batch.add_chain("output", nat(libc::NF_INET_LOCAL_OUT, DESTINATION_NAT));
        batch.add_rule("output", &jump);

        batch.add_chain("postrouting", nat(libc::NF_INET_POST_ROUTING, SOURCE_NAT));
        // A pod that reaches itself must see another source, or it would answer past the host.
        let hairpin = Rule::new()
            .if_destination_rewritten()
            .load_address(End::Source, 0)
            .load_address(End::Destination, 1)
            .if_in_set(HAIRPIN.name, 0)
            .masquerade();
        batch.add_rule("postrouting", &hairpin);
        let from_localhost = Rule::new()
            .if_destination_rewritten()
            .if_address(End::Source, true, localhost, bits)
            .if_address(End::Destination, true, self.pods.network(), self.pods.prefix())
            .masquerade();
        batch.add_rule("postrouting", &from_localhost);
        let outward = Rule::new()
            .if_address(End::Source, true, self.pods.network(), self.pods.prefix())
            .if_address(End::Destination, false, self.pods.network(), self.pods.prefix())
            .masquerade();
        batch.add_rule("postrouting", &outward);

        // Links of pods route 127.0.0.0/8 for host ports; without this a pod could reach the host's own.
        let guard =
            Hook { kind: "filter", number: libc::NF_INET_PRE_ROUTING, priority: BEFORE_CONNECTION_TRACKING };
        batch.add_chain("guard", Some(guard));
        let drop_localhost = Rule::new()
            .if_not_from_loopback()
            .if_address(End::Destination, true, localhost, bits)
            .verdict(&Verdict::Drop);
        batch.add_rule("guard", &drop_localhost);
    }
}

fn filter_error(error: NetfilterError) -> NetworkError {
    NetworkError::Kernel {
        act: "change the pod network's packet rules".to_owned(),
        reason: error.to_string(),
    }
}

fn padded(number: u8) -> [u8; 4] {
    [number, 0, 0, 0]
}

fn port_bytes(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// Map contents for a list of (pod, port). Of two pods that claim the same port the later one has it.
fn elements(ports: &[(Ipv4Addr, &HostPort)]) -> Elements {
    let mut elements = Elements::new();
    for (pod, port) in ports {
        let mut key = Vec::with_capacity(12);
        let mut set = ON_ANY.name;
        if let Some(address) = port.host_ip.filter(|address| !address.is_unspecified()) {
            set = ON_ADDRESS.name;
            key.extend_from_slice(&address.octets());
        }
        key.extend_from_slice(&padded(port.protocol.number()));
        key.extend_from_slice(&port_bytes(port.host_port));
        elements.insert((set, key), [pod.octets(), port_bytes(port.container_port)].concat());
        elements.insert((HAIRPIN.name, [pod.octets(), pod.octets()].concat()), Vec::new());
    }
    elements
}

fn add_difference(batch: &mut Batch, old: &Elements, new: &Elements) {
    for set in &SETS {
        let only = |these: &Elements, those: &Elements| -> Vec<RawElement> {
            these
                .iter()
                .filter(|((name, _), _)| *name == set.name)
                .filter(|(key, value)| those.get(*key) != Some(*value))
                .map(|((_, key), value)| RawElement {
                    key: key.clone(),
                    data: if set.data == SetData::Absent {
                        ElementData::Absent
                    } else {
                        ElementData::Value(value.clone())
                    },
                })
                .collect()
        };
        batch.delete_elements(set.name, &only(old, new));
        batch.add_elements(set.name, &only(new, old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_elements() {
        let pod = Ipv4Addr::new(10, 42, 0, 5);
        let any = HostPort { host_ip: None, protocol: Protocol::Tcp, host_port: 8080, container_port: 80 };
        let one = HostPort {
            host_ip: Some(Ipv4Addr::LOCALHOST),
            protocol: Protocol::Udp,
            host_port: 53,
            container_port: 5353,
        };
        let elements = elements(&[(pod, &any), (pod, &one)]);
        let rendered: Vec<_> =
            elements.iter().map(|((set, key), value)| (*set, key.as_slice(), value.as_slice())).collect();
        assert_eq!(
            rendered,
            [
                ("hairpin", [10, 42, 0, 5, 10, 42, 0, 5].as_slice(), [].as_slice()),
                ("host_ports", &[6, 0, 0, 0, 0x1f, 0x90, 0, 0], &[10, 42, 0, 5, 0, 80, 0, 0]),
                (
                    "host_ports_on_address",
                    &[127, 0, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0],
                    &[10, 42, 0, 5, 0x14, 0xe9, 0, 0]
                ),
            ]
        );
    }
}
