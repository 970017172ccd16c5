//! The seam to authorization: `authorizer.group('').resource('pods').check('get').allowed()`.
//!
//! Expressions only put questions together; who evaluates them brings an [`Authorizer`] that answers.
//! Source: `apiserver/pkg/cel/library/authz.go`.

use std::fmt;
use std::sync::Arc;

/// Answers questions about the user of the request.
pub trait Authorizer: fmt::Debug + Sync {
    /// May the user (or the service account named in the check) do this?
    fn authorize(&self, check: &Check, verb: &str) -> Decision;
}

/// A service account asked about in place of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Where it lives.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A question, without its verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// About a path that is no resource.
    Path {
        /// If not about the user.
        service_account: Option<ServiceAccount>,
        /// The path.
        path: Arc<str>,
    },
    /// About a resource of any version.
    Resource(ResourceCheck),
}

/// A question about a resource, empty where not asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceCheck {
    /// If not about the user.
    pub service_account: Option<ServiceAccount>,
    /// API group.
    pub group: Arc<str>,
    /// Plural.
    pub resource: Arc<str>,
    /// Subresource.
    pub subresource: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Field selector as written.
    pub field_selector: Option<Arc<str>>,
    /// Label selector as written.
    pub label_selector: Option<Arc<str>>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while asking.
    pub error: Option<String>,
}
