//! Drives the cluster towards what its objects ask for: one module per controller, each a pure
//! `reconcile(&Observed, now) -> Plan`.
//!
//! Entry point: [`run`]. The table of what runs is in [`controllers`].

pub mod controllers;
pub mod deployment;
pub mod discovery;
pub mod endpoint_slice;
pub mod endpoints;
pub mod garbage_collector;
pub mod namespace;
pub mod node_ipam;
pub mod owners;
pub mod pods;
pub mod replica_set;
pub mod root_ca;
pub mod service_account;
pub mod services;

pub use controllers::{Config, run};
