//! Rules of the built-in kinds, a file per API group; `pod` and `service` have their own.
//!
//! Texts and field paths are upstream's (`pkg/apis/*/validation`), because clients show and match them.
//! Rules of `metadata` that hold for every kind are not here: the pipeline checks them.

mod check;
mod resources;
mod webhook;

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod pod;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod service;
pub mod storage;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod infrastructure_tests;
#[cfg(test)]
mod trial;
