//! Names of what a cluster makes on its machine, so that two clusters with different data directories do
//! not meet: cgroups, links, nftables tables.

use std::path::{Path, PathBuf};

use anyhow::Result;
use node_agent::network::{Ipv4Range, NetworkConfig};

use crate::config::DEFAULT_DATA_DIR;

/// The names of one cluster's things.
pub struct Names {
    /// Root of pod cgroups, such as `/gantry`.
    pub cgroup: String,
    /// Start of link names; links have at most 15 characters.
    pub link_prefix: String,
    /// nftables table of the pod network.
    pub pod_table: String,
    /// nftables table of the service proxy.
    pub service_table: String,
}

impl Names {
    /// Names for a data directory; the default one gets plain names, another one a hash of its path.
    pub fn of(data_dir: &Path) -> Self {
        let id = if data_dir == Path::new(DEFAULT_DATA_DIR) { None } else { Some(fnv1a(data_dir)) };
        let (suffix, short) = match id {
            Some(id) => (format!("-{id:08x}"), format!("{:04x}", id & 0xffff)),
            None => (String::new(), String::new()),
        };
        Self {
            cgroup: format!("/gantry{suffix}"),
            link_prefix: format!("gt{short}"),
            pod_table: format!("gantry{suffix}-pods"),
            service_table: format!("gantry{suffix}-services"),
        }
    }

    /// The pod network of a node.
    ///
    /// # Errors
    /// When a range is malformed.
    pub fn network(&self, data_dir: &Path, node_cidr: &str, pod_cidr: &str) -> Result<NetworkConfig> {
        Ok(NetworkConfig {
            node_range: node_cidr.parse::<Ipv4Range>()?,
            cluster_range: pod_cidr.parse::<Ipv4Range>()?,
            node_address: None,
            state_directory: node_dir(data_dir).join("network"),
            link_prefix: self.link_prefix.clone(),
            table: self.pod_table.clone(),
            mtu: None,
        })
    }
}

/// Where the node agent keeps everything.
pub fn node_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("node")
}

/// Where images are kept.
pub fn image_dir(data_dir: &Path) -> PathBuf {
    node_dir(data_dir).join("images")
}

/// FNV-1a of the path: short and the same in every version of the program.
fn fnv1a(path: &Path) -> u32 {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_names_of_their_own() {
        let (plain, other) = (Names::of(Path::new(DEFAULT_DATA_DIR)), Names::of(Path::new("/tmp/x")));
        assert_eq!((plain.cgroup.as_str(), plain.link_prefix.as_str()), ("/gantry", "gt"));
        assert_ne!(plain.service_table, other.service_table);
        assert_eq!(other.link_prefix.len(), 6);
        assert_eq!(fnv1a(Path::new("a")), 0xe40c_292c, "the published test vector");
    }
}
