//! Speaking to an API server through `kube`, and the control harness.
//!
//! In reading order: a [`transport`] gives a `kube::Client`; [`informer`] keeps what it watches;
//! a [`controller`] turns keys from its [`workqueue`] into a [`plan`], which [`execute`] performs and
//! [`events`] tells people about.

pub mod controller;
pub mod events;
pub mod execute;
pub mod informer;
pub mod key;
pub mod kubeconfig;
pub mod lease;
pub mod plan;
pub mod request;
pub mod transport;
pub mod workqueue;
