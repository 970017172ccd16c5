//! Values of Kubernetes' own libraries.

use std::net::IpAddr;
use std::sync::Arc;

use super::authorizer::{Authorizer, Check, Decision, ServiceAccount};
use super::library::{format::Format, semver::Semver, url::Url};
use super::types::Type;
use crate::quantity::Quantity;

/// A value that is none of the language.
#[derive(Debug, Clone)]
pub enum Extension<'a> {
    /// `quantity('1Gi')`
    Quantity(Quantity),
    /// `url('https://…')`
    Url(Arc<Url>),
    /// `ip('::1')`
    Ip(IpAddr),
    /// `cidr('10.0.0.0/8')`: address and prefix length.
    Cidr(IpAddr, u8),
    /// `format.uuid()`
    Format(&'static Format),
    /// `semver('1.2.3')`
    Semver(Arc<Semver>),
    /// Who is asked, and in the name of which service account if not the user.
    Authorizer(&'a dyn Authorizer, Option<Arc<ServiceAccount>>),
    /// A question being put together.
    Check(&'a dyn Authorizer, Arc<Check>),
    /// The answer.
    Decision(Arc<Decision>),
}

impl Extension<'_> {
    /// The type expressions see.
    pub fn type_of(&self) -> Type {
        let object = |name: &str| Type::Object(name.into());
        match self {
            Self::Quantity(_) => object("kubernetes.Quantity"),
            Self::Url(_) => object("kubernetes.URL"),
            Self::Ip(_) => Type::Opaque("net.IP".into()),
            Self::Cidr(..) => Type::Opaque("net.CIDR".into()),
            Self::Format(_) => object("kubernetes.NamedFormat"),
            Self::Semver(_) => object("kubernetes.Semver"),
            Self::Authorizer(..) => object("kubernetes.authorization.Authorizer"),
            Self::Check(_, check) => object(match **check {
                Check::Path { .. } => "kubernetes.authorization.PathCheck",
                Check::Resource(ref resource) if resource.resource.is_empty() => {
                    "kubernetes.authorization.GroupCheck"
                }
                Check::Resource(_) => "kubernetes.authorization.ResourceCheck",
            }),
            Self::Decision(_) => object("kubernetes.authorization.Decision"),
        }
    }

    /// What `size` would be: bytes of an address, 1 for all else.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::Ip(address) | Self::Cidr(address, _) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        }
    }
}

impl PartialEq for Extension<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, n), Self::Cidr(b, m)) => a == b && n == m,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::Check(_, a), Self::Check(_, b)) => a == b,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            (Self::Authorizer(_, a), Self::Authorizer(_, b)) => a == b,
            _ => false,
        }
    }
}
