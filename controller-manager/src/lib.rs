//! Drives the cluster towards what its objects ask for: one module per controller, each a pure
//! `reconcile(&Observed, now) -> Plan`.
//!
//! Entry point: [`run`]. The table of what runs is in [`controllers`].

pub mod bootstrap_tokens;
pub mod certificates;
pub mod cluster_role_aggregation;
pub mod controllers;
pub mod deployment;
pub mod discovery;
pub mod endpoint_slice;
pub mod endpoints;
pub mod garbage_collector;
pub mod horizontal;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod owners;
pub mod pod_gc;
pub mod pods;
pub mod replica_set;
pub mod replication_controller;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account;
pub mod service_account_token;
pub mod services;
pub mod taint_eviction;
pub mod volume_protection;

pub use controllers::{Config, run};
