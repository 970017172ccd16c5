//! The node agent: pod lifecycle, runtime, images, volumes, network, node API.

pub mod container_runtime;
pub mod network;
pub mod proxy;
