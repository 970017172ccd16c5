//! End-to-end fixtures: a real cluster per test, stock `kubectl`, real containers.
//!
//! Needs root and what `cargo xtask test` provides: `GANTRY_BINARY`, `GANTRY_IMAGES` (a folder of image
//! files) and `GANTRY_OLD_KUBECTL` (Debian's kubectl 1.20). Entry point: [`cluster::Cluster::start`].

pub mod cluster;
pub mod command;
pub mod eventually;
pub mod http;
pub mod leftovers;
