//! Speaking to an API server through `kube`, and the control harness.

pub mod plan;
