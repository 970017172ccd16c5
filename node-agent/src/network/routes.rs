//! Addresses, routes, neighbours and kernel settings of both ends of a pod's link. Entry points: [`host_end`],
//! [`pod_end`].
//!
//! The pod has one address with no neighbours on its link: everything goes through a link-local gateway
//! that exists only as a permanent neighbour entry. The host has one route per pod.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use futures::TryStreamExt as _;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::RouteMessageBuilder;

use super::NetworkError;
use super::link::{HOST_HARDWARE_ADDRESS, Netlink, POD_INTERFACE, hardware_address, mtu_of, refused};

/// The gateway every pod sees; never on any wire.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The loopback interface's index in every namespace.
const LOOPBACK: u32 = 1;

/// Settings of the whole host.
pub fn enable_forwarding() -> Result<(), NetworkError> {
    set("ipv4/ip_forward", "1")
}

/// Configures the host's end and the route to the pod.
pub async fn host_end(
    host: &Netlink,
    name: &str,
    index: u32,
    address: Ipv4Addr,
    node: Option<Ipv4Addr>,
) -> Result<(), NetworkError> {
    // A pod cannot send with another pod's address.
    set(&format!("ipv4/conf/{name}/rp_filter"), "1")?;
    // A host port on 127.0.0.1 leads to the pod; `host_ports` keeps pods from reaching the host's own.
    set(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    // No IPv6 chatter on a link that carries none; a kernel without IPv6 lacks the file.
    drop(set(&format!("ipv6/conf/{name}/disable_ipv6"), "1"));
    host.up(index).await?;
    let neighbour = host.handle.neighbours().add(index, IpAddr::V4(address));
    neighbour
        .link_layer_address(&hardware_address(address))
        .replace()
        .execute()
        .await
        .map_err(refused(format!("add neighbour {address}")))?;
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, 32)
        .output_interface(index)
        .scope(RouteScope::Link);
    if let Some(node) = node {
        route = route.pref_source(node);
    }
    add_route(host, route.build(), address).await
}

/// Configures the pod's end: loopback, address, default route.
pub async fn pod_end(pod: &Netlink, address: Ipv4Addr) -> Result<(), NetworkError> {
    pod.up(LOOPBACK).await?;
    let index = pod.index(POD_INTERFACE).await?.ok_or_else(|| NetworkError::Kernel {
        act: "configure the pod's link".to_owned(),
        reason: "it is not in the pod".to_owned(),
    })?;
    pod.handle
        .address()
        .add(index, IpAddr::V4(address), 32)
        .replace()
        .execute()
        .await
        .map_err(refused(format!("add address {address}")))?;
    pod.up(index).await?;
    let neighbour = pod.handle.neighbours().add(index, IpAddr::V4(GATEWAY));
    neighbour
        .link_layer_address(&HOST_HARDWARE_ADDRESS)
        .replace()
        .execute()
        .await
        .map_err(refused("add the gateway's neighbour entry"))?;
    let gateway = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(GATEWAY, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build();
    add_route(pod, gateway, GATEWAY).await?;
    let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).output_interface(index).build();
    add_route(pod, default, GATEWAY).await
}

async fn add_route(netlink: &Netlink, route: RouteMessage, to: Ipv4Addr) -> Result<(), NetworkError> {
    let request = netlink.handle.route().add(route).replace();
    request.execute().await.map_err(refused(format!("add the route by {to}")))
}

/// Routes to single addresses, as (link index, address).
pub async fn host_routes(host: &Netlink) -> Result<Vec<(u32, Ipv4Addr)>, NetworkError> {
    let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = std::pin::pin!(host.handle.route().get(filter).execute());
    let mut found = Vec::new();
    while let Some(route) = routes.try_next().await.map_err(refused("list routes"))? {
        if route.header.destination_prefix_length != 32 {
            continue;
        }
        let address = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        });
        if let (Some(index), Some(address)) = (output_interface(&route), address) {
            found.push((index, address));
        }
    }
    Ok(found)
}

/// MTU of the link that carries the default route; `None` without one.
pub async fn default_route_mtu(host: &Netlink) -> Result<Option<u32>, NetworkError> {
    let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = std::pin::pin!(host.handle.route().get(filter).execute());
    let mut index = None;
    while let Some(route) = routes.try_next().await.map_err(refused("list routes"))? {
        if route.header.destination_prefix_length == 0 && index.is_none() {
            index = output_interface(&route);
        }
    }
    let Some(index) = index else { return Ok(None) };
    let mut links = std::pin::pin!(host.handle.link().get().match_index(index).execute());
    let link = links.try_next().await.map_err(refused(format!("look up link {index}")))?;
    Ok(link.as_ref().and_then(mtu_of))
}

fn output_interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// Writes a network setting of the calling thread's namespace. One that already has the value may be
/// read-only, as in a container.
fn set(setting: &str, value: &str) -> Result<(), NetworkError> {
    let path = PathBuf::from("/proc/sys/net").join(setting);
    match fs::write(&path, value) {
        Ok(()) => Ok(()),
        Err(_) if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) => Ok(()),
        Err(source) => Err(NetworkError::State { act: "write", path, source }),
    }
}
