//! End-to-end fixtures: a real cluster per test, stock `kubectl`, real containers.
//!
//! Needs root and what `cargo xtask test` provides: `GANTRY_BINARY`, `GANTRY_IMAGES` (a folder of image
//! files) and `GANTRY_OLD_KUBECTL` (Debian's kubectl 1.20). With `GANTRY_E2E_STORE=etcd` every cluster keeps its
//! objects in an etcd of its own. Entry point: [`cluster::Cluster::start`].

pub mod cluster;
pub mod command;
pub mod etcd;
pub mod eventually;
pub mod http;
pub mod leftovers;
