//! What the node agent asks of the kernel directly: cgroups, mounts, processes, paths confined to a root.
//!
//! Each room wraps a handful of system calls that no dependency offers in the form needed here; nothing in
//! them knows about pods.

pub mod cgroup;
pub mod in_root;
pub mod mount;
pub mod process;
