//! Rules of `networking.k8s.io`.

mod address;
mod ingress;
mod policy;

pub use address::{IpAddress, ServiceCidr};
pub use ingress::{Ingress, IngressClass};
pub use policy::NetworkPolicy;

#[cfg(test)]
mod tests;
