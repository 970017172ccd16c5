//! The node agent: pod lifecycle, runtime, images, volumes, network, node API.

// Pods: from the API to containers and back.
pub mod environment;
pub mod observed;
pub mod pod_actions;
pub mod pod_status;
pub mod resources;
pub mod volumes;

// What pods run on.
pub mod container_runtime;
pub mod network;
pub mod proxy;
pub mod server;
