//! Rules of the built-in kinds, a file per API group; `pod` and `service` have their own.
//!
//! Texts and field paths are upstream's (`pkg/apis/*/validation`), because clients show and match them.
//! Rules of `metadata` that hold for every kind are not here: the pipeline checks them.

mod check;
mod resources;

pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod pod;
pub mod policy;
pub mod service;

#[cfg(test)]
mod trial;
