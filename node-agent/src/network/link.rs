//! The wire between a pod and its host: a veth pair. Entry points: [`Netlink`], [`create`], [`name`].
//!
//! The host's end is named after the pod's uid, so it can be found without any record; the pod's end is
//! `eth0` and is born inside the pod's namespace. Both hardware addresses are known beforehand, so
//! neighbour entries can be permanent and nothing ever waits for ARP.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use futures::TryStreamExt as _;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};
use sha2::{Digest as _, Sha256};

use super::{NetworkError, namespace};

/// Hardware address of every host end: point-to-point links, so it need not be unique.
pub const HOST_HARDWARE_ADDRESS: [u8; 6] = [0xee; 6];
/// The pod's interface.
pub const POD_INTERFACE: &str = "eth0";

/// The host end's name: prefix and eight hexadecimal digits of the uid's hash, 15 characters at most.
pub fn name(prefix: &str, uid: &str) -> String {
    let digest = hex::encode(&Sha256::digest(uid.as_bytes())[..4]);
    format!("{prefix}{digest}")
}

/// The pod end's hardware address, locally administered and derived from its IP address.
pub fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Kernel error with what was being done.
pub(super) fn refused(act: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let act = act.into();
    move |error| {
        let reason = match &error {
            rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        };
        NetworkError::Kernel { act, reason }
    }
}

/// The kernel said that the thing is not there, or is there already.
pub(super) fn is_errno(error: &rtnetlink::Error, errnos: &[i32]) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if errnos.contains(&-message.raw_code()))
}

/// A route-netlink connection into one namespace; its task ends with it.
#[derive(Debug)]
pub struct Netlink {
    /// To make requests.
    pub handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Netlink {
    /// Into the calling thread's namespace.
    pub fn here() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| NetworkError::Kernel {
            act: "open a route socket".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// Into another namespace.
    pub async fn inside(namespace: File) -> Result<Self, NetworkError> {
        namespace::inside(namespace, Self::here).await?
    }

    /// A link's index by name; `None` if there is none.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        let request = self.handle.link().get().match_name(name.to_owned()).execute();
        let mut found = std::pin::pin!(request);
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if is_errno(&error, &[libc::ENODEV]) => Ok(None),
            Err(error) => Err(refused(format!("look up link {name}"))(error)),
        }
    }

    /// Indexes of all links whose name starts with `prefix`, by name.
    pub async fn links_with_prefix(&self, prefix: &str) -> Result<BTreeMap<String, u32>, NetworkError> {
        let mut links = std::pin::pin!(self.handle.link().get().execute());
        let mut found = BTreeMap::new();
        while let Some(link) = links.try_next().await.map_err(refused("list links"))? {
            if let Some(name) = name_of(&link)
                && name.starts_with(prefix)
            {
                found.insert(name.to_owned(), link.header.index);
            }
        }
        Ok(found)
    }

    /// Removes a link; one that is gone already is fine.
    pub async fn delete(&self, index: u32) -> Result<(), NetworkError> {
        match self.handle.link().del(index).execute().await {
            Err(error) if !is_errno(&error, &[libc::ENODEV]) => {
                Err(refused(format!("delete link {index}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Brings a link up.
    pub async fn up(&self, index: u32) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.map_err(refused(format!("bring up link {index}")))
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A link's name in a kernel message.
pub fn name_of(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// A link's MTU in a kernel message.
pub fn mtu_of(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Makes the pair: the host's end here, the pod's end (down; the kernel refuses it up) in `pod`.
pub async fn create(
    host: &Netlink,
    pod: &File,
    name: &str,
    address: Ipv4Addr,
    mtu: u32,
) -> Result<(), NetworkError> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(POD_INTERFACE.to_owned())
        .address(hardware_address(address).to_vec())
        .setns_by_fd(pod.as_raw_fd())
        .append_extra_attribute(LinkAttribute::Mtu(mtu))
        .build();
    let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
        .name(name.to_owned())
        .address(HOST_HARDWARE_ADDRESS.to_vec())
        .append_extra_attribute(LinkAttribute::Mtu(mtu))
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    host.handle.link().add(message).execute().await.map_err(refused(format!("create link {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit() {
        let name = name("gtr12ab", "5c0e8a51-6a3c-4a8b-9d0a-3f1a2b3c4d5e");
        assert_eq!(name.len(), 15);
        assert_ne!(name, super::name("gtr12ab", "other"));
    }
}
