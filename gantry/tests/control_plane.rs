//! The whole cluster in one process: memory store, API server, controllers, scheduler and node agent, over
//! a runtime that pretends. Time is real, but nothing waits for it: every wait ends with the event it is for.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]
#![allow(unused_crate_dependencies, reason = "the binary's dependencies are not the test's")]

#[path = "control_plane/cluster.rs"]
mod cluster;
#[path = "control_plane/machine.rs"]
mod machine;
#[path = "control_plane/waiting.rs"]
mod waiting;

#[path = "control_plane/deletion.rs"]
mod deletion;
#[path = "control_plane/deployments.rs"]
mod deployments;
#[path = "control_plane/restart.rs"]
mod restart;
#[path = "control_plane/services.rs"]
mod services;
