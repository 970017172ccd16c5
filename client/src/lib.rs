//! Speaking to an API server through `kube`, and the control harness.
//!
//! In reading order: a [`transport`] gives a `kube::Client`; [`informer`] keeps what it watches;
//! a [`controller`] turns keys from its [`workqueue`] into a [`plan`], which [`execute`] performs and
//! [`events`] tells people about.

pub mod informer;
pub mod key;
pub mod kubeconfig;
pub mod plan;
pub mod request;
pub mod transport;
pub mod workqueue;
