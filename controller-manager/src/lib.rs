//! Drives the cluster towards what its objects ask for: one module per controller, each a pure
//! `reconcile(&Observed, now) -> Plan`.
//!
//! Entry point: [`run`]. The table of what runs is in [`controllers`].

pub mod controllers;
pub mod deployment;
pub mod owners;
pub mod pods;
pub mod replica_set;

pub use controllers::{Config, run};
