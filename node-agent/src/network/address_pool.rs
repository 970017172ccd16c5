//! Which pod has which address. Entry point: [`AddressPool`].
//!
//! Pure but for [`AddressPool::load`] and [`AddressPool::save`]. Addresses are handed out in rotation, so one
//! that was freed is used again only after all others: a stale connection or cache entry then meets
//! nobody rather than another pod. The first (network), second (reserved for the node) and last
//! (broadcast) addresses of the range are never handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{HostPort, Ipv4Range, NetworkError};

/// What one pod holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// The pod is gone, but the host's end of its link may not be yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
}

/// All leases of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPool {
    range: Ipv4Range,
    /// The address handed out last.
    last: Option<Ipv4Addr>,
    leases: BTreeMap<String, Lease>,
}

impl AddressPool {
    /// A pool without leases. The range must have room for at least one pod.
    pub fn new(range: Ipv4Range) -> Result<Self, NetworkError> {
        if range.prefix() > 29 {
            return Err(NetworkError::Config(format!("{range} is too small for pods")));
        }
        Ok(Self { range, last: None, leases: BTreeMap::new() })
    }

    /// What was saved; a missing or unreadable file, or one of another range, gives an empty pool: leases
    /// are then learnt again from the kernel's routes.
    pub fn load(path: &Path, range: Ipv4Range) -> Result<Self, NetworkError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::new(range),
            Err(source) => return Err(NetworkError::State { act: "read", path: path.to_owned(), source }),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(pool) if pool.range == range => Ok(pool),
            Ok(pool) => {
                tracing::warn!(old = %pool.range, new = %range, "the node's pod range changed");
                Self::new(range)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "address record unreadable, starting anew");
                Self::new(range)
            }
        }
    }

    /// Replaces the file in one step. Not forced to disk: after a power loss no pod runs any more, and a
    /// record that lags is put right from the kernel.
    pub fn save(&self, path: &Path) -> Result<(), NetworkError> {
        let failed = |act: &'static str, path: PathBuf| {
            move |source: std::io::Error| NetworkError::State { act, path, source }
        };
        let fresh = path.with_extension("new");
        let bytes = serde_json::to_vec(self)
            .map_err(|error| failed("encode", path.to_owned())(std::io::Error::other(error)))?;
        std::fs::write(&fresh, bytes).map_err(failed("write", fresh.clone()))?;
        std::fs::rename(&fresh, path).map_err(failed("replace", path.to_owned()))
    }

    /// The pod's lease, made if it has none. A pod that was leaving stays.
    pub fn allocate(&mut self, uid: &str) -> Result<Ipv4Addr, NetworkError> {
        if let Some(lease) = self.leases.get_mut(uid) {
            lease.leaving = false;
            return Ok(lease.address);
        }
        let address = self.next_free().ok_or_else(|| NetworkError::Exhausted(self.range.to_string()))?;
        self.insert(uid, address);
        Ok(address)
    }

    /// Records an address found in the kernel. `false` if another pod has it or it is out of range.
    pub fn adopt(&mut self, uid: &str, address: Ipv4Addr) -> bool {
        let taken = self.leases.iter().any(|(other, lease)| other != uid && lease.address == address);
        if taken || !self.range.contains(address) {
            return false;
        }
        self.insert(uid, address);
        true
    }

    fn insert(&mut self, uid: &str, address: Ipv4Addr) {
        self.last = Some(address);
        self.leases.insert(uid.to_owned(), Lease { address, leaving: false, host_ports: Vec::new() });
    }

    /// The pod's lease.
    pub fn lease(&self, uid: &str) -> Option<&Lease> {
        self.leases.get(uid)
    }

    /// The pod's lease, to change.
    pub fn lease_mut(&mut self, uid: &str) -> Option<&mut Lease> {
        self.leases.get_mut(uid)
    }

    /// All leases by pod.
    pub fn leases(&self) -> &BTreeMap<String, Lease> {
        &self.leases
    }

    /// Frees the pod's address.
    pub fn release(&mut self, uid: &str) -> Option<Lease> {
        self.leases.remove(uid)
    }

    fn next_free(&self) -> Option<Ipv4Addr> {
        let first = u32::from(self.range.network()) + 2;
        let size = (1_u32 << (32 - self.range.prefix())) - 3;
        let used: BTreeSet<u32> = self.leases.values().map(|lease| u32::from(lease.address)).collect();
        let start = self.last.map_or(0, |last| (u32::from(last) + 1).saturating_sub(first));
        (0..size)
            .map(|step| first + (start + step) % size)
            .find(|candidate| !used.contains(candidate))
            .map(Ipv4Addr::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: &str) -> AddressPool {
        AddressPool::new(range.parse().expect("range")).expect("pool")
    }

    #[test]
    fn hands_out_in_rotation() {
        let mut pool = pool("10.42.3.0/29");
        let mut taken = Vec::new();
        for uid in ["a", "b", "c", "d", "e"] {
            taken.push(pool.allocate(uid).expect("free").octets()[3]);
        }
        assert_eq!(taken, [2, 3, 4, 5, 6]);
        assert!(matches!(pool.allocate("f"), Err(NetworkError::Exhausted(_))));
        pool.release("b");
        pool.release("d");
        assert_eq!(pool.allocate("f").expect("free").octets()[3], 3);
        pool.release("f");
        assert_eq!(pool.allocate("g").expect("free").octets()[3], 5, "3 rests while 5 is free");
        assert_eq!(pool.allocate("g").expect("kept").octets()[3], 5);
    }

    #[test]
    fn survives_on_disk() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("addresses.json");
        let range = "10.42.3.0/24".parse().expect("range");
        let mut pool = AddressPool::load(&path, range).expect("new");
        pool.allocate("a").expect("free");
        pool.save(&path).expect("save");
        assert_eq!(AddressPool::load(&path, range).expect("load"), pool);
        let other = "10.42.4.0/24".parse().expect("range");
        assert!(AddressPool::load(&path, other).expect("other range").leases().is_empty());
        std::fs::write(&path, b"{\"range\":").expect("tear");
        assert!(AddressPool::load(&path, range).expect("torn").leases().is_empty());
    }

    #[test]
    fn adopts_what_nobody_has() {
        let mut pool = pool("10.42.3.0/24");
        let address = pool.allocate("a").expect("free");
        assert!(!pool.adopt("b", address));
        assert!(!pool.adopt("b", "10.42.4.9".parse().expect("address")));
        assert!(pool.adopt("b", "10.42.3.9".parse().expect("address")));
    }
}
